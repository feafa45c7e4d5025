"""The command `fute`: commands for people, and every step of the workflow by its name.

A step starts without what people's commands import: most of a small step's time is its start.
"""

from __future__ import annotations

import sys

from fute import steps


def main() -> None:
    """Run a command. An error of this package's own kinds, or of a disk, is one line for people; others keep a trace.

    It ends with 1, or with the error's own `exit_code`.
    """
    try:
        if len(sys.argv) > 1 and sys.argv[1] in steps.STEPS:
            steps.run(sys.argv[1], sys.argv[2:])
        else:
            from fute.commands import app

            app()
    except Exception as error:
        from fute.cluster import storage

        what = str(error) if type(error).__module__.startswith("fute.") else storage.advice(error)
        if what is None:
            raise
        print(f"fute: {what}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
