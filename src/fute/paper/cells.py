"""Cells of the paper's tables: how they print and which are best.

A table is a frame with the index (block, method) and the columns (heading, metric), of numbers or of text. A
block is printed under a heading of its own: a category of Table 3, a model of Tables 1 and 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from fute.display_names import METHOD_NAMES

MISSING = "–"
REFERENCE_ROWS = ("Oracle", "Mean over prompts", "Random", "Ceiling")
"""Rows that are no method: they end a block, and none of their cells is a best one."""
LOWER_IS_BETTER = frozenset({"ρ"})
"""Metrics, by heading, of which the lowest value is the best."""


def require_columns(frame: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Raise ValueError naming the columns of `columns` that the frame called `name` lacks."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{name}: no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")


def require_percent(frame: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Raise ValueError where a column holds fractions: the tables would print 0.9 for 90 %."""
    for column in columns:
        if 0 < frame[column].max() <= 1:
            raise ValueError(f"{name}: {column} goes up to {frame[column].max():.3g}; it must be in percent")


def base_method(method: str) -> str:
    """Method that a variant belongs to: `LocalE (uncalibrated)` -> `LocalE`."""
    return re.sub(r" \([^()]*\)$", "", method)


def row_order(method: str, methods: Sequence[str], references: Sequence[str], where: str) -> tuple[int, int, str]:
    """Key that sorts rows: the paper's methods in its order, then variants of them and ours, then reference rows."""
    if method in methods:
        return 0, methods.index(method), ""
    if method in references:
        return 2, references.index(method), ""
    methods = tuple(dict.fromkeys((*methods, *METHOD_NAMES.values())))
    if base_method(method) in methods:
        return 1, methods.index(base_method(method)), method
    raise ValueError(
        f"{where}: unknown method {method!r}; a variant is written 'METHOD (what differs)', and the methods "
        f"are {', '.join((*methods, *references))}"
    )


def format_cell(value: float) -> str:
    """One decimal, as the paper prints; a dash for NaN."""
    return MISSING if pd.isna(value) else f"{value:.1f}"


def text_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """A table as it is printed; cells that hold text already stay as they are."""
    # a table without rows would stay one of floats, to which no text can be added
    return frame.map(lambda value: value if isinstance(value, str) else format_cell(value)).astype(object)


def interval_texts(low: pd.DataFrame, high: pd.DataFrame) -> pd.DataFrame:
    """Two tables, of the lower and the upper ends, as text `52.1–64.0`; a dash where there is none."""
    low, high = text_frame(low), text_frame(high)
    return (low + "–" + high).where((low != MISSING) & (high != MISSING), MISSING)


def best_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Booleans in the shape of the frame: best printed value of its column and block.

    Only the methods the paper compares take part, not the reference rows (Oracle is best by construction) and
    not variants of a method. Values that print alike are best alike.
    """
    shown = text_frame(frame).apply(pd.to_numeric, errors="coerce")
    methods = frame.index.get_level_values("method")
    shown.loc[[method in REFERENCE_ROWS or base_method(method) != method for method in methods]] = float("nan")
    lower = shown.columns.get_level_values("metric").isin(LOWER_IS_BETTER)
    shown.loc[:, lower] *= -1
    return shown.eq(shown.groupby(level=0).transform("max")) & shown.notna()
