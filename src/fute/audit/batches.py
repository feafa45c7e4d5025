"""Batches in the audit: the content of one cell, and how the settings of two batches differ.

A batch holds what one process computed for many targets. An auditor asks for one target: one cell of a batch and what
is extracted from it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fute import paths
from fute.artifacts import canonical_json, read_jsonl
from fute.audit.staleness import differences
from fute.batching import KEYS, LOCK

if TYPE_CHECKING:
    from fute.audit.planned_jobs import Job

CELLS = ("labels", "selects", "items", "runs", "pairs")
"""Settings of a batch that list its cells; all others say how these are computed."""


def is_batch(name: str) -> bool:
    """Whether an artifact is the data of a batch."""
    return paths.BATCHES in name and not name.endswith(KEYS)


def keys_read(params: Mapping[str, Any]) -> list[str]:
    """Keys of the cells that an extraction reads from its batches. params: of its record."""
    return [params["key"]] if "key" in params else [key for _, key in sorted(params["keys"].items())]


def planned_keys(job: Job) -> list[str]:
    """Keys of the cells that a planned extraction reads."""
    return keys_read(job.params if "key" in job.params else json.loads(job.params["settings"]))


def cell_content(batch: Path, key: str) -> bytes | None:
    """Content of one cell of a batch, without the key; None if the batch does not hold the cell."""
    if batch.name.endswith(LOCK):
        files = json.loads(batch.read_bytes())["files"]
        own = {name.split("/", 2)[2]: facts for name, facts in files.items() if name.split("/")[1] == key}
        return canonical_json(own).encode() if own else None
    if batch.suffix == ".zip":
        from fute.embeddings.extract_embedding_step import member  # loads numpy

        with zipfile.ZipFile(batch) as archive:
            return archive.read(member(key)) if member(key) in archive.namelist() else None
    lines = [{**line, "key": ""} for line in read_jsonl(batch) if line.get("key") == key]
    return "\n".join(map(canonical_json, lines)).encode() or None


def changed_settings(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Differences between two batches in how cells are computed.

    Only prompts (of labels) and targets (of transfer) that both have are compared.
    """
    how = [{name: value for name, value in settings.items() if name not in CELLS} for settings in (was, now)]
    for kind in ("prompts", "targets"):
        both = [_by_name(settings.pop(kind, None)) for settings in how]
        for settings, own in zip(how, both, strict=True):
            settings[kind] = {name: own[name] for name in both[0].keys() & both[1].keys()}
    yield from differences(*how)


def _by_name(listed: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """Prompts by id, targets of transfer by dataset."""
    if isinstance(listed, Mapping):
        return dict(listed)
    return {each["task"]["dataset"]: each for each in listed or ()}
