"""Turn data frames into tables of the HTML report: rows of printed cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from fute.paper.cells import MISSING, REFERENCE_ROWS, text_frame
from fute.paper.table3 import METRICS

COUNTS = frozenset(
    {"n", "unlabelled", "bounded", "cut", "n_rows", "jobs"} | {"train", "dev", "test", "dropped", "unusable"}
)
PERCENTAGES = frozenset(METRICS) | {
    "ndcg_linear",
    "true_order_ndcg",
    "random_performance",
    "random_ndcg",
    "accuracy",
    "uncalibrated_accuracy",
    "macro_f1",
    "direct",
    "majority",
    "best_transferred",
}
DURATIONS = frozenset({"time", "each"})
"""Columns of text that are aligned right, like numbers."""
COSINES = frozenset(
    {
        "cosine",
        "centred_cosine",
        "candidates_cosine",
        "nulls_cosine",
        "tensor_mean_cosine",
        "task2vec_cosine",
        "margin",
        "sd_prompts",
        "sd_order_noise",
        "null_mean",
        "null_max",
        "null_sd_prompts",
    }
)

REMARKS = frozenset({"largest_entry"})
"""Columns that say how far to trust the column before; none of their cells is the best."""


@dataclass(frozen=True)
class Head:
    """A heading over `span` columns; left: aligned left, for columns of words."""

    text: str
    span: int = 1
    left: bool = False


@dataclass(frozen=True)
class Cell:
    """A body cell. small: printed below the text, e.g. an interval. strong: bold. left: aligned left."""

    text: str
    small: str = ""
    strong: bool = False
    left: bool = False


@dataclass(frozen=True)
class Row:
    """A body row; a reference row (Oracle, Random) is printed in a lighter colour."""

    name: str
    cells: list[Cell]
    reference: bool = False


@dataclass(frozen=True)
class Group:
    """Rows under one heading; an empty name gives no heading."""

    name: str
    rows: list[Row]


@dataclass(frozen=True)
class Grid:
    """A table in the form that the template prints."""

    caption: str
    head: list[list[Head]]
    groups: list[Group]

    @property
    def width(self) -> int:
        """Number of columns, including the row names."""
        return sum(head.span for head in self.head[-1])


def _text(value: object, column: str) -> str:
    """Format counts without decimals, percentages with one as in the paper, cosines with four, others with two."""
    if isinstance(value, str) and value:
        return value
    if value == "" or pd.isna(value):
        return MISSING
    if column in COUNTS:
        return f"{value:,.0f}"
    digits = 1 if column in PERCENTAGES else 4 if column in COSINES else 2
    return f"{value:z.{digits}f}".replace("-", "−")  # z: no minus before a zero


def _interval(row: pd.Series, column: str) -> str:
    low, high = row.get(f"{column}_lo"), row.get(f"{column}_hi")
    return "" if pd.isna(low) or pd.isna(high) else f"{_text(low, column)}–{_text(high, column)}"


def table_grid(
    frame: pd.DataFrame,
    caption: str,
    *,
    small: pd.DataFrame | None = None,
    strong: pd.DataFrame | None = None,
) -> Grid:
    """Grid of a table of the paper (see `fute.paper.cells`); small (text) and strong (booleans): in its shape."""
    headings = dict.fromkeys(frame.columns.get_level_values(0))
    head = [
        [Head(""), *(Head(heading, frame[heading].shape[1]) for heading in headings)],
        [Head(frame.index.names[1].capitalize(), left=True), *(Head(metric) for _, metric in frame.columns)],
    ]
    shown = text_frame(frame)
    small = pd.DataFrame("", index=frame.index, columns=frame.columns) if small is None else small
    strong = pd.DataFrame(False, index=frame.index, columns=frame.columns) if strong is None else strong
    groups: dict[str, list[Row]] = {}
    for key in frame.index:
        parts = zip(shown.loc[key], small.loc[key].replace(MISSING, ""), strong.loc[key], strict=True)
        cells = [Cell(text, small=under, strong=bool(best)) for text, under, best in parts]
        groups.setdefault(key[0], []).append(Row(key[1], cells, key[1] in REFERENCE_ROWS))
    return Grid(caption, head, [Group(name, rows) for name, rows in groups.items()])


def list_grid(frame: pd.DataFrame, caption: str, *, name: str, groups: list[str], labels: Mapping[str, str]) -> Grid:
    """Grid with one line per row of `frame`, starting with column `name`, under headings from the columns `groups`.

    labels: column -> heading, for `name` and the columns to print; a column that is missing or has no value is left
    out. Ends of intervals, `{column}_lo` and `{column}_hi`, are printed below the value.
    """
    columns = [c for c in labels if c != name and c in frame and (frame[c].notna() & (frame[c] != "")).any()]
    words = {c for c in columns if frame[c].map(lambda value: isinstance(value, str)).any()} - DURATIONS
    head = [
        Head(labels[name], left=True),
        *(Head(labels[column], left=column in words) for column in columns),
    ]

    def line(row: pd.Series) -> Row:
        cells = [
            Cell(_text(row[column], column), small=_interval(row, column), left=column in words) for column in columns
        ]
        return Row(_text(row[name], name), cells, row[name] in REFERENCE_ROWS)

    if not groups:
        return Grid(caption, [head], [Group("", [line(row) for _, row in frame.iterrows()])])
    return Grid(
        caption,
        [head],
        [
            Group(" · ".join(map(str, keys)), [line(row) for _, row in rows.iterrows()])
            for keys, rows in frame.groupby(groups, sort=False)
        ],
    )


def prompt_grid(frame: pd.DataFrame, caption: str, values: Mapping[str, str]) -> Grid:
    """Grid with prompts as rows, datasets as columns, one group per model; the highest of each group and column bold.

    frame: one row per (model, prompt, dataset). values: column -> heading.
    """
    datasets = list(dict.fromkeys(frame["dataset"]))
    head = [[Head("Prompt", left=True), *(Head(dataset) for dataset in datasets)]]
    if len(values) > 1:
        head = [
            [Head(""), *(Head(dataset, len(values)) for dataset in datasets)],
            [Head("Prompt", left=True), *(Head(label) for _ in datasets for label in values.values())],
        ]
    groups = []
    for model, rows in frame.groupby("model", sort=False):
        shown = {
            (dataset, column): rows[rows["dataset"] == dataset].set_index("prompt")[column]
            for dataset in datasets
            for column in values
        }
        lines = []
        for prompt in dict.fromkeys(rows["prompt"]):
            cells = []
            for (_, column), series in shown.items():
                value = series.get(prompt, float("nan"))
                strong = column not in REMARKS and bool(value == series.max())
                cells.append(Cell(_text(value, column), strong=strong))
            lines.append(Row(_text(prompt, "prompt"), cells))
        groups.append(Group(str(model), lines))
    return Grid(caption, head, groups)
