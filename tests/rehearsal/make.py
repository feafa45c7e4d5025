"""Fill a folder with the hub's repositories, and another with the files that users bring along.

python -m rehearsal.make DATA HUB OWN
"""

from __future__ import annotations

import sys
from pathlib import Path

import datasets
import torch
import yaml

from rehearsal.repositories import CONVERTED, make_datasets, make_own_files
from rehearsal.tiny_models import make_models

REGISTRIES = {"datasets": Path("config/datasets.yaml"), "models": Path("config/models.yaml")}
MODELS = ("llama-2-13b", "llama-2-70b", "mixtral-8x7b", "t5-base", "bert-base", "gpt2")


def pin(hub: Path) -> None:
    """Give repositories the commits that the registries name."""
    for kind, registry in REGISTRIES.items():
        for entry in yaml.safe_load(registry.read_text()).values():
            source = entry.get("hub", {}) if kind == "datasets" else entry
            if "revision" in source and (folder := hub / kind / source["repo"]).is_dir():
                converted = CONVERTED.replace("/", "%2F")
                branch = converted if (folder / converted).is_dir() else "main"
                (folder / f".commit-{branch}").write_text(source["revision"])


if __name__ == "__main__":
    data, hub, own = map(Path, sys.argv[1:])
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    make_datasets(hub, data)
    make_own_files(own, data)
    registry = yaml.safe_load(REGISTRIES["models"].read_text())
    make_models(hub, data, [(registry[name]["repo"], registry[name].get("gated", False)) for name in MODELS])
    pin(hub)
