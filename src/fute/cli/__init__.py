"""The command `fute`: every step of the workflow as a subcommand, and a few commands for people.

Steps take their files as named flags and their settings as JSON, as the workflow passes them; each runs
without Snakemake. Heavy modules are imported by the step that needs them.
"""

from __future__ import annotations

import sys

import typer

from fute.audit.cli import app as audit
from fute.cli import black_boxes, data, embeddings, evaluation, paper, people
from fute.cluster import storage
from fute.cluster.cli import app as cluster
from fute.images.cli import app as images

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(people.app)
app.add_typer(audit, name="audit")
app.add_typer(cluster)
app.add_typer(images, name="images")
for part in (data, black_boxes, embeddings, evaluation, paper):
    for command in part.app.registered_commands:
        command.rich_help_panel = "Steps, as the workflow calls them"
    app.add_typer(part.app)


def main() -> None:
    """Run a command. An error of this package's own kinds, or of a disk, is one line for people; others keep a trace.

    It ends with 1, or with the error's own `exit_code`.
    """
    try:
        app()
    except Exception as error:
        what = str(error) if type(error).__module__.startswith("fute.") else storage.advice(error)
        if what is None:
            raise
        print(f"fute: {what}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
