"""A checkout of its own for every test, with the real model's files and small data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from support.checkouts import Checkout, add_model, copy_project, fetched_model, say


@pytest.fixture(scope="session")
def model() -> Path:
    """The real model's folder, fetched once into this checkout's results by the workflow itself."""
    return fetched_model()


@pytest.fixture
def checkout(tmp_path: Path, model: Path) -> Checkout:
    """A fresh copy of the project that has the model and nothing else."""
    made = copy_project(tmp_path / "project")
    add_model(made, model)
    return made


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str, model: Path) -> Checkout:
    """A copy of the project after one whole run, one for all test processes; `first` holds its hashes.

    Whoever edits it edits a copy (`copied`).
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    made, hashes = Checkout(shared / "finished/project"), shared / "finished/hashes.json"
    with FileLock(shared / "finished.lock"):  # whichever process comes first runs it
        if not hashes.is_file():
            shutil.rmtree(made.folder, ignore_errors=True)
            copy_project(made.folder)
            add_model(made, model)
            say("running the tiny workflow (one to two minutes)")
            made.run()
            hashes.write_text(json.dumps(made.hashes()))
    made.first = json.loads(hashes.read_text())
    return made
