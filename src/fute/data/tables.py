"""Rows of one split as people have them: JSON lines, JSON, CSV, TSV or Parquet.

No cell is guessed to be missing or a number: in CSV and TSV "NA", "null", "None" and "True" are words, as written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fute.csv_files import TableError, read_rows
from fute.data.rows import BadRow, SourceError, at, read_raw_jsonl

RawObjects = Iterator[tuple[int, dict[str, Any]]]


def _separated(separator: str) -> Callable[[Path], RawObjects]:
    def read(path: Path) -> RawObjects:
        try:
            yield from read_rows(path, separator)
        except TableError as error:
            raise SourceError(str(error)) from None

    return read


def _json(path: Path) -> RawObjects:
    """Rows of a JSON file that is one list of objects."""
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: is not JSON ({error}); correct it, or name JSON lines `.jsonl`") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); give read access") from None
    if not isinstance(values, list):
        raise SourceError(f"{path}: holds a {type(values).__name__}, not a list of objects; save the rows alone")
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise BadRow(at(path, number), None, f"is a {type(value).__name__}, not an object", "correct the row")
        yield number, value


def _parquet(path: Path) -> RawObjects:
    import pyarrow.parquet as parquet  # slow to import, and only such files need it
    from pyarrow.lib import ArrowException

    try:
        rows = parquet.read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise SourceError(f"{path}: is no Parquet file that can be read ({error}); save it again") from None
    yield from enumerate(rows, start=1)


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
