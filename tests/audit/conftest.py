"""The small run that is audited, made once, and copies of it to damage."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from support.audited_run import CONFIG, Run, make_run
from support.checkouts import ROOT, say


@pytest.fixture(scope="session", autouse=True)
def forks(quick_starts: None) -> None:
    """All tests of this folder start processes by the fork server."""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run as it was made, once for all processes of a session; tests only read it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "audited"
    image = folder / "image"
    with FileLock(folder.with_suffix(".lock")):
        if not image.is_file():
            say("running the data steps")
            made = make_run(folder / "project")
            image.write_text(made.image)
            return made
    made = Run(folder / "project", CONFIG)
    made.image = image.read_text()
    return made


def copied(made: Run, folder: Path, *left_out: str) -> Run:
    shutil.copytree(made.folder, folder, ignore=shutil.ignore_patterns(*left_out))
    copy = Run(folder, CONFIG)
    copy.image = made.image
    return copy


@pytest.fixture
def project(made: Run, tmp_path: Path) -> Run:
    """A whole copy of the checkout, Snakemake's metadata included."""
    return copied(made, tmp_path / "project")


@pytest.fixture
def clone(made: Run, tmp_path: Path) -> Run:
    """A copy of the checkout and its results, without Snakemake's metadata."""
    return copied(made, tmp_path / "clone", ".snakemake")


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    """A copy that a test may damage."""
    return made.copy(tmp_path / "copy")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The documents and resources of the project beside the evaluation and Table 3 of a run, as current folder."""
    from support.audit_tables import write_tables  # loads pandas

    for name in ("docs", "resources", "benchmarks", "config"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    write_tables()
    return tmp_path
