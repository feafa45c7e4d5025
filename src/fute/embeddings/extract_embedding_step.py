"""Take one task embedding out of its batch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from fute.artifacts import StaleFile, Step, content_key, read_jsonl, sha256_file
from fute.batching import check_sources
from fute.embeddings.vector_record import record_of

SUFFIX = ".zip"
INDEX = "inputs.json"
TAKEN = {"labels": (), "soft_labels": ("classes", "probabilities", "value", "span")}
"""Keys of a label file's rows that a vector depends on besides id and prediction, by the kind of its labels."""
RECORDED = ("pairs", "steps", "loss_start", "loss_end", "relative_distance", "no_vector")
"""Facts about the training that the sidecar of a vector repeats."""


def member(key: str) -> str:
    """Name of a vector inside its batch, and of its stored unit."""
    return f"{key}.safetensors"


def learned_from(name: str, path: Path) -> str:
    """Hash of the part of a file that a vector depends on.

    name `labels`: ids and predictions; `soft_labels`: also probabilities and numbers; any other: the whole file. So two
    prompts with the same words share one vector, although their label files have different prompt numbers.
    """
    if name not in TAKEN:
        return sha256_file(path)
    rows = read_jsonl(path)
    return content_key([[row["id"], row["prediction"], *(row[f] for f in TAKEN[name] if f in row)] for row in rows])


def extract_embedding(key: str, *, batch: Path, files: Mapping[str, Path], output: Path) -> None:
    """Write one vector of a batch.

    files: the files that it was learned from (`train` or `labels`, and the surrogate's lock as `surrogate`), which are
    compared with the hashes in the batch.

    Raises StaleFile if the batch does not hold the vector, or was learned from other files.
    """
    with zipfile.ZipFile(batch) as archive:
        recorded = json.loads(archive.read(INDEX)).get(key)
        if recorded is None:
            raise StaleFile(f"{batch}: holds no vector {key[:16]}; delete this batch and its .keys, then run again")
        data = archive.read(member(key))
    # Vectors of soft targets recorded their labels as `soft_labels`.
    named = {kind if kind in recorded else f"soft_{kind}": path for kind, path in files.items()}
    check_sources(batch, recorded, named, learned_from)
    inputs = [batch, *files.values()]
    with Step(__name__, settings={"key": key}, inputs=inputs) as step:
        record = record_of(data)
        step.facts = {name: record[name] for name in RECORDED if name in record}
        step.bytes(output, data)
