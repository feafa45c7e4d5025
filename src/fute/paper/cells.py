"""Format the cells of the paper's tables, and find the best ones.

A table is a frame of numbers or text with the index (block, method) and the columns (heading, metric). Each block is
printed under its own heading: a category of Table 3, a model of Tables 1 and 2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from fute.config.llm_baselines import LLM_BASELINES
from fute.config.lm_baselines import LM_BASELINES
from fute.display_names import METHOD_NAMES, p_text

MISSING = "–"
REFERENCE_ROWS = ("Oracle", "Mean over prompts", "Random", "Estimated true order")
"""Rows that are not methods: they come last in a block, in this order, and none of their cells is marked as best."""
LOWER_IS_BETTER = frozenset({"ρ"})
"""Headings of the metrics whose lowest value is the best."""


def base_method(method: str) -> str:
    """Method of a variant: `LocalE (uncalibrated)` -> `LocalE`."""
    return re.sub(r" \([^()]*\)$", "", method)


def row_order(method: str, methods: Sequence[str], where: str) -> tuple[int, int, str]:
    """Sort key of rows: `methods`, the paper's, in their order, then variants of them and ours, then reference rows.

    Raises ValueError for any other method; where: the table's name in the message.
    """
    if method in methods:
        return 0, methods.index(method), ""
    if method in REFERENCE_ROWS:
        return 2, REFERENCE_ROWS.index(method), ""
    ours = (*map(base_method, LLM_BASELINES.values()), *LM_BASELINES.values(), *METHOD_NAMES.values())
    methods = tuple(dict.fromkeys((*methods, *ours)))
    if base_method(method) in methods:
        return 1, methods.index(base_method(method)), method
    raise ValueError(
        f"{where}: unknown method {method!r}; a variant is written 'METHOD (what differs)', and the methods "
        f"are {', '.join((*methods, *REFERENCE_ROWS))}"
    )


def format_cell(value: float) -> str:
    """Format with one decimal, as in the paper; a dash for NaN, no minus before a zero."""
    return MISSING if pd.isna(value) else f"{value:z.1f}"


def text_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Table with its cells as printed text; cells that already hold text stay as they are."""
    # without `astype` a table without rows would keep float columns, and adding text to them fails
    return frame.map(lambda value: value if isinstance(value, str) else format_cell(value)).astype(object)


def interval_texts(low: pd.DataFrame, high: pd.DataFrame) -> pd.DataFrame:
    """Text of intervals, `52.1–64.0`, from tables of their lower and upper ends; a dash where there is none."""
    low, high = text_frame(low), text_frame(high)
    return (low + "–" + high).where((low != MISSING) & (high != MISSING), MISSING)


def p_value_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Text of a table of p-values, without its reference rows; a dash where there is no test."""
    methods = frame[~frame.index.get_level_values("method").isin(REFERENCE_ROWS)]
    return methods.map(lambda p: MISSING if pd.isna(p) else p_text(p))


def best_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Booleans in the shape of the frame: True for the best printed value of its column and block.

    Reference rows (Oracle is best by construction) and variants of a method, named in parentheses, take no part. Values
    that print the same are both best.
    """
    shown = text_frame(frame).apply(pd.to_numeric, errors="coerce")
    methods = frame.index.get_level_values("method")
    shown.loc[[method in REFERENCE_ROWS or base_method(method) != method for method in methods]] = float("nan")
    lower = shown.columns.get_level_values("metric").isin(LOWER_IS_BETTER)
    shown.loc[:, lower] *= -1
    return shown.eq(shown.groupby(level=0).transform("max")) & shown.notna()
