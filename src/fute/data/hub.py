"""Load splits of a dataset on the Hugging Face hub, or of a snapshot folder of one (parquet or JSON files).

Only `sources.load_dataset_rows` imports this module, and only for source `hub`: the package `datasets` takes a
second to import, too long for planning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
from datasets import Dataset, load_dataset
from datasets import config as settings
from datasets.exceptions import DatasetsError
from huggingface_hub import HfApi

from fute.data.hub_patience import full_disk, patiently
from fute.data.rows import SourceError

OFFLINE = "check the name and the connection, or use source: files with a local folder"
BLOCK = 500
"""Rows that are in memory at a time."""


def resolve_revision(repo: str, branch: str | None = None) -> str:
    """Current commit (40 hex digits) of a branch of a dataset repository (None: the default branch).

    Raises SourceError for a repository that cannot be read, or whose name is none.
    """
    try:
        return patiently(repo, lambda: HfApi().dataset_info(repo, revision=branch).sha)
    except (OSError, ValueError, httpx2.HTTPError) as error:
        raise SourceError(f"{repo}: its revision cannot be read from the hub ({error}); {OFFLINE}") from error


def load_split(
    repo: str, config: str | None, split: str, revision: str | None, columns: list[str], folder: str | None = None
) -> Iterator[dict[str, Any]]:
    """Load one split, and give its rows with these columns alone. The split is mapped from disk, not held in memory.

    revision: commit of the repository; None only for a local folder. folder: the only folder that is read.
    Raises SourceError at once if the repository, the split or a column does not exist, OSError for a full disk.
    """
    try:
        dataset = load_commit(repo, config, revision, split=split, data_dir=folder)
    except RuntimeError as error:  # of `datasets` 4 and later, for a repository that is a script
        raise SourceError(
            f"{repo}, config {config}, split {split}: cannot be loaded ({error}). If it is a script, name the branch "
            "refs/convert/parquet (hub.branch in the dataset registry), if the repository has it, or use source: files"
        ) from error
    except (OSError, ValueError, httpx2.HTTPError, DatasetsError) as error:
        if full := full_disk(error):
            raise full from None
        raise SourceError(f"{repo}, config {config}, split {split}: cannot be loaded ({error}); {OFFLINE}") from error
    if missing := sorted(set(columns) - set(dataset.column_names)):
        raise SourceError(
            f"{repo}, split {split}: has no column {missing[0]!r}, only {', '.join(dataset.column_names)}; "
            "correct fields and label_field in the dataset registry"
        )
    return _rows(dataset.select_columns(columns))


def load_commit(repo: str, config: str | None, revision: str | None, **options: Any) -> Any:
    """What `load_dataset` gives of one commit, and of no other. It raises many kinds of errors."""
    # with one cache for all revisions, `datasets` would read another one from there while the hub gives no answer
    cache = str(settings.HF_DATASETS_CACHE / revision) if revision else None
    return patiently(repo, lambda: load_dataset(repo, config, revision=revision, cache_dir=cache, **options))


def _rows(dataset: Dataset) -> Iterator[dict[str, Any]]:
    for start in range(0, len(dataset), BLOCK):
        yield from dataset.select(range(start, min(start + BLOCK, len(dataset)))).to_list()
