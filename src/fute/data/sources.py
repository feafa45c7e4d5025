"""Read raw rows of labelled datasets, each with one registry entry, from one of three sources.

builtin  texts that ship with the project        resources/builtin/{id}/{split}.jsonl
files    a folder of tables                      {root}/{folder}/{split}.jsonl, .jsonl.gz, .json, .csv, .tsv, .parquet
hub      a dataset repository or its snapshot    through `fute.data.hub`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from fute.artifacts import ContentKey, sha256_file
from fute.config.datasets import DatasetSettings, FilesSettings, HubSettings, Source
from fute.data.readers import form_of
from fute.data.rows import SourceError
from fute.data.tables import READERS, read_table_rows
from fute.file_hashes import sha256_files

BUILTIN_ROOT = Path(__file__).resolve().parents[3] / "resources" / "builtin"


class RawRow(NamedTuple):
    """A row as the source has it; `index` counts from 0 within `origin` (a file, or a hub split).

    number: of the row in the file, from 1; in CSV and TSV the line of names is a row, too.
    """

    origin: str
    split: str
    index: int
    values: dict[str, Any]
    number: int


class RawSplits(NamedTuple):
    """Raw rows, the lock of the files read, and the source.

    If a dataset has no split to evaluate on, `train` holds all rows and `test` none. Rows are read from their files
    one by one, once. The lock is whole when all have been read: what it says of a split comes after its last row.
    """

    train: Iterable[RawRow]
    test: Iterable[RawRow]
    lock: dict[str, Any]
    source: Source


def load_dataset_rows(
    dataset_id: str, settings: DatasetSettings, *, source: Source, root: Path | None, revision: str | None = None
) -> RawSplits:
    """Open the raw rows of a dataset, and make the lock of the files that are read.

    root      folder of source `files`; the lock's paths are relative to it. Other sources ignore it
    revision  hub: the commit to read, from an earlier lock; None: the entry's, or the default branch
    lock      files: path, split, sha256, bytes, rows of each file. hub: repo, config, the resolved revision (for a
              snapshot folder its files instead), and a fingerprint and row count of each split
    Raises SourceError for a file, split or repository that is missing; its rows raise BadRow where they are not JSON.
    """
    if source == "hub":
        if revision is not None and settings.hub is not None:
            pinned = settings.hub.model_copy(update={"revision": revision})
            settings = settings.model_copy(update={"hub": pinned})
        return _load_hub(dataset_id, settings)
    rows: dict[str, list[Iterator[RawRow]]] = {"train": [], "test": []}
    locked: list[dict[str, Any]] = []
    base = _folder_root(dataset_id, settings, source, root)
    for part, split, path in _raw_files(dataset_id, settings, source, base):
        locked.append({"split": split})
        rows[part].append(_rows_of_file(path, base, locked[-1]))
    return RawSplits(chain(*rows["train"]), chain(*rows["test"]), {"source": source, "files": locked}, source)


def _rows_of_file(path: Path, base: Path, lock: dict[str, Any]) -> Iterator[RawRow]:
    """Rows of a file; after the last one, their number and the file's hash are added to its lock."""
    rows = 0
    for rows, (number, value) in enumerate(read_table_rows(path), start=1):
        yield RawRow(str(path), lock["split"], rows - 1, value, number)
    lock |= {"rows": rows} | locks_of([path], base, hashes_now)[0]


def source_identity(dataset_id: str, settings: DatasetSettings, source: Source, root: Path | None) -> dict[str, Any]:
    """Identity of the raw data, cheap enough for planning: file hashes, or repository and revision.

    A hub entry without a revision is identified by its name alone; the lock holds the commit that was read.
    """
    if source != "hub":
        base = _folder_root(dataset_id, settings, source, root)
        files = _raw_files(dataset_id, settings, source, base)
        locks = locks_of([path for _, _, path in files], base, planned_hashes)
        return {"source": source, "files": [{"part": f[0]} | lock for f, lock in zip(files, locks, strict=True)]}
    return {"source": "hub"} | _hub_identity(_hub(dataset_id, settings), planned_hashes)


def check_planned(planned: dict[str, Any], read: dict[str, Any], where: str) -> None:
    """Raise SourceError if the files that a step has read are not those that the run was planned with.

    planned, read: values with `files`, as `source_identity` and the lock of the files read have them.
    """
    before = {file["path"]: file["sha256"] for file in planned.get("files", [])}
    now = {file["path"]: file["sha256"] for file in read.get("files", [])}
    if changed := sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
        raise SourceError(f"{where}: {', '.join(changed)} changed while the run was being prepared; run again")


Hashes = Callable[[Iterable[Path]], Mapping[Path, str]]


def planned_hashes(files: Iterable[Path]) -> Mapping[Path, str]:
    """Path -> sha256, for planning: files that have not changed since an earlier plan are not read."""
    try:
        return sha256_files(files)
    except OSError as error:
        raise SourceError(f"{error.filename}: cannot be read ({error.strerror}); give read access") from None


def hashes_now(files: Iterable[Path]) -> Mapping[Path, str]:
    """Path -> sha256, for steps: every file is read."""
    return {path: sha256_file(path) for path in files}


def locks_of(files: list[Path], root: Path, hashes: Hashes) -> list[dict[str, Any]]:
    """Path relative to `root`, sha256 and bytes of each file."""
    sha256 = hashes(files)
    return [
        {"path": path.relative_to(root).as_posix(), "sha256": sha256[path], "bytes": path.stat().st_size}
        for path in files
    ]


