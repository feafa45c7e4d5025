"""Tables 1 and 2 of the paper: our numbers in its layout, above the printed numbers.

Rows are (model, method), where the last block is the paper's; columns are (targets and sources, metric). rho is the
mean rank that a method gives to the best source (lower is better); NDCG is in percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from fute.csv_files import read_texts
from fute.paper.cells import (
    MISSING,
    format_cell,
    interval_texts,
    p_value_texts,
    row_order,
)

METHODS = ("DataSize", "CurveGrad", "TextEmb", "TaskEmb", "TuPaTE", "FUTE + TaskEmb", "FUTE + TuPaTE")
METRICS = {"rho": "ρ", "ndcg": "NDCG"}
PAPER_BLOCK = "Paper (as printed)"
DOMAIN = "domain"
LEFT_OUT = "†"
LEFT_OUT_NOTE = f"{LEFT_OUT} no run is above the majority baseline: not in the means."


@dataclass(frozen=True)
class TransferLayout:
    """One of the two tables. cells: cell id in our files -> heading."""

    name: str
    cells: Mapping[str, str]

    @property
    def column_names(self) -> list[str]:
        """Columns of the printed table's file and of ours: `cr_in_class_rho`, and `rho` of the domains."""
        prefixes = ["" if cell == DOMAIN else cell.replace("-", "_") + "_" for cell in self.cells]
        return [prefix + metric for prefix in prefixes for metric in METRICS]

    def of(self, ours: pd.DataFrame) -> TransferLayout:
        """The layout without cells that a run has no target for; all of it if `ours`, the run's rows, has none."""
        there = {cell: heading for cell, heading in self.cells.items() if cell in set(ours.get("cell", ()))}
        return replace(self, cells=there) if there else self

    @property
    def columns(self) -> pd.MultiIndex:
        pairs = [(heading, metric) for heading in self.cells.values() for metric in METRICS.values()]
        return pd.MultiIndex.from_tuples(pairs, names=["cell", "metric"])


TABLE1 = TransferLayout(
    "table 1",
    {
        "cr-in-class": "CR in-class",
        "cr-all-class": "CR all-class",
        "qa-in-class": "QA in-class",
        "qa-all-class": "QA all-class",
    },
)
TABLE2 = TransferLayout("table 2", {DOMAIN: "Finance and medicine"})
LAYOUTS = {"table1": TABLE1, "table2": TABLE2}


def transfer_frame(ours: pd.DataFrame, layout: TransferLayout, *, bound: str = "") -> pd.DataFrame:
    """Lay out results/evaluation/table1.csv or table2.csv as in the paper.

    ours: one row per (model, cell, method) with rho and ndcg. bound: "" for the values, "_lo" or "_hi" for an
    end of their 95 % intervals, "_p" for p-values. Returns floats; index (model, method), columns
    (heading, metric). A cell that was not computed is NaN.
    Raises ValueError for an unknown cell or method.
    """
    values = [metric + bound for metric in METRICS]
    keys = ["model", "method", "cell"]
    if unknown := sorted(set(ours["cell"]) - set(layout.cells)):
        raise ValueError(f"{layout.name}: unknown cell {', '.join(unknown)}; known are {', '.join(layout.cells)}")
    models = list(dict.fromkeys(ours["model"]))
    rows = sorted(
        dict.fromkeys(ours[["model", "method"]].itertuples(index=False, name=None)),
        key=lambda row: (models.index(row[0]), row_order(row[1], METHODS, layout.name)),
    )
    indexed = ours.set_index(keys)[values]
    cells = [
        [indexed[value].get((*row, cell), float("nan")) for cell in layout.cells for value in values] for row in rows
    ]
    index = pd.MultiIndex.from_tuples(rows, names=["model", "method"]) if rows else _no_rows()
    return pd.DataFrame(cells, index=index, columns=layout.columns, dtype=float)


def read_printed(path: Path, layout: TransferLayout) -> pd.DataFrame:
    """Read the paper's printed table (`resources/paper/table1.csv`, `table2.csv`) as one block; `-` is NaN."""
    printed = read_texts(path)
    frame = printed[layout.column_names].replace({"-": "nan", "": "nan"}).astype(float)
    frame.index = pd.MultiIndex.from_product([[PAPER_BLOCK], printed["method"]], names=["model", "method"])
    frame.columns = layout.columns
    return frame


def above_paper(ours: pd.DataFrame, printed: pd.DataFrame) -> pd.DataFrame:
    """Put the paper's block below ours in one table. It is only for comparison by eye: nothing is subtracted."""
    return pd.concat([ours, printed]) if len(ours) else printed


def transfer_intervals(ours: pd.DataFrame, layout: TransferLayout) -> pd.DataFrame:
    """95 % interval of every cell of `transfer_frame` as text; a dash where there is none."""
    return interval_texts(*(transfer_frame(ours, layout, bound=bound) for bound in ("_lo", "_hi")))


def p_values(ours: pd.DataFrame, layout: TransferLayout) -> pd.DataFrame:
    """P-value of every cell of `transfer_frame` as text, for methods only."""
    return p_value_texts(transfer_frame(ours, layout, bound="_p"))


def per_target(targets: pd.DataFrame, layout: TransferLayout) -> pd.DataFrame:
    """The appendix: result of every method on every target, as text.

    targets: results/evaluation/lm_targets.csv. Index (model and cell, target). Columns: the best source and its
    transfer gain, then one per method with ρ, the rank that it gives to that source, and its NDCG: `3.0 / 81.2`.
    Targets that are not in the means are marked with `LEFT_OUT`. layout: the whole table, as a cell whose targets are
    all left out has no column in the table itself.
    """
    cell = targets["scope"].where(targets["scope"] == "domain", targets["group"] + "-" + targets["scope"])
    selected = targets.assign(cell=cell)[cell.isin(list(layout.cells))]
    methods = sorted(set(selected["method"]), key=lambda name: row_order(name, METHODS, layout.name))
    rows = {}
    for (model, cell), block in selected.groupby(["model", "cell"], sort=False):
        for target, lines in block.groupby("target", sort=False):
            by_method = lines.set_index("method")
            first = lines.iloc[0]
            mark = "" if first["counted"] else f" {LEFT_OUT}"
            rows[f"{model}, {layout.cells[cell]}", target + mark] = [
                first["best_source"],
                format_cell(first["gain"]),
                *(_rank_and_ndcg(by_method.loc[name]) if name in by_method.index else MISSING for name in methods),
            ]
    index = pd.MultiIndex.from_tuples(list(rows), names=["cell", "target"]) if rows else _no_rows()
    heads = [("Best", "source"), ("Best", "gain"), *((method, "ρ / NDCG") for method in methods)]
    columns = pd.MultiIndex.from_tuples(heads, names=["heading", "metric"])
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)


def per_target_caption(table: pd.DataFrame) -> str:
    """What the cells of `per_target` are, and its mark where it is used."""
    text = (
        "Best: the source with the highest transfer gain. For each method: the rank ρ that it gives to this source (of "
        "several equal ones, to that which it ranks best) and the NDCG of its ranking."
    )
    marked = any(target.endswith(LEFT_OUT) for _, target in table.index)
    return f"{text} {LEFT_OUT_NOTE}" if marked else text


def _rank_and_ndcg(row: pd.Series) -> str:
    return f"{format_cell(row['rho'])} / {format_cell(row['ndcg'])}"


def _no_rows() -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([[], []], names=["model", "method"])
