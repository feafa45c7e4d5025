"""The command `fute`: commands for people, and every step of the workflow by its name.

A step does not import the commands for people: most of a small step's time is its start.
"""

from __future__ import annotations

import io
import os
import re
import sys

from fute import steps
from fute.scrub import HidingStream, hide_from_output

COMMANDS = re.compile(r"\x1b(?!\[[\d;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that a terminal obeys, and those that turn the order of letters; not colours, line breaks and tabs."""


class TerminalStream(HidingStream):
    """Standard output where it is a terminal: what files of others hold is shown, and never moves the cursor."""

    def write(self, text: str) -> int:
        super().write(COMMANDS.sub("?", text))
        return len(text)


def main() -> None:
    """Run a command.

    Expected errors (see `fute.errors`) are printed as one line; the process then exits with the error's `exit_code`,
    else with 1. Other errors keep their traceback. No output holds the value of a variable with a secret. A character
    that the terminal's encoding does not have is written as an escape, one that the terminal would obey as `?`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    hide_from_output()
    if sys.stdout.isatty():
        sys.stdout = TerminalStream(sys.stdout)
    try:
        if len(sys.argv) > 1 and sys.argv[1] in steps.STEPS:
            steps.run(sys.argv[1], sys.argv[2:])
        else:
            from fute.commands import app

            app()
    except KeyboardInterrupt:
        print("fute: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:
        from fute.errors import one_line

        message = one_line(error, sys.argv[1:])
        if message is None:
            raise
        print(f"fute: {COMMANDS.sub('?', message)}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
