"""Read and normalise a dataset's source; the steps for its evaluation rows and its training rows share this."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from fute.config.datasets import DatasetSettings, Source
from fute.data.normalise import Normalised, normalise
from fute.data.sources import load_dataset_rows


class SplitSettings(BaseModel):
    """Settings that determine the rows of one dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    entry: DatasetSettings
    source: Source
    test_rows: int | None
    train_rows: int | None
    dev_share: float
    seed: int


def normalised(
    settings: SplitSettings, root: Path, exclude: frozenset[str] = frozenset(), revision: str | None = None
) -> tuple[Normalised, dict[str, Any]]:
    """Rows of every split, and the lock of the files that were read.

    exclude: normalised texts that no training row may hold. revision: of a repository, taken from an earlier lock.
    """
    raw = load_dataset_rows(settings.dataset, settings.entry, source=settings.source, root=root, revision=revision)
    result = normalise(
        settings.dataset,
        settings.entry,
        raw,
        test_rows=settings.test_rows,
        train_rows=settings.train_rows,
        dev_share=settings.dev_share,
        seed=settings.seed,
        exclude=exclude,
    )
    return result, raw.lock
