"""Content-addressed batches: one process start serves many targets, while each target stays one file.

A *cell* is the smallest thing a user can ask for (the labels of one prompt on one corpus, one embedding). Its key
is a hash of everything it is computed from. One process computes a batch, whose name is the hash of its keys. Next
to its data `{batch}{suffix}` lies `{batch}.keys`, with one line `key<TAB>cells` per key (see `keys_text`).

A cell whose key is in a `.keys` file keeps that batch; all other requested cells of a group form one new batch. The
plan depends only on the requested cells and the finished batches: planning writes nothing, and nothing finished is
computed again. Finished batches are leaves of the workflow's graph. They never go stale, since a key covers
everything that affects a cell. If inputs were changed outside the workflow, the extraction notices by their hashes
and says which batch to delete.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fute.artifacts import SIDECAR, StaleFile, Step, atomic, content_key, files_of, sha256_file, sidecar_path

KEYS = ".keys"
LOCK = ".lock.json"
PARTIAL = ".partial"
SUFFIXES = (LOCK, ".jsonl.gz", ".zip")
"""Endings of batches' data."""


@dataclass(frozen=True)
class BatchPlan:
    """Assignment of cells to batches.

    batch_of: cell -> batch name. new: batch name -> cells to compute, sorted; batches not in it are finished.
    """

    batch_of: Mapping[str, str]
    new: Mapping[str, tuple[str, ...]]


