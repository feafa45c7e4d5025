"""Take one task embedding out of its batch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from fute.artifacts import Step, content_key, read_jsonl, sha256_file
from fute.batching import check_sources
from fute.embeddings.vectors import record_of

SUFFIX = ".zip"
INDEX = "inputs.json"
TAKEN = {"labels": (), "soft_labels": ("classes", "probabilities", "value", "span")}
"""What is read of a label file, where it has it, beside id and prediction: by what a vector is learned from."""
RECORDED = ("pairs", "steps", "loss_start", "loss_end", "relative_distance")
"""What the sidecar of a vector repeats of how it was learned."""


def member(key: str) -> str:
    """Name of a vector inside its batch, and of its finished unit."""
    return f"{key}.safetensors"


def learned_from(name: str, path: Path) -> str:
    """Hash of what a vector takes from a file: of labels ids and predictions, of soft ones the probabilities too.

    Of all else it is that of the whole file. Two prompts of equal words have one vector, though their label files
    carry different prompt numbers.
    """
    if name not in TAKEN:
        return sha256_file(path)
    rows = read_jsonl(path)
    return content_key([[row["id"], row["prediction"], *(row[f] for f in TAKEN[name] if f in row)] for row in rows])


def extract_embedding(key: str, *, batch: Path, files: Mapping[str, Path], output: Path) -> None:
    """Write one vector of a batch.

    files: what it was learned from (`train` or `labels`, and the surrogate's lock as `surrogate`), compared with
    what the batch recorded.

    Raises ValueError where the batch does not hold the vector or was learned from other files.
    """
    with zipfile.ZipFile(batch) as archive:
        recorded = json.loads(archive.read(INDEX)).get(key)
        if recorded is None:
            raise ValueError(f"{batch}: holds no vector {key[:16]}; delete this batch and its .keys, then run again")
        data = archive.read(member(key))
    # a vector of soft targets recorded its labels under a name that says so
    named = {kind if kind in recorded else f"soft_{kind}": path for kind, path in files.items()}
    check_sources(batch, recorded, named, learned_from)
    inputs = [batch, *files.values()]
    with Step(__name__, settings={"key": key}, inputs=inputs) as step:
        learned = record_of(data)
        step.facts = {name: learned[name] for name in RECORDED if name in learned}
        step.bytes(output, data)
