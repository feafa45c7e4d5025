"""Rows of a split that may be larger than memory: kept in a file, read back one by one."""

from __future__ import annotations

import os
import pickle
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

from fute.data.rows import Row


class StoredRows(Sequence[Row]):
    """Rows in a temporary file without a name; in memory each takes the 16 bytes of its place.

    The file goes when nothing refers to these rows, or to any taken from them, and when the process ends.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """folder: place of the file, on a disk with room for the texts; None: the system's temporary folder."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open as long as its rows are in use)
        weakref.finalize(self, self._file.close)
        self._taken_from: StoredRows | None = None
        self._starts, self._sizes = array("Q"), array("Q")

    def append(self, row: Row) -> None:
        """Add a row to those of a new store (not to rows that were taken from one)."""
        self._starts.append(self._file.tell())
        self._sizes.append(self._file.write(pickle.dumps(row, pickle.HIGHEST_PROTOCOL)))

    def take(self, positions: Iterable[int]) -> StoredRows:
        """The rows at these positions, in the same file."""
        taken = object.__new__(StoredRows)
        taken._file, taken._taken_from = self._file, self
        taken._starts, taken._sizes = array("Q"), array("Q")
        for position in positions:
            taken._starts.append(self._starts[position])
            taken._sizes.append(self._sizes[position])
        return taken

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, position: int) -> Row: ...
    @overload
    def __getitem__(self, position: slice) -> StoredRows: ...
    def __getitem__(self, position: int | slice) -> Row | StoredRows:
        if isinstance(position, slice):
            return self.take(range(len(self))[position])
        self._file.flush()
        return pickle.loads(os.pread(self._file.fileno(), self._sizes[position], self._starts[position]))

    def __iter__(self) -> Iterator[Row]:
        return (self[position] for position in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Whether another sequence has equal rows in the same order."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Row.__eq__, self, other))

    __hash__ = None
