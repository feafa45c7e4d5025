"""The files of one cell of a batch that is a folder: what a step of a second takes out of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from fute.artifacts import StaleFile, sha256_file
from fute.batching import check_sources
from fute.blackbox.folders import folder_of

LARGE = 1 << 20
"""Bytes of a file that is linked and not copied, so that it takes no room on the disk a second time."""


class CellFiles:
    """Files of one cell, by name.

    batches: their locks; one of them holds the cell. files: kind -> file that the cell was made from; compared with the
    hashes in the batch. Raises StaleFile if no batch holds the cell, or if it was made from other files.
    """

    def __init__(self, batches: Sequence[Path], key: str, files: Mapping[str, Path]) -> None:
        locks = {batch: json.loads(batch.read_text(encoding="utf8")) for batch in batches}
        holding = [batch for batch, lock in locks.items() if key in lock["from"]]
        if not holding:
            names = ", ".join(map(str, batches))
            raise StaleFile(f"{names}: holds no cell {key[:16]}; delete it and its .keys, then run again")
        self.batch = holding[0]
        lock = locks[self.batch]
        check_sources(self.batch, lock["from"][key], files)
        # `{hash of the origins}/{key}/{file}`; a name that leads elsewhere would be written elsewhere, too
        self._listed = {
            name.split("/", 2)[2]: (name, facts["sha256"])
            for name, facts in lock["files"].items()
            if name.split("/")[1] == key and not {"", ".."} & set(name.split("/"))
        }

    def path(self, name: str) -> Path:
        """One file. Raises StaleFile if it is not there, or has other bytes than the batch lists."""
        where, sha256 = self._listed.get(name, (name, ""))
        source = folder_of(self.batch) / where
        if not source.is_file() or sha256_file(source) != sha256:
            raise StaleFile(
                f"{source}: is missing, or not the file that {self.batch} lists; delete {folder_of(self.batch)}, the "
                "lock and .keys beside it and their records, then run again"
            )
        return source


def place(source: Path, new: Path) -> None:
    """Link a large file, copy a small one or where there are no links. `new` does not exist yet."""
    if source.stat().st_size >= LARGE:
        with contextlib.suppress(OSError):  # a file system without links
            os.link(source, new)
            return
    shutil.copyfile(source, new)
