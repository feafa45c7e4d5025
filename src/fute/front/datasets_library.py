"""Tables of the library `datasets`: a folder that its `save_to_disk` wrote, or a dataset of the Hugging Face hub.

Imported only where one is named: `datasets` takes a second to import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import httpx2

from fute.data.hub import load_commit, resolve_revision
from fute.data.rows import SourceError
from fute.front.table import FrontError, Table

SINGLE = ""
"""Name of the only split of a saved `Dataset`, which has none."""
AGAIN = "save the dataset again by save_to_disk"
CHECKED = ("test", "validation", "valid", "dev")
"""Names of splits to check on, the best first."""

Splits = Mapping[str, datasets.Dataset]


def saved_splits(folder: Path) -> Splits:
    """The splits of a folder that `save_to_disk` wrote; of a `Dataset` alone, one named `SINGLE`. Raises FrontError."""
    for state in sorted(folder.rglob("state.json")):
        if '"_data_files": []' in state.read_text(encoding="utf8", errors="replace"):  # the library cannot read it back
            raise FrontError(f"{state.parent}: has no rows; {AGAIN}, with rows or without this split")
    loaded = _read(lambda: datasets.load_from_disk(str(folder)), f"{folder}: is no saved dataset that can be", AGAIN)
    return {SINGLE: loaded} if isinstance(loaded, datasets.Dataset) else loaded


def hub_splits(repo: str, subset: str | None) -> tuple[str, Splits]:
    """The newest commit of a repository (40 hex digits), and its splits.

    subset: its configuration; None: the only one. Raises FrontError.
    """
    remedy = (
        "check name and network; where there is none, save it elsewhere (load_dataset(...).save_to_disk(FOLDER)), "
        "and give --data FOLDER"
    )
    try:
        revision = resolve_revision(repo)
    except (SourceError, ValueError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise FrontError(
            f"{repo}: is no file or folder here, and the hub was asked for a dataset of this name ({reason}); {remedy}"
        ) from None
    named = f"{repo}, subset {subset}" if subset else repo
    loaded = _read(
        lambda: load_commit(repo, subset, revision),
        f"{named}: cannot be",
        "if it has subsets, name one by --subset; if it is a script, save it by save_to_disk and name that folder",
    )
    return revision, loaded


def _read(read: Callable[[], Any], problem: str, remedy: str) -> Any:
    """Return what `read` does. Raises FrontError for what the library refuses, by many kinds of errors."""
    try:
        return read()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, httpx2.HTTPError) as error:
        raise FrontError(f"{problem} read ({' '.join(str(error).split())}); {remedy}") from None


def table(place: Path, split: datasets.Dataset) -> Table:
    """The columns of texts, numbers and classes; a class stands by its name, and no class (-1) is empty.

    place: what names the split in messages. Raises FrontError.
    """
    features = {
        name: feature
        for name, feature in split.features.items()
        if isinstance(feature, datasets.ClassLabel | datasets.Value) and feature.dtype != "binary"
    }
    names = {name: tuple(f.names) for name, f in features.items() if isinstance(f, datasets.ClassLabel)}
    if not features or not len(split):
        raise FrontError(f"{place}: has no rows with texts and labels; name a dataset with one of each per row")
    rows = _read(lambda: split.select_columns(list(features)).to_list(), f"{place}: its rows cannot be", AGAIN)
    for row in rows:
        for column, classes in names.items():
            row[column] = _name(row[column], classes)
    return Table(place, rows, tuple(features), names, tuple(name for name in split.features if name not in features))


def _name(value: int | None, classes: tuple[str, ...]) -> str | None:
    return None if value is None or value < 0 else classes[value]


Named = tuple[str, Table]


def chosen_splits(splits: Splits, place: Path, test: str | None) -> tuple[Named, list[Named]]:
    """(name, table) of the split to learn from, and of those to check on, the best first.

    place: folder or repository. test: the split that was asked for; None: those of `CHECKED`. Raises FrontError.
    """
    listed = ", ".join(map(repr, splits))
    train = "train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else None
    if train is None:
        raise FrontError(
            f"{place}: has the splits {listed}, and none is named 'train'; save the one to learn from alone, or rename "
            "it"
        )
    others = [name for name in splits if name != train]
    if test is not None and test not in others:
        advice = f"name one of {', '.join(map(repr, others))}" if others else "it has no other; leave --test out"
        raise FrontError(f"--test {test}: {place} has the splits {listed}; {advice}")
    tests = [name for name in CHECKED if name in others and len(splits[name])] if test is None else [test]
    made = [(name, table(place / name, splits[name])) for name in (train, *tests)]
    return made[0], made[1:]
