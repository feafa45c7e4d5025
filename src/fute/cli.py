"""The command `fute`: commands for people, and every step of the workflow by its name.

A step does not import the commands for people: most of a small step's time is its start.
"""

from __future__ import annotations

import sys

from fute import steps
from fute.scrub import hide_from_output


def main() -> None:
    """Run a command.

    Errors of this package's own types, and errors of writing to a disk, are printed as one line; the process then
    exits with the error's `exit_code`, else with 1. Other errors keep their traceback. No output holds the value of a
    variable with a secret.
    """
    hide_from_output()
    try:
        if len(sys.argv) > 1 and sys.argv[1] in steps.STEPS:
            steps.run(sys.argv[1], sys.argv[2:])
        else:
            from fute.commands import app

            app()
    except Exception as error:
        from fute.cluster import storage

        message = str(error) if type(error).__module__.startswith("fute.") else storage.advice(error)
        if message is None:
            raise
        print(f"fute: {message}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
