"""Rows of one split as people have them: JSON lines, JSON, CSV, TSV or Parquet.

No cell is guessed to be missing or a number: in CSV and TSV "NA", "null", "None" and "True" are words, as written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from fute.csv_files import TableError, read_rows
from fute.data.rows import DECODER, BadRow, SourceError, at, check_values, read_raw_jsonl

RawObjects = Iterator[tuple[int, dict[str, Any]]]
CHUNK, BLOCK = 1 << 20, 500
"""Characters or bytes, and rows, that are read at a time: a file may be larger than memory."""


def _separated(separator: str) -> Callable[[Path], RawObjects]:
    def read(path: Path) -> RawObjects:
        try:
            for number, row in read_rows(path, separator):
                if separator == "\t":
                    _check_quotes(row, at(path, number))
                yield number, row
        except TableError as error:
            raise SourceError(str(error)) from None

    return read


def _check_quotes(row: dict[str, str], where: str) -> None:
    """Raise BadRow for a cell of a TSV file that has taken others in, because a quote that is text begins it."""
    for name, cell in row.items():
        if "\t" in cell and "\n" in cell:
            raise BadRow(
                where, name, "holds tabs and line breaks, so it may be several rows after a quote that is not closed",
                "put a cell that begins with a quote in quotes, its own doubled, or save the rows as JSON lines",
            )  # fmt: skip


def _json(path: Path) -> RawObjects:
    """Rows of a JSON file that is one list of objects."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, value in enumerate(_items(_Unparsed(stream), path), start=1):
                if not isinstance(value, dict):
                    problem = f"is a {type(value).__name__}, not an object"
                    raise BadRow(at(path, number), None, problem, "correct the row")
                check_values(value, at(path, number))
                yield number, value
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); give read access") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise SourceError(
            f"{path}: is not JSON ({why}, after row {number}); correct it, or name JSON lines `.jsonl`"
        ) from None


class _Unparsed:
    """The part of a JSON file that is not parsed yet; at most some values of it are in memory."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._text, self._at = stream, "", 0

    def symbol(self) -> str:
        """Next character that is not blank, which stays unparsed; "" at the end."""
        while True:
            self._at = _BLANK.match(self._text, self._at).end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self, symbols: str) -> str:
        """Pass over the next character that is not blank. Raises JSONDecodeError if it is none of `symbols`."""
        symbol = self.symbol()
        if not symbol or symbol not in symbols:
            raise json.JSONDecodeError(f"{symbol!r} in place of one of {symbols}", self._text, self._at)
        self._at += 1
        return symbol

    def value(self) -> Any:
        """Parse the next value."""
        self.symbol()
        while True:
            try:
                value, self._at = DECODER.raw_decode(self._text, self._at)
                return value
            except json.JSONDecodeError:
                if not self._more():
                    raise

    def _more(self) -> bool:
        """Read on: as much again as could not be parsed, so that a long value is not parsed too often."""
        more = self._stream.read(max(CHUNK, len(self._text) - self._at))
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)


_BLANK = re.compile(r"[ \t\n\r]*")


def _items(text: _Unparsed, path: Path) -> Iterator[Any]:
    """Items of a list, each as soon as it is read. Raises SourceError for another value."""
    if text.symbol() != "[":
        kind = type(text.value()).__name__
        remedy = "name JSON lines `.jsonl`" if text.symbol() else "save the rows alone"
        raise SourceError(f"{path}: holds a {kind}, not a list of objects; {remedy}")
    text.skip("[")
    if text.symbol() == "]":
        text.skip("]")
    else:
        yield text.value()
        while text.skip(",]") == ",":
            yield text.value()
    if text.symbol():
        raise json.JSONDecodeError("more text after the list", "", 0)


def _parquet(path: Path) -> RawObjects:
    import pyarrow.parquet as parquet  # slow to import, and only such files need it
    from pyarrow.lib import ArrowException

    try:
        with parquet.ParquetFile(path, buffer_size=CHUNK) as file:
            names = file.schema_arrow.names
            if twice := [name for name in names if names.count(name) > 1]:
                raise SourceError(f"{path}: has several columns {twice[0]!r}; give each column a name of its own")
            batches = file.iter_batches(batch_size=BLOCK)
            for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), start=1):
                check_values(row, at(path, number))
                yield number, row
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: is no Parquet file that can be read ({error}); save it again") from None


READERS: dict[str, Callable[[Path], RawObjects]] = {
    ".jsonl": read_raw_jsonl,
    ".jsonl.gz": read_raw_jsonl,
    ".json": _json,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
"""Ending of a file's name -> reader of its rows."""


def read_table_rows(path: Path) -> RawObjects:
    """Yield (number of its line or row, values by column) of each row.

    Raises SourceError for a file that cannot be read, BadRow for a row that is none.
    """
    return next(READERS[ending] for ending in READERS if path.name.endswith(ending))(path)
