"""The results of the tests with planted black boxes, as cells of a table."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from fute.display_names import METHOD_TITLES, SIMILARITY_ROWS, p_text

NAMES = METHOD_TITLES | {"label-histogram": "label histogram (baseline)"}
MEASURES = {"spearman": "Spearman", "top-1": "nearest is its own", "mrr": "mean reciprocal rank"}

COLUMNS = ("Test", "Method", "Measure", "Value", "95 %", "By chance", "p", "Verdict")
"""Heads of the cells."""


def row_name(method: str, similarity: str) -> str:
    """Name of a method with one of its similarities."""
    return NAMES[method] + SIMILARITY_ROWS[similarity]


def planted_cells(measured: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """(test, method, measure, value, interval, chance, p, verdict) of every row that is a test's verdict.

    measured: planted.csv. Rows of single ladders are left out; a value that is not defined says so.
    """
    for row in measured[measured["target"] == "mean"].itertuples():
        front = row.test, row_name(row.method, row.similarity), MEASURES[row.measure]
        if pd.isna(row.value):
            yield (*front, "not defined", "", "", "", "fails")
            continue
        ends = "" if pd.isna(row.lo) else f"{row.lo:z.2f} to {row.hi:z.2f}"
        numbers = f"{row.value:z.2f}", ends, f"{row.chance:z.2f}", p_text(row.p)
        yield (*front, *numbers, "passes" if row.passes else "fails")
