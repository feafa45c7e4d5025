"""Commands of `fute audit` about making results again: adopt, explain, rerun, noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fute.audit.options import ConfigOption, JsonOption, finish

TargetsArgument = Annotated[list[str] | None, typer.Argument(help="files or phases; default: all of the run")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="default: all cores")]


def adopt(
    targets: TargetsArgument = None,
    config: ConfigOption = Path("config.yaml"),
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Verify copied results and tell Snakemake of what is good, so that nothing of it runs again."""
    from fute.audit.adopt import adopt as run
    from fute.audit.hashing import cores

    finish(run(config, targets or (), threads=threads or cores()), json)
def explain(): pass
def rerun(): pass
def noise(): pass
