"""Batches seen from the audit: what one cell of a batch says, and what two batches were told.

A batch holds what one process start computed for many targets. An auditor asks for one target: one cell of a batch
and what is taken out of it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fute.artifacts import canonical_json, read_jsonl
from fute.audit.planned_jobs import Job
from fute.audit.values import differences
from fute.batching import KEYS
from fute.embeddings.extract_embedding_step import member
from fute.plan import EMBEDDING_SUFFIX, TRANSFER_SUFFIX, Workflow

CELLS = ("labels", "selects", "items", "runs")
"""Settings of a batch that say which cells it holds; all others say how they are computed."""


def is_batch(name: str) -> bool:
    """Whether an artifact is the data of a batch."""
    return "/batches/" in name and not name.endswith(KEYS)


def keys_of(batch: str) -> str:
    """Name of the `.keys` file beside a batch's data."""
    folder, _, name = batch.rpartition("/")
    return f"{folder}/{name.split('.')[0]}{KEYS}"


def keys_read(params: Mapping[str, Any]) -> list[str]:
    """Keys of the cells that an extraction takes out of its batches. params: of its record."""
    return [params["key"]] if "key" in params else [key for _, key in sorted(params["keys"].items())]


def planned_keys(job: Job) -> list[str]:
    """The same of a planned job."""
    return keys_read(job.params if "key" in job.params else json.loads(job.params["settings"]))


def cell_content(batch: Path, key: str) -> bytes | None:
    """What a batch says of one cell, whatever the cell's key; None where it does not hold it."""
    if batch.suffix == EMBEDDING_SUFFIX:
        with zipfile.ZipFile(batch) as archive:
            return archive.read(member(key)) if member(key) in archive.namelist() else None
    lines = [{**line, "key": ""} for line in read_jsonl(batch) if line.get("key") == key]
    return "\n".join(map(canonical_json, lines)).encode() or None


def changed_settings(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Where two batches' settings differ in how cells are computed, for what both have.

    Their prompts (of labels) and targets (of transfer) may be others.
    """
    how = [{name: value for name, value in settings.items() if name not in CELLS} for settings in (was, now)]
    for kind in ("prompts", "targets"):
        told = [_by_name(settings.pop(kind, None)) for settings in how]
        for settings, own in zip(how, told, strict=True):
            settings[kind] = {name: own[name] for name in told[0].keys() & told[1].keys()}
    yield from differences(*how)


def _by_name(told: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """Prompts by id as they are; targets of transfer by dataset."""
    return dict(told) if isinstance(told, Mapping) else {each["task"]["dataset"]: each for each in told or ()}


def all_cells(workflow: Workflow) -> Iterator[tuple[str, str, str]]:
    """(folder and suffix of its batches as `folder/*suffix`, cell, key) of every cell of a configuration."""
    if workflow.llm:
        for (model, task, corpus), key in workflow.llm.labels.cells.items():
            yield f"results/labels/{model}/batches/*.jsonl.gz", f"{task}/{corpus}", key
    for path, item in workflow.embeddings.items.items():
        method = path.split("/")[3]
        yield f"{workflow.embeddings.folder(method)}/batches/*{EMBEDDING_SUFFIX}", path, item.key
    if workflow.lm:
        for cell, run in workflow.lm.transfer.runs.items():
            yield f"results/transfer/{workflow.lm.transfer.model}/batches/*{TRANSFER_SUFFIX}", cell, run.key
