"""A saved model in a folder: which files belong to it, and what identifies it in the keys of results."""

from __future__ import annotations

import json
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fute.config.models import ModelEntry
from fute.data.rows import SourceError
from fute.data.sources import planned_hashes

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Weights in one file, in the order in which transformers looks for them; shards have an index `{name}.index.json`."""
BESIDE_WEIGHTS = ("*.json", "*.model", "*.jinja", "vocab*.txt", "merges*.txt", "dict*.txt")
"""Configuration and tokenizer."""
MERGE = "merge its adapter into the model (peft: merge_and_unload) and save that"
OF_TRAINING = ("train*", "eval*", "test_*", "predict*", "*_results.json", "*_state.json", "*_log.json", "optimizer*",
               "scheduler*", "log_history*")  # fmt: skip
"""What a training leaves beside a model: no part of it."""


def model_files(folder: Path) -> dict[str, Path]:
    """Name -> file of a saved model: configuration, tokenizer, and weights, `.bin` ones if there are no safetensors.

    Raises SourceError if the folder has no configuration or no complete weights.
    """
    if not (folder / "config.json").is_file():
        raise SourceError(
            f"{folder} holds no config.json; {MERGE if has_adapter(folder) else 'give the folder of a saved model'}"
        )
    names = {path.name for pattern in BESIDE_WEIGHTS for path in folder.glob(pattern) if path.is_file()}
    names = {name for name in names if not any(fnmatch(name, pattern) for pattern in OF_TRAINING)}
    return {name: folder / name for name in sorted({*names, *_weights(folder)})}


def _weights(folder: Path) -> list[str]:
    for name in WEIGHTS:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [name]
        if index.is_file():
            try:
                shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
                elsewhere = [shard for shard in shards if Path(shard).name != shard]
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise SourceError(f"{index} is no index of weights; save the model again") from None
            if elsewhere:  # a copy of the folder would write it elsewhere, too
                raise SourceError(f"{index} names {elsewhere[0]!r}, which is no file beside it; save the model again")
            if missing := [shard for shard in shards if not (folder / shard).is_file()]:
                raise SourceError(f"{folder} lacks {missing[0]}, which {index.name} names; copy it there")
            return shards
    remedy = MERGE if has_adapter(folder) else "copy them there"
    raise SourceError(f"{folder} holds no weights, {' or '.join(WEIGHTS)}; {remedy}")


def has_adapter(folder: Path) -> bool:
    """True if a folder holds an adapter of the library peft, such as LoRA's."""
    return any((folder / f"adapter_model.{ending}").is_file() for ending in ("safetensors", "bin"))


def unfinished_folder(folder: Path, key: str | None) -> Path:
    """Folder to fill before it becomes `folder`, beside it.

    key: 40 hexadecimal digits that identify what is to be in it, such as a commit: work with the same key goes on in
    it. None: it starts empty. Whatever else was begun of this model is removed. Were a commit's files fetched among
    those of another one, these would stay; and where the hub gives no answer, its client takes them for the model.
    """
    unfinished = folder.with_name(f".{folder.name}.{key}.partial" if key else f".{folder.name}.partial")
    of_model = re.compile(rf"\.{re.escape(folder.name)}(\.[0-9a-f]{{40}})?\.partial")
    for other in folder.parent.glob(".*.partial"):
        if of_model.fullmatch(other.name) and (other != unfinished or not key):
            shutil.rmtree(other)
    unfinished.mkdir(parents=True, exist_ok=True)
    return unfinished


def model_identity(entry: ModelEntry) -> dict[str, Any]:
    """What identifies an entry's weights, without a path: settings, and of a folder the sha256 of each of its files.

    The lock file that is written with the fetched model holds a hash per file for every source.
    Raises SourceError for a folder without a model.
    """
    identity = entry.settings()
    if entry.folder:
        files = model_files(Path(entry.folder).expanduser())
        hashes = planned_hashes(files.values())
        identity["folder"]["files"] = {name: hashes[path] for name, path in files.items()}
    return identity
