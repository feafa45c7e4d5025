"""A checkout of its own for every test, with the real model's files and small data."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkouts import Checkout, add_model, copy_project, fetched_model, say


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
def finished(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Checkout:
    """A copy of the project after one whole run; `first` holds its hashes. Files of tests share it: edit a copy."""
    made = copy_project(tmp_path_factory.mktemp("finished") / "project")
    add_model(made, model)
    say("running the tiny workflow (about two minutes)")
    made.run()
    made.first = made.hashes()
    return made
