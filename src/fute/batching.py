"""Content-addressed batches: one process start serves many targets, one target stays one file.

A *cell* is the smallest thing a user can ask for (the labels of one prompt on one corpus, one embedding).
Its key is a hash of everything it is computed from. A batch is computed by one process and named by the
hash of its keys; beside its data `{batch}{suffix}` lies `{batch}.keys`, one `key<TAB>cell` a line.

Cells whose key stands in a `.keys` file keep that batch; all other requested cells of a group form one new
batch. The plan is a function of the requested cells and of the finished batches: nothing is written, and
nothing finished is ever computed again. Finished batches are leaves of the workflow's graph: a key covers
all that shapes a cell, so they never go stale; where inputs were exchanged behind the workflow's back, the
extraction compares their hashes and says which batch to delete.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fute.artifacts import atomic, content_key, sha256_file, sidecar_path

KEYS = ".keys"


@dataclass(frozen=True)
class Plan:
    """Which batch holds which cell.

    batch_of: cell -> batch name. new: batch name -> cells to compute, sorted; batches not in it are finished.
    """

    batch_of: Mapping[str, str]
    new: Mapping[str, tuple[str, ...]]


def batch_name(keys: Iterable[str]) -> str:
    """Name of the batch that holds exactly these keys: 16 hex digits, whatever their order."""
    return hashlib.sha256("\n".join(sorted(set(keys))).encode()).hexdigest()[:16]


def finished_batches(folder: Path, suffix: str) -> dict[str, str]:
    """key -> batch name of every finished batch in `folder`: data and `.keys`, and the record of `.keys`, the last
    file that a batch step writes."""
    found: dict[str, str] = {}
    if not folder.is_dir():
        return found
    for path in sorted(folder.glob(f"*{KEYS}")):
        name = path.name.removesuffix(KEYS)
        if (folder / f"{name}{suffix}").is_file() and sidecar_path(path).is_file():
            for line in path.read_text(encoding="utf8").splitlines():
                found.setdefault(line.split("\t", 1)[0], name)
    return found


def plan(requested: Mapping[str, str], finished: Mapping[str, str], size: int | None = None) -> Plan:
    """Assign every requested cell to a finished batch or to a new one.

    requested: cell -> key. finished: key -> batch name. size: most keys a new batch may hold (None: no limit).
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
    return Plan(batch_of, {name: tuple(cells) for name, cells in new.items()})


def names_regex(plans: Iterable[Plan]) -> str:
    """A regular expression for the names of all new batches that no finished batch of these plans has.

    It says no more of a name than tells the two apart: Snakemake puts a wildcard's constraint into every output
    pattern and goes through it for every job, so that a list of thousands of names takes longer than all else.
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


def keys_text(cells: Mapping[str, str]) -> str:
    """Content of a `.keys` file for cell -> key: one line a key, with the cells that share it."""
    by_key: dict[str, list[str]] = {}
    for cell, key in cells.items():
        by_key.setdefault(key, []).append(cell)
    return "".join(f"{key}\t{' '.join(sorted(names))}\n" for key, names in sorted(by_key.items()))


class UnitStore:
    """Finished units of a batch under way, one file each, in `{batch}.partial` beside the batch.

    made_from: hashes of the files that units are made from; a unit that was made from others is not seen.

    A unit appears by rename, so a killed process leaves whole units or none; the next one computes the rest.
    """

    def __init__(self, batch: Path, suffix: str, made_from: Iterable[str] = ()) -> None:
        hashes = sorted(made_from)
        folder = batch.with_name(batch.name.removesuffix(suffix) + ".partial")
        self.folder = folder / content_key(hashes)[:16] if hashes else folder

    def missing(self, units: Sequence[str]) -> list[str]:
        return [unit for unit in units if not self.path(unit).is_file()]

    def path(self, unit: str) -> Path:
        return self.folder / unit

    def put(self, unit: str, writer: Callable[[Path], object]) -> None:
        with atomic(self.path(unit)) as temporary:
            writer(temporary)


def check_sources(
    batch: Path,
    recorded: Mapping[str, str],
    files: Mapping[str, Path],
    hash_of: Callable[[str, Path], str] = lambda _, path: sha256_file(path),
) -> None:
    """Raise ValueError where a cell of a batch was made from another file than there is now.

    recorded: what the cell was made from -> hash. files: the same -> path. hash_of: of such a file.
    """
    for name, path in files.items():
        if recorded[name] != hash_of(name, path):
            raise ValueError(
                f"{batch}: was learned from another {path} than there is now; delete the batch, its .keys and its "
                "sidecars, then run again"
            )


def partial_folders(root: Path) -> Iterator[Path]:
    """Unit stores under `root` whose batch is finished, so that they serve nothing any more."""
    for folder in sorted(root.glob("**/batches/*.partial")):
        if folder.with_name(folder.name.removesuffix(".partial") + KEYS).is_file():
            yield folder


def tidy(root: Path) -> int:
    """Remove the unit stores of finished batches; returns how many there were.

    This happens after the workflow has ended well, not in the step: a step killed between its last rename
    and its exit is run again by Snakemake, and then still finds its units.
    """
    folders = list(partial_folders(root))
    for folder in folders:
        shutil.rmtree(folder)
    return len(folders)
