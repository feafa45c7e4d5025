"""Names of a fine-tuned model's files; needs no torch."""

from __future__ import annotations

from pathlib import Path

from fute.batching import LOCK

MODEL, RUN = "model", "run.json"
"""In the batch that made it: the folder of weights; the score without transfer, the loss of every step, and the hash of
every file of weights."""


def folder_of(lock: Path) -> Path:
    """Folder of a fine-tuned model; it lies next to its lock file."""
    return lock.with_name(lock.name.removesuffix(LOCK))
