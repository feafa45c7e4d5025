"""Labelled datasets: one registry entry each, read from one of three sources, normalised to rows.

builtin  texts that ship with the project        resources/builtin/{id}/{split}.jsonl
files    a folder of JSON lines                  {root}/{folder}/{split}.jsonl or .jsonl.gz
hub      a dataset repository or its snapshot    through `fute.data.hub`

Texts are kept as they are but for outer whitespace (GLUE's SST-2 ends in a blank, IMDB keeps its `<br />`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, NamedTuple

from fute.artifacts import content_key, sha256_file
from fute.data.registry import DatasetSettings, FilesSettings, HubSettings, Source
from fute.data.rows import BadRow, Row, SourceError, alphanumeric, at, overlap_key, read_raw_jsonl

BUILTIN_ROOT = Path(__file__).resolve().parents[3] / "resources" / "builtin"
MAX_UNLABELLED = 0.1  # the authors' code stops at the same share: more means a split with hidden labels


class RawRow(NamedTuple):
    """A row as the source has it; `index` counts from 0 within `origin` (a file, or a hub split)."""

    origin: str
    split: str
    index: int
    values: dict[str, Any]


class RawSplits(NamedTuple):
    """Raw rows, the fields that train must not share with test, and the lock of what was read."""

    train: list[RawRow]
    test: list[RawRow]
    drop_shared: tuple[str, ...]
    lock: dict[str, Any]


class Normalised(NamedTuple):
    """Rows of the splits train, dev and test, and for each split how many rows went where."""

    rows: dict[str, list[Row]]
    counts: dict[str, dict[str, Any]]


def load_dataset_rows(
    dataset_id: str, settings: DatasetSettings, *, source: Source, root: Path | None, revision: str | None = None
) -> RawSplits:
    """The raw rows of a dataset and the lock of what was read.

    root  folder of source `files`; the lock's paths are relative to it. Ignored by the other sources
    revision  hub: the commit to read, from an earlier lock; None: the entry's, or the default branch
    lock  files: path, split, sha256, bytes, rows of each file; hub: repo, config, the resolved revision
          (for a snapshot folder its files instead), and a fingerprint and row count of each split
    Raises SourceError for what is not there, BadRow for a file that is not JSON lines.
    """
    if source == "hub":
        if revision is not None and settings.hub is not None:
            pinned = settings.hub.model_copy(update={"revision": revision})
            settings = settings.model_copy(update={"hub": pinned})
        return _load_hub(dataset_id, settings)
    rows: dict[str, list[RawRow]] = {"train": [], "test": []}
    locked = []
    base = _folder_root(dataset_id, source, root)
    for part, split, path in _raw_files(dataset_id, settings, source, base):
        objects = [value for _, value in read_raw_jsonl(path)]
        rows[part] += [RawRow(str(path), split, index, value) for index, value in enumerate(objects)]
        locked.append({"split": split, "rows": len(objects)} | _file_lock(path, base))
    drop_shared = settings.files.drop_shared if source == "files" else ()
    return RawSplits(rows["train"], rows["test"], drop_shared, {"source": source, "files": locked})


def source_identity(dataset_id: str, settings: DatasetSettings, source: Source, root: Path | None) -> dict[str, Any]:
    """What identifies the raw data, cheap enough for planning: file hashes, or repository and revision.

    A hub entry without a revision is identified by its name alone: what the name stood for is in the lock.
    """
    if source != "hub":
        base = _folder_root(dataset_id, source, root)
        files = _raw_files(dataset_id, settings, source, base)
        return {"source": source, "files": [{"part": part} | _file_lock(path, base) for part, _, path in files]}
    return {"source": "hub"} | _hub_identity(_hub(dataset_id, settings))


def normalise(
    dataset_id: str,
    settings: DatasetSettings,
    raw: RawSplits,
    *,
    test_rows: int | None = None,
    dev_share: float = 0.1,
    seed: int = 42,
    exclude: AbstractSet[str] = frozenset(),
) -> Normalised:
    """Rows of train, dev and test with canonical labels.

    test  the first `test_rows` (None: the entry's sample; fewer if there are fewer) of the row indices
          shuffled by Random(seed), then sorted, as the authors' code samples
    dev   `dev_share` of train, drawn the same way: the authors stop early on the rows they evaluate on
    Train and dev never hold a text of the dataset's own test split (sampled or not) nor one whose
    `overlap_key` is in `exclude`.
    Raises BadRow for an unusable row, SourceError when over 10 % of a split are unlabelled or no row is left.
    """
    test, test_counts = _labelled(dataset_id, settings, raw.test, "test")
    train, train_counts = _labelled(dataset_id, settings, raw.train, "train")
    if raw.drop_shared:
        positions = [settings.fields.index(field) for field in raw.drop_shared]
        in_test = {i: {alphanumeric(row.segments[i]) for row in test} for i in positions}
        train = _drop(
            train,
            lambda row: any(alphanumeric(row.segments[i]) in texts for i, texts in in_test.items()),
            train_counts,
            "shares_field_with_test",
        )
    own_test = {overlap_key(row.segments) for row in test}
    train = _drop(train, lambda row: overlap_key(row.segments) in own_test, train_counts, "in_own_test")
    train = _drop(train, lambda row: overlap_key(row.segments) in exclude, train_counts, "excluded")

    wanted = settings.sample if test_rows is None else test_rows
    test, _ = _sample(test, wanted, seed)
    dev, train = _sample(train, round(dev_share * len(train)), seed)
    rows = {"train": train, "dev": dev, "test": test}
    counts = {"train": train_counts, "dev": {}, "test": test_counts}
    for split, kept in rows.items():
        if not kept and not (split == "dev" and dev_share == 0):
            raise SourceError(f"{dataset_id}, split {split}: no rows are left; counts so far: {counts}")
        classes = Counter(row.label for row in kept)
        counts[split] |= {"kept": len(kept), "classes": {name: classes[name] for name in settings.classes}}
    return Normalised(rows, counts)


def _labelled(
    dataset_id: str, settings: DatasetSettings, raw: list[RawRow], part: str
) -> tuple[list[Row], dict[str, Any]]:
    rows = [row for row in (_row(dataset_id, settings, item) for item in raw) if row is not None]
    unlabelled = len(raw) - len(rows)
    if unlabelled > MAX_UNLABELLED * len(raw):
        raise SourceError(
            f"{dataset_id}, split {part}: {unlabelled} of {len(raw)} rows are unlabelled, more than "
            f"{MAX_UNLABELLED:.0%}; its labels are probably hidden: name another split in the registry"
        )
    return rows, {"raw": len(raw), "unlabelled": unlabelled}


def _row(dataset_id: str, settings: DatasetSettings, raw: RawRow) -> Row | None:
    """The canonical row, or None for an unlabelled one."""
    where = at(raw.origin, raw.index + 1)
    for field in (*settings.fields, settings.label_field):
        if field not in raw.values:
            found = ", ".join(raw.values)
            raise BadRow(where, field, f"is missing (there are: {found})", "correct the row or the registry entry")
    label = raw.values[settings.label_field]
    if not isinstance(label, str | int):
        problem = f"is {label!r}, neither text nor integer"
        raise BadRow(where, settings.label_field, problem, "correct the row")
    if str(label) in settings.unlabelled:
        return None
    if str(label) not in settings.label_map:
        known = ", ".join(settings.label_map)
        remedy = f"correct it, or add it to labels or unlabelled of {dataset_id} (known: {known})"
        raise BadRow(where, settings.label_field, f"has the unknown label {label!r}", remedy)
    segments = []
    for field in settings.fields:
        text = raw.values[field]
        if not isinstance(text, str):
            raise BadRow(where, field, f"is of type {type(text).__name__}, not a text", "correct the row")
        if not text.strip():
            raise BadRow(where, field, "is empty", "fill in or remove the row")
        segments.append(text.strip())
    return Row(f"{dataset_id}/{raw.split}/{raw.index}", tuple(segments), settings.label_map[str(label)])


def _drop(rows: list[Row], unwanted: Callable[[Row], bool], counts: dict[str, Any], reason: str) -> list[Row]:
    kept = [row for row in rows if not unwanted(row)]
    counts[reason] = len(rows) - len(kept)
    return kept


def _sample(rows: list[Row], size: int, seed: int) -> tuple[list[Row], list[Row]]:
    """(`size` rows drawn by Random(seed), the others), both in their old order."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    return [rows[i] for i in sorted(order[:size])], [rows[i] for i in sorted(order[size:])]


def _folder_root(dataset_id: str, source: Source, root: Path | None) -> Path:
    if source == "builtin":
        return BUILTIN_ROOT
    if root is None:
        raise SourceError(f"{dataset_id}: source files needs a root folder; set data.root")
    return root


def _raw_files(
    dataset_id: str, settings: DatasetSettings, source: Source, root: Path
) -> Iterator[tuple[str, str, Path]]:
    """(train or test, raw split, file) of the raw splits, in registry order."""
    files = settings.files if source == "files" else FilesSettings()
    folder = root / (files.folder or dataset_id)
    splits = files.splits or settings.splits
    for part, names in (("train", splits.train), ("test", splits.test)):
        for split in names:
            candidates = [folder / f"{split}.jsonl", folder / f"{split}.jsonl.gz"]
            found = [path for path in candidates if path.is_file()]
            if len(found) != 1:
                state = "both are there, keep one" if found else "neither is there"
                raise SourceError(
                    f"{dataset_id}, source {source}: {candidates[0]} or {candidates[1].name}: {state}; "
                    "put the file there, or choose another source or split in the registry"
                )
            yield part, split, found[0]


def _file_lock(path: Path, root: Path) -> dict[str, Any]:
    return {
        "path": path.relative_to(root).as_posix(),
        "sha256": sha256_file(path),
        "bytes": path.stat().st_size,
    }


def _hub(dataset_id: str, settings: DatasetSettings) -> HubSettings:
    if settings.hub is None:
        raise SourceError(f"{dataset_id}: has no hub entry in the registry; add one or choose another source")
    return settings.hub


def _hidden(path: Path) -> bool:
    """Whether a file is no part of the data, as the hub client's own `.cache` in a snapshot folder."""
    return any(part.startswith(".") for part in path.parts)


def _hub_identity(hub: HubSettings) -> dict[str, Any]:
    if not hub.is_folder:
        return {"repo": hub.repo, "config": hub.config, "revision": hub.revision}
    folder = Path(hub.repo)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    paths = [path for path in paths if not _hidden(path.relative_to(folder))]
    if not paths:
        raise SourceError(f"{hub.repo}: the snapshot folder is missing or empty; fetch it, or name a repository")
    return {"repo": folder.name, "config": hub.config, "files": [_file_lock(path, folder) for path in paths]}


def _load_hub(dataset_id: str, settings: DatasetSettings) -> RawSplits:
    from fute.data.hub import load_split, resolve_revision  # here: `datasets` is slow to import (see there)

    hub = _hub(dataset_id, settings)
    lock = {"source": "hub"} | _hub_identity(hub)
    revision = None
    if not hub.is_folder:
        revision = lock["revision"] = hub.revision or resolve_revision(hub.repo)
    splits = hub.splits or settings.splits
    columns = [*settings.fields, settings.label_field]
    rows: dict[str, list[RawRow]] = {"train": [], "test": []}
    lock["splits"] = []
    for part, names in (("train", splits.train), ("test", splits.test)):
        for split in names:
            objects = load_split(hub.repo, hub.config, split, revision, columns)
            origin = f"{lock['repo']}, split {split}"
            rows[part] += [RawRow(origin, split, index, value) for index, value in enumerate(objects)]
            lock["splits"].append({"split": split, "rows": len(objects), "fingerprint": content_key(objects)})
    return RawSplits(rows["train"], rows["test"], (), lock)