def batch_name(keys: Iterable[str]) -> str:
    """Name of the batch with exactly these keys: 16 hex digits, the same for every order."""
    return hashlib.sha256("\n".join(sorted(set(keys))).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Finished:
    """Finished cells of a folder.

    batch_of: batch name by key. uncut: (length, key) of the cells that no limit cut, by base, in rising order; see
    `keys_text`.
    """

    batch_of: Mapping[str, str]
    uncut: Mapping[str, list[tuple[int, str]]]


def finished_cells(folder: Path, suffix: str, besides: Container[str] = ()) -> Finished:
    """Cells of all finished batches in `folder`. besides: names of batches that are left out.

    A finished batch has its data, its `.keys` and the record of `.keys`, the last file that a batch step writes.
    """
    batch_of: dict[str, str] = {}
    uncut: dict[str, list[tuple[int, str]]] = {}
    for path in sorted(folder.glob(f"*{KEYS}")) if folder.is_dir() else ():
        name = path.name.removesuffix(KEYS)
        if name not in besides and (folder / f"{name}{suffix}").is_file() and sidecar_path(path).is_file():
            for line in path.read_text(encoding="utf8").splitlines():
                key, *more = line.split("\t")
                batch_of.setdefault(key, name)
                if len(more) == 3:
                    uncut.setdefault(more[1], []).append((int(more[2]), key))
    return Finished(batch_of, {base: sorted(each) for base, each in uncut.items()})


def finished_batches(folder: Path, suffix: str) -> Mapping[str, str]:
    """Batch name by key, for all finished batches in `folder`."""
    return finished_cells(folder, suffix).batch_of


def plan_batches(requested: Mapping[str, str], finished: Mapping[str, str], size: int | None = None) -> BatchPlan:
    """Assign every requested cell to a finished or a new batch.

    requested: cell -> key. finished: key -> batch name. size: largest number of keys in a new batch (None: no limit).
    Cells with equal keys share one computation.
    """
    batch_of = {cell: finished[key] for cell, key in requested.items() if key in finished}
    missing = sorted({key for key in requested.values() if key not in finished})
    step = size or max(len(missing), 1)
    name_of: dict[str, str] = {}
    for start in range(0, len(missing), step):
        part = missing[start : start + step]
        name_of.update(dict.fromkeys(part, batch_name(part)))
    new: dict[str, list[str]] = {}
    for cell, key in sorted(requested.items()):
        if key in name_of:
            batch_of[cell] = name_of[key]
            new.setdefault(name_of[key], []).append(cell)
    return BatchPlan(batch_of, {name: tuple(cells) for name, cells in new.items()})


def names_regex(plans: Iterable[BatchPlan]) -> str:
    """Regular expression that matches the names of all new batches and of no finished batch of these plans.

    It holds only as much of each name as separates the two. Snakemake puts a wildcard's constraint into every output
    pattern and matches it for every job, so a list of thousands of names would take longer than the rest of planning.
    """
    plans = list(plans)
    new = {name for plan in plans for name in plan.new}
    finished = {name for plan in plans for name in plan.batch_of.values()} - new

    def apart(prefix: str, ours: set[str], others: set[str]) -> Iterator[str]:
        if ours and not others:
            yield prefix
        elif ours:
            for digit in "0123456789abcdef":
                start = prefix + digit
                yield from apart(
                    start,
                    {name for name in ours if name.startswith(start)},
                    {name for name in others if name.startswith(start)},
                )

    return "|".join(f"{prefix}[0-9a-f]*" for prefix in apart("", new, finished)) or "none"


def keys_text(cells: Mapping[str, str], uncut: Mapping[str, tuple[str, int]] | None = None) -> str:
    """Content of a `.keys` file for cell -> key: one line per key, with the cells that share it.

    uncut: key -> (base, length), for cells whose inputs a limit could have cut and did not: the cell is the same under
    every limit from this length on, as under the key `base` without a limit.
    """
    by_key: dict[str, list[str]] = {}
    for cell, key in cells.items():
        by_key.setdefault(key, []).append(cell)
    more = {key: f"\t{base}\t{length}" for key, (base, length) in (uncut or {}).items()}
    return "".join(f"{key}\t{' '.join(sorted(names))}{more.get(key, '')}\n" for key, names in sorted(by_key.items()))


def write_keys(
    step: Step, batch: Path, suffix: str, cells: Mapping[str, str], uncut: Mapping[str, tuple[str, int]] | None = None
) -> None:
    """Write a batch's `.keys` beside its data `batch`, whose name ends in `suffix`, as the last of its files."""
    step.bytes(batch.with_name(batch.name.removesuffix(suffix) + KEYS), keys_text(cells, uncut).encode())


class UnitStore:
    """Finished units of an unfinished batch, one file each, in a folder of `{batch}.partial` next to the batch.

    made_from: hashes of the files that units are made from; units made from other files are ignored.

    A unit appears by rename, so a killed process leaves only complete units; the next process computes the rest.
    """

    def __init__(self, batch: Path, suffix: str, made_from: Iterable[str]) -> None:
        self.folder = _partial(batch, suffix) / content_key(sorted(made_from))[:16]

    def missing(self, units: Sequence[str]) -> list[str]:
        return [unit for unit in units if not self.path(unit).is_file()]

    def adopt(self, units: Sequence[str]) -> None:
        """Take missing units from other batches' stores beside this one, whose units are made from the same files.

        For units named by all that they are made from, so that equal names mean equal content.
        """
        beside = self.folder.parent.parent
        others = [path for path in sorted(beside.glob(f"*.partial/{self.folder.name}")) if path != self.folder]
        for unit in self.missing(units) if others else ():
            if (source := next((path / unit for path in others if (path / unit).is_file()), None)) is not None:
                _link(source, self.path(unit))

    def path(self, unit: str) -> Path:
        return self.folder / unit

    def put(self, unit: str, writer: Callable[[Path], object]) -> None:
        with atomic(self.path(unit)) as temporary:
            writer(temporary)


class CellStore(UnitStore):
    """Finished units of cells that are made from different files, in `{hash of its files}/{key}/{file}`.

    made_from: key -> kind -> hash of a file that the cell is made from. Beside its units, a cell's folder has what a
    killed process goes on from. A unit is called `{key}/{file}`.
    """

    def __init__(self, batch: Path, suffix: str, made_from: Mapping[str, Mapping[str, str]]) -> None:
        self.folder, self.made_from = _partial(batch, suffix), made_from

    def path(self, unit: str) -> Path:
        """File of a unit; folder of a cell, given its key."""
        hashes = self.made_from[unit.partition("/")[0]].values()
        return self.folder / content_key(sorted(set(hashes)))[:16] / unit

    @property
    def begun(self) -> bool:
        """Whether there is anything of a cell: what a killed process left, or what was taken from another batch."""
        return any(self.path(key).is_dir() for key in self.made_from)

    def adopt(self, units: Sequence[str]) -> None:
        """Take what other unfinished batches beside this one have of the cells with missing units.

        A key names all that a cell is made with, and the folder what it is made from, so that equal paths mean equal
        content. Files are linked, since they are replaced and never written to. Those in subfolders come first: what
        belongs to a unit is there before the unit.
        """
        beside = self.folder.parent
        others = [path for path in sorted(beside.iterdir()) if path != self.folder] if beside.is_dir() else []
        others = [path for path in others if path.is_dir() and not _is_finished(path)]
        for cell in {self.path(unit.partition("/")[0]): None for unit in self.missing(units)}:
            begun = cell.is_dir()  # then what a training goes on from is its own, or was deleted
            for other in others:
                theirs = other / cell.relative_to(self.folder)
                names = [path.relative_to(theirs) for path in sorted(theirs.rglob("*")) if path.is_file()]
                whole = [name for name in names if not any(part.endswith(".tmp") for part in name.parts)]
                whole = [name for name in whole if not (begun and name.parts[0].startswith("."))]
                for name in sorted(whole, key=lambda name: -len(name.parts)):
                    _link(theirs / name, cell / name)


def _partial(batch: Path, suffix: str) -> Path:
    """Folder of what an unfinished batch has. suffix: ending of the batch's data."""
    return batch.with_name(batch.name.removesuffix(suffix) + PARTIAL)


def _link(source: Path, new: Path) -> None:
    """Link a file, or copy it on a file system without links; nothing if `new` exists, or `source` no longer does."""
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, new)
    except (FileExistsError, FileNotFoundError):
        return
    except OSError:
        with atomic(new) as temporary:
            shutil.copyfile(source, temporary)


