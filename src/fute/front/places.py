"""Where a run of one's own and the project lie."""

from __future__ import annotations

from pathlib import Path

from fute.front.table import FrontError

PROJECT = Path(__file__).resolve().parents[3]
"""Folder of the Snakefile. Snakemake runs there, and results are below it."""
RUN_FILE = "run.yaml"
"""The settings in a run's folder."""
OWN_TEXTS = "unlabelled.jsonl"
"""The texts of one's own in a run's folder that are its U."""
START = "start"
"""The ladder of a run's settings whose boxes are the models to start from."""


def is_run(name: str) -> bool:
    """True for the folder of a run."""
    return (Path(name) / RUN_FILE).is_file()


def run_file(name: str) -> Path:
    """Absolute path of a run's settings. name: its folder. Raises FrontError."""
    path = Path(name).absolute() / RUN_FILE
    if path.parent.is_file():
        raise FrontError(f"{name}: is a file; name the folder of a run, which has a {RUN_FILE}")
    if not is_run(name):
        raise FrontError(f"{name}: has no {RUN_FILE}; make the run with `fute new {name} ...`, or name its folder")
    return path


def snakefile_folder() -> Path:
    """The project's folder. Raises FrontError where the package lies without the workflow."""
    if not (PROJECT / "Snakefile").is_file():
        raise FrontError(
            f"{PROJECT}: has no Snakefile, so the workflow cannot run; install the package from the project's folder "
            "(make demo does)"
        )
    return PROJECT
