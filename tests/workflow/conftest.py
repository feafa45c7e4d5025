"""A checkout of its own for every test, with small random models and small data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from support.checkouts import MODEL, MODEL_LOCK, Checkout, save_model, say, tiny_checkout


@pytest.fixture(scope="session", autouse=True)
def forks(quick_starts: None) -> None:
    """All tests of this folder start processes by the fork server."""


@pytest.fixture(scope="session")
def weights(shared: Path) -> Path:
    """The small model's folder, which the registry of every checkout names."""
    with FileLock(shared / "weights.lock"):
        if not (folder := shared / "weights" / MODEL).is_dir():
            save_model("smollm2", folder)
    return folder


@pytest.fixture(scope="session")
def finished(shared: Path, weights: Path) -> Checkout:
    """A copy of the project after one whole run, one for all test processes; `first` holds its hashes.

    Whoever edits it edits a copy (`copied`).
    """
    made, hashes = Checkout(shared / "finished/project"), shared / "finished/hashes.json"
    with FileLock(shared / "finished.lock"):  # whichever process comes first runs it
        if not hashes.is_file():
            shutil.rmtree(made.folder, ignore_errors=True)
            tiny_checkout(made.folder, weights)
            say("running the tiny workflow")
            made.run()
            hashes.write_text(json.dumps(made.hashes()))
    made.first = json.loads(hashes.read_text())
    return made


@pytest.fixture
def fresh(weights: Path, tmp_path: Path) -> Checkout:
    """A checkout that has the model and nothing else."""
    made = tiny_checkout(tmp_path / "project", weights)
    made.run(MODEL_LOCK)
    return made
