"""Files of the artifacts that records name, never outside the folder of results.

Records and manifests may come from a stranger: a name that is absolute, holds `..`, or leads through a symbolic link
to another place is refused before anything is read or written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

from fute.artifacts import SIDECAR
from fute.audit.findings import AuditError

RESULTS = "results"
AUDIT = f"{RESULTS}/audit"
"""Folder of the audit's own files, which are no artifacts of a run."""
LONGEST = 255
"""Most bytes in a file's name on common file systems."""
NO_ARTIFACTS = (f"{RESULTS}/logs", f"{RESULTS}/benchmarks", AUDIT)


class UnsafePath(ValueError):
    """A name that leads outside the folder of results, or could lead there."""


def checked_name(name: str) -> str:
    """`name` itself if it is a plain relative name below `results/`. Raises UnsafePath."""
    parts = name.split("/")
    if not name or not name.isprintable() or "\\" in name:
        problem = "is empty or holds a character that artifact names do not have"
    elif max(len(part.encode()) for part in parts) > LONGEST:
        problem = "has a part that is too long for a file name"
    elif name.startswith("/"):
        problem = "is absolute"
    elif ".." in parts:
        problem = "holds '..'"
    elif "" in parts or "." in parts:
        problem = "holds an empty part or '.'"
    elif parts[0] != RESULTS or len(parts) < 2:
        problem = f"is not below {RESULTS}/"
    else:
        return name
    raise UnsafePath(f"{name!r} {problem}; refused: an artifact's name is relative and below {RESULTS}/")


def inside(root: Path, name: str) -> Path:
    """File with the relative name `name` in a folder. Raises UnsafePath if it leads outside."""
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise UnsafePath(f"{name!r} leads outside {root}; refused")
    real = os.path.realpath(root / name)
    if os.path.commonpath((real, os.path.realpath(root))) != os.path.realpath(root):
        raise UnsafePath(f"{name}: a symbolic link leads outside {root}; refused")
    return root / name


class ResultsFolder:
    """A folder of results of any name and place: `results/x` in a record is `folder/x`.

    Raises AuditError if there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise AuditError(f"{folder} is no folder; give the folder of a run's results with --results")
        self.folder = folder
        self._real = os.path.realpath(folder)
        # one folder holds many files: its links are followed once
        self._real_folder = lru_cache(maxsize=4096)(
            lambda name: os.path.realpath(folder.joinpath(*name.split("/")[1:]))
        )

    def path(self, name: str) -> Path:
        """File of the artifact `name`; it need not exist. Raises UnsafePath."""
        folder, _, file = checked_name(name).rpartition("/")
        real = self._real_folder(folder)
        path = f"{real}/{file}"
        for each in (real, os.path.realpath(path)) if os.path.islink(path) else (real,):
            if os.path.commonpath((each, self._real)) != self._real:
                raise UnsafePath(
                    f"{name}: a symbolic link leads outside {self.folder}; refused: replace the link with the file"
                )
        return Path(path)

    def names(self, below: str = RESULTS) -> Iterator[str]:
        """Names of all files that may be artifacts, sorted by folder; not sidecars, logs, benchmarks, temporary files.

        below: a folder `results/...` to which the names are limited.
        """
        for where, folders, files in os.walk(self._real if below == RESULTS else self.path(below)):
            here = PurePosixPath(RESULTS, Path(where).relative_to(self._real).as_posix())
            folders[:] = sorted(
                name for name in folders if str(here / name) not in NO_ARTIFACTS and not name.endswith(".partial")
            )
            for name in sorted(files):
                if not name.endswith((SIDECAR, ".tmp")):
                    yield str(here / name)
