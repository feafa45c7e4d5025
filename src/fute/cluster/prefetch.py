"""What a run reads from a network, brought here first: models by revision, datasets, U.

The workflow's own rules do it, on the node where Snakemake runs; all others are offline.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from fute import paths
from fute.data.fetch_model_step import ModelError
from fute.plan import Plan

TOKEN = "HF_TOKEN"
"""The environment variable with the hub's token: never an argument, so that no command line, log or record has it."""


def targets(plan: Plan) -> list[str]:
    """Files that need a network, or that all later steps start from."""
    data = [paths.unsup(corpus) for corpus in plan.config.corpora]
    splits = [paths.rows(name, split) for name in plan.data.datasets for split in ("train", "test")]
    return [*map(paths.model_lock, plan.models), *data, *splits]


def check_token(plan: Plan, environment: Mapping[str, str]) -> None:
    """Raise ModelError where gated models are not here yet and no token is set."""
    missing = [name for name in plan.models if not Path(paths.model_lock(name)).is_file()]
    gated = [name for name in missing if plan.run.models[name].gated]
    if gated and not environment.get(TOKEN):
        repos = ", ".join(f"{name} ({plan.run.models[name].repo})" for name in gated)
        raise ModelError(
            f"gated models: {repos}: accept their licences on the hub, then put your token into the environment "
            f"variable {TOKEN} (export {TOKEN}=...; never on a command line)"
        )


def prefetch(plan: Plan, configfile: Path, cores: int, arguments: tuple[str, ...]) -> None:
    """Run the workflow's data and model rules in this process's place."""
    check_token(plan, os.environ)
    line = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", str(configfile)]
    os.execv(sys.executable, [*line, *arguments, "--", *targets(plan)])
