"""Fetch everything that a run reads from a network before it starts: models by revision, datasets, U.

The workflow's own data and model rules do this, on the node where Snakemake runs; all other rules are offline.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from fute import paths
from fute.data.fetch_model_step import ModelError
from fute.data.rows import SourceError
from fute.data.unsup_files import DOWNLOADS
from fute.plan import Plan

TOKEN = "HF_TOKEN"
"""Environment variable with the hub's token. It is never an argument, so no command line, log or record shows it."""


def targets(plan: Plan) -> list[str]:
    """Files to make: those that need a network, and the data that all later steps start from."""
    data = [paths.unsup(corpus) for corpus in plan.config.corpora]
    splits = [paths.rows(name, split) for name in plan.data.datasets for split in ("train", "test")]
    return [*map(paths.model_lock, plan.models), *data, *splits]


def check_token(plan: Plan, environment: Mapping[str, str]) -> None:
    """Raise ModelError if gated models are still missing and no token is set."""
    missing = [name for name in plan.models if not Path(paths.model_lock(name)).is_file()]
    gated = [name for name in missing if plan.run.models[name].gated]
    if gated and not environment.get(TOKEN):
        repos = ", ".join(f"{name} ({plan.run.models[name].repo})" for name in gated)
        raise ModelError(
            f"gated models: {repos}: accept their licences on the hub, then put your token into the environment "
            f"variable {TOKEN} (export {TOKEN}=...; never on a command line)"
        )


def prefetch(plan: Plan, cores: int, arguments: tuple[str, ...]) -> None:
    """Fetch the scripts of each U that has none yet, or whose fetch was broken off, then replace this process with a
    Snakemake run of the data and model rules. Otherwise a U of which some scripts are there stays as it is.
    arguments: name the run's settings.

    Raises ModelError without the token that a gated model needs, SourceError if data that no hub has are missing.
    """
    check_token(plan, os.environ)
    folders = plan.data.script_folders()
    if any(
        len(missing) == len(folders[folder]) or (Path(folder) / DOWNLOADS).is_dir()
        for folder, missing in plan.data.missing_scripts().items()
    ):
        from fute.cluster.unsup import fetch  # it imports the hub's client

        fetch(plan)
    if missing := Plan(plan.run).data.missing_text():  # a new plan, for what has just been fetched
        raise SourceError(missing)
    line = [sys.executable, "-m", "snakemake", "--cores", str(cores)]
    os.execv(sys.executable, [*line, *arguments, "--", *targets(plan)])