class FolderBatch(CellStore):
    """A batch whose cells are files, in `{batch}/{hash of what the cell is made from}/{key}/` beside its data.

    Its data `{batch}.lock.json` lists every file with its hash, as the lock of a model does. The units are the files
    themselves: nothing is packed at the end, and whoever takes a large file out of the batch links to it, so that
    weights lie on the disk once.
    """

    def __init__(self, output: Path, files: Mapping[str, Mapping[str, Path]]) -> None:
        """files: key -> kind -> file that the cell is made from."""
        super().__init__(output, LOCK, hashes_of(files))
        self.output, self.folder = output, output.with_name(output.name.removesuffix(LOCK))

    def write(self, step: Step, model: str, cells: Mapping[str, str], units: Sequence[str]) -> None:
        """Write the lock and `.keys` with a step. model: whose cells they are. cells: cell -> key. units: all of them.

        Raises StaleFile if a unit is not there any more.
        """
        if gone := self.missing(units):
            raise StaleFile(f"{self.path(gone[0])}: was made and is gone; run again, which makes it again")
        kept = {self.path(key) for key in self.made_from}
        for path in [*self.folder.glob("*"), *self.folder.glob("*/*")]:
            if path.is_symlink() and path.is_dir():  # of copied results: what lies behind it is not of the batch
                path.unlink()
        for path in [*self.folder.glob("*/*"), *self.folder.rglob(".*")]:
            if path not in kept:  # files made from other inputs, and what a killed process left of a file
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for folder in self.folder.iterdir():
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        step.json(self.output, {"model": model, "from": self.made_from, "files": files_of(self.folder)})
        write_keys(step, self.output, LOCK, cells)


def hashes_of(files: Mapping[str, Mapping[str, Path]]) -> dict[str, dict[str, str]]:
    """Key -> kind -> hash of the files that cells are made from; each file is read once."""
    hashes = {path: sha256_file(path) for of_cell in files.values() for path in of_cell.values()}
    return {key: {kind: hashes[path] for kind, path in of_cell.items()} for key, of_cell in files.items()}


def check_sources(
    batch: Path,
    recorded: Mapping[str, str],
    files: Mapping[str, Path],
    hash_of: Callable[[str, Path], str] = lambda _, path: sha256_file(path),
) -> None:
    """Raise StaleFile if a cell of a batch was made from another file than the current one.

    recorded: hash of each file at that time, by kind. files: current path, by kind. hash_of: hash of a kind's file.
    """
    for name, path in files.items():
        if recorded[name] != hash_of(name, path):
            raise StaleFile(
                f"{batch}: was made from another version of {path}; delete the batch, its .keys and its sidecars, "
                "then run again"
            )


def _is_finished(store: Path) -> bool:
    """Whether the batch of a unit store, or of a folder of files, is finished."""
    keys = store.with_name(store.name.removesuffix(PARTIAL) + KEYS)
    return keys.is_file() and sidecar_path(keys).is_file()


def unneeded_stores(root: Path) -> Iterator[Path]:
    """Yield the unit stores under `root` that nothing needs: of finished batches, or all of whose cells have one."""
    for batches in sorted(root.glob("**/batches")):
        finished = {key for suffix in SUFFIXES for key in finished_batches(batches, suffix)}
        for store in sorted(path for path in batches.iterdir() if path.is_dir()):
            if _is_finished(store):
                if store.name.endswith(PARTIAL):
                    yield store
            elif (cells := {path.name for path in store.glob("*/*")}) and cells <= finished:
                yield store


def left_behind(root: Path) -> Iterator[Path]:
    """Yield what steps that were killed while they wrote left under `root` of artifacts that are there by now."""
    for path in root.rglob(".*.tmp"):
        artifact = path.with_name(path.name[1:].rsplit(".", 2)[0].removesuffix(SIDECAR))
        if path.is_file() and artifact.is_file() and sidecar_path(artifact).is_file():
            yield path


def tidy(root: Path) -> int:
    """Remove the unit stores that nothing needs, and what killed steps left behind; return the number of stores.

    This happens after the workflow has ended without error, not in the step: Snakemake runs a step again that was
    killed between its last rename and its exit, and that step needs its units.
    """
    for file in list(left_behind(root)):
        file.unlink(missing_ok=True)
    folders = list(unneeded_stores(root))
    for folder in folders:
        shutil.rmtree(folder)
    return len(folders)
