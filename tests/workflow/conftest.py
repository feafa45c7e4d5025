"""A checkout of its own for every test, with the real model's files and small data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkouts import CONFIG as CONFIG
from checkouts import ROOT, Checkout
from checkouts import copy_project as copy_project

MODEL = "smollm2-135m"


def add_model(checkout: Checkout, model: Path) -> None:
    """Link the model's files in, as a workflow that fetched them would have left them."""
    target = checkout / "results/models"
    target.mkdir(parents=True)
    for path in [model.with_name(f"{MODEL}.lock.json"), model.with_name(f"{MODEL}.lock.json.prov.json")]:
        shutil.copy2(path, target / path.name)
    shutil.copytree(model, target / MODEL, copy_function=os.link)


@pytest.fixture(scope="session")
def model() -> Path:
    """The real model's folder, fetched once into this checkout's results by the workflow itself."""
    path = ROOT / "results/models" / MODEL
    lock = path.with_name(f"{MODEL}.lock.json")
    if not lock.is_file():
        print("fetching the model (20 s)", flush=True)
        line = [sys.executable, "-m", "snakemake", "--cores", "2", str(lock.relative_to(ROOT))]
        subprocess.run(line, cwd=ROOT, env=Checkout(ROOT).environment(), check=True, capture_output=True)
    return path


@pytest.fixture
def checkout(tmp_path: Path, model: Path) -> Checkout:
    """A fresh copy of the project that has the model and nothing else."""
    made = copy_project(tmp_path / "project")
    add_model(made, model)
    return made


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Checkout:
    """A copy of the project after one whole run; `first` holds its hashes then. Tests edit it one after the other."""
    made = copy_project(tmp_path_factory.mktemp("finished") / "project")
    add_model(made, model)
    print("\nrunning the tiny workflow (about two minutes)", flush=True)
    made.run()
    made.first = made.hashes()
    return made