def _folder_root(dataset_id: str, settings: DatasetSettings, source: Source, root: Path | None) -> Path:
    if source == "builtin":
        return BUILTIN_ROOT
    if root is None:
        more = f"; {settings.obtain}" if settings.obtain else ""
        raise SourceError(
            f"{dataset_id}, source files: no folder is named: set data.root, e.g. --config data='{{root: DIR}}'{more}"
        )
    return root


def _raw_files(dataset_id: str, settings: DatasetSettings, source: Source, root: Path) -> list[tuple[str, str, Path]]:
    """(train or test, raw split, file) of each raw split, in registry order.

    Raises SourceError if a split has no file or several, naming all of these splits.
    """
    files = settings.files if source == "files" else FilesSettings()
    folder = root / (files.folder or dataset_id)
    if files.folder and Path(files.folder).is_absolute():
        raise SourceError(
            f"{dataset_id}: files.folder {files.folder} is absolute; write a folder below data.root, or move the entry "
            "into the run's own registry, where it may lie anywhere"
        )
    raw, absent, several = [], [], []
    for part, names in (files.splits or settings.splits).parts:
        for split in names:
            candidates = [folder / f"{split}{ending}" for ending in READERS]
            existing = [path for path in candidates if path.is_file()]
            raw += [(part, split, path) for path in existing]
            if not existing:
                absent.append(candidates[0])
            elif len(existing) > 1:
                named = " and ".join(path.name for path in existing)
                several.append(f"{folder / named}: {'both' if len(existing) == 2 else 'all'} exist, keep one")
    problems = list(several)
    if absent:
        others = ", ".join(list(READERS)[1:])
        more = "".join(f", neither does {path.name}" for path in absent[1:])
        problems.append(f"{absent[0]}: does not exist, nor one that ends in {others}{more}")
    if problems:
        remedy = "put the file there, or choose another source or split in the registry"
        raise SourceError(f"{dataset_id}, source {source}: {'; '.join(problems)}; {settings.obtain or remedy}")
    return raw


def _hub(dataset_id: str, settings: DatasetSettings) -> HubSettings:
    if settings.hub is None:
        remedy = settings.obtain or "add one or choose another source"
        raise SourceError(f"{dataset_id}: has no hub entry in the registry; {remedy}")
    return settings.hub


def _hidden(path: Path) -> bool:
    """True if a file is not data, such as the hub client's own `.cache` in a snapshot folder."""
    return any(part.startswith(".") for part in path.parts)


def _hub_identity(hub: HubSettings, hashes: Hashes) -> dict[str, Any]:
    if not hub.is_folder:
        place = {name: value for name in ("folder", "branch") if (value := getattr(hub, name)) is not None}
        return {"repo": hub.repo, "config": hub.config, "revision": hub.revision} | place
    folder = Path(hub.repo)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    paths = [path for path in paths if not _hidden(path.relative_to(folder))]
    if not paths:
        raise SourceError(f"{hub.repo}: the snapshot folder is missing or empty; fetch it, or name a repository")
    return {"repo": folder.name, "config": hub.config, "files": locks_of(paths, folder, hashes)}


def _load_hub(dataset_id: str, settings: DatasetSettings) -> RawSplits:
    from fute.data.hub import load_split, resolve_revision  # imported here: `datasets` is slow to import (see there)

    hub = _hub(dataset_id, settings)
    lock = {"source": "hub"} | _hub_identity(hub, hashes_now)
    revision = None
    if not hub.is_folder:
        revision = lock["revision"] = hub.revision or resolve_revision(hub.repo, hub.branch)
    splits = hub.splits or settings.splits
    column_of = {name: column for column, name in hub.rename.items()}
    columns = {column_of.get(name, name): name for name in form_of(settings, "hub").columns}
    rows: dict[str, list[Iterator[RawRow]]] = {"train": [], "test": []}
    lock["splits"] = []
    for part, names in splits.parts:
        for split in names:
            loaded = load_split(hub.repo, hub.config, split, revision, list(columns), hub.folder)
            lock["splits"].append({"split": split})
            rows[part].append(_rows_of_split(loaded, columns, f"{lock['repo']}, split {split}", lock["splits"][-1]))
    return RawSplits(chain(*rows["train"]), chain(*rows["test"]), lock, "hub")


def _rows_of_split(
    loaded: Iterable[dict[str, Any]], columns: Mapping[str, str], origin: str, lock: dict[str, Any]
) -> Iterator[RawRow]:
    """Rows of a hub split; after the last one, their number and their common hash are added to its lock.

    columns: column -> its name in the entry.
    """
    rows, content = 0, ContentKey()
    for rows, row in enumerate(loaded, start=1):
        values = {columns[column]: value for column, value in row.items()}
        try:
            content.add(values)
        except (TypeError, ValueError):  # NaN, a date: no JSON, and the row's reader says whether it can be used
            content.add(repr(values))
        yield RawRow(origin, lock["split"], rows - 1, values, rows)
    lock |= {"rows": rows, "fingerprint": content.hexdigest()}


def external_files(source: dict[str, Any]) -> dict[str, str]:
    """Files outside the project that a step reads, for its record: name -> sha256."""
    return {f"data:{file['path']}": file["sha256"] for file in source.get("files", []) if "sha256" in file}
