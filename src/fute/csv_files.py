"""Read the CSV files that the workflow writes, and a few that people bring. `artifacts.csv_bytes` writes them.

Names stay as they are: a prompt may be called `null`, `nan`, `true` or `01`. So no cell is guessed to be missing or a
number: the type of a column follows from its name.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

TEXTS = frozenset(
    {
        *("category", "cell", "class", "corpus", "dataset", "datasets", "domain", "family", "group", "method", "model"),
        *("name", "prompt", "rule", "scope", "script", "selected", "source", "surrogate", "target", "targets", "title"),
        *("best_source", "left_out", "no_vector", "beats_random", "reason", "statistic", "unit", "verdict", "view"),
        *("dte_learned", "mte_learned", "measure", "similarity", "test"),
    }
)
"""Columns of text; an empty cell is the empty text."""
FLAGS = {"True": True, "False": False}
"""Cells of columns that are true or false. All other columns are numbers; an empty cell is NaN."""
WHOLE = re.compile(r"-?\d+")
LONGEST_CELL = 1 << 24
"""Characters of a cell: a long book. Without a limit, a quote that is never closed would take a whole file as one."""


class TableError(ValueError):
    """A CSV file that cannot be read; the message names file, line and column, and what to do."""


def read_rows(path: Path, separator: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """(Number of its line, row) of each row of a UTF-8 file with a line of names, every cell as text.

    Raises TableError.
    """
    lines = _read(path, separator)
    _, names = next(lines)
    for line, cells in lines:
        yield line, dict(zip(names, cells, strict=True))


def read_texts(path: Path) -> pd.DataFrame:
    """Read a file with every cell as text, empty ones too. Raises TableError."""
    import pandas as pd

    (_, names), *rows = _read(path)
    return pd.DataFrame([cells for _, cells in rows], columns=names, dtype=object)


def _read(path: Path, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """(Number of its line, cells) of the names and of each row."""
    names: list[str] = []
    line = 0
    csv.field_size_limit(LONGEST_CELL)  # of the module, as csv has no other
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for line, cells in enumerate(csv.reader(stream, delimiter=separator, strict=True), start=1):
                if not names:
                    names = cells
                    if problem := _names_problem(names):
                        raise TableError(f"{path}, row {line}: {problem}")
                elif cells and len(cells) != len(names):
                    problem = f"has {len(cells)} cells under {len(names)} names"
                    quotes = f"put a cell that has {separator!r} in it in quotes, " if len(cells) > len(names) else ""
                    raise TableError(f"{path}, row {line}: {problem}; {quotes}correct it or make the file again")
                if any("\0" in cell for cell in cells):
                    raise TableError(f"{path}, row {line}: holds a NUL byte; save the file as UTF-8 text")
                if cells:
                    yield line, cells
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: is not UTF-8 ({error.reason}); save it as UTF-8 or make it again") from None
    except csv.Error as error:
        raise TableError(
            f"{path}, row {line + 1}: is no CSV ({error}); put a cell that has a quote in it in quotes, and "
            "write its own twice, or make the file again"
        ) from None
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); make it, or give read access") from None
    if not names:
        raise TableError(f"{path}: is empty; give it a line with the names of its columns, or make it again")


def _names_problem(names: list[str]) -> str | None:
    """Why these cells cannot name columns, and what to do; None if they can."""
    if twice := [name for name in names if names.count(name) > 1]:
        return f"names the column {twice[0]!r} {names.count(twice[0])} times; give each column a name of its own"
    if strange := [name for name in names if not name.isprintable()]:
        return f"names a column {strange[0]!r}, with a character that cannot be printed; write another name"
    return None


def read_table(path: Path) -> pd.DataFrame:
    """Read a file of this workflow: columns of text (`TEXTS`), of `FLAGS`, and numbers.

    Columns of whole numbers are int64, other numbers float64, rounded correctly. Raises TableError, also for a cell
    that is not of its column's type.
    """
    frame = read_texts(path)
    for name in frame.columns:
        if name not in TEXTS:
            frame[name] = _typed(frame[name], path)
    return frame


def _typed(cells: pd.Series, path: Path) -> pd.Series:
    values = set(cells)
    if values and values <= FLAGS.keys():
        return cells.map(FLAGS).astype(bool)
    if values and all(map(WHOLE.fullmatch, values)):
        return cells.astype("int64")
    try:
        return cells.map(lambda text: float(text) if text else float("nan")).astype(float)
    except ValueError:
        wrong = next(text for text in cells if not is_number(text))
        raise TableError(f"{path}, column {cells.name}: {wrong!r} is no number; make the file again") from None


def is_number(text: str) -> bool:
    """True for a cell that is empty or a number, NaN and infinity too."""
    try:
        return not text or float(text) is not None
    except ValueError:
        return False


def benchmark_seconds(path: Path) -> float:
    """Seconds of the jobs in one of Snakemake's benchmark files; NaN if the file is missing or empty."""
    if not path.is_file() or not path.stat().st_size:
        return float("nan")
    cells = [row.get("s", "") for _, row in read_rows(path, "\t")]
    if wrong := [cell for cell in cells if not cell or not is_number(cell)]:
        raise TableError(f"{path}, column s: {wrong[0]!r} is no number of seconds; delete the file, which is no result")
    return sum(map(float, cells))
