"""Table 3 of the paper: our numbers in its layout, and beside the numbers it prints.

Rows are (category, method), columns (model, metric). Everything is in percent, as in the paper.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fute.names import METHOD_NAMES

CATEGORIES = {"sa": "SA", "nli": "NLI"}
METRICS = {"performance": "Performance", "rate": "Rate", "ndcg": "NDCG"}
METHODS = (
    "MI",
    "LocalE",
    "GlobalE",
    "ZPS-Log",
    "ZPS-Prob",
    "ZPS-Vote",
    "Self-Select",
    "SPELL",
    "FUTE + TaskEmb",
    "FUTE + TuPaTE",
)
REFERENCES = ("Oracle", "Mean over prompts", "Random")
PAPER_MODELS = {
    "llama2_13b": "Llama-2 13B",
    "llama2_70b": "Llama-2 70B",
    "mixtral_8x7b": "Mixtral 8x7B",
}
MISSING = "–"
SUSPECT = "†"
SUSPECT_NOTE = (
    f"{SUSPECT} cannot be right as printed: performance over rate gives a best performance unlike that of "
    "the other rows."
)


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


def _row_order(method: str) -> tuple[int, int, str]:
    """The paper's methods in its order, then variants of them and ours, then the reference rows."""
    ours = list(METHOD_NAMES.values())
    if method in METHODS:
        return 0, METHODS.index(method), ""
    if method in REFERENCES:
        return 2, REFERENCES.index(method), ""
    if base_method(method) in METHODS:
        return 1, METHODS.index(base_method(method)), method
    if base_method(method) in ours:
        return 1, len(METHODS) + ours.index(base_method(method)), method
    raise ValueError(
        f"table 3: unknown method {method!r}; a variant is written 'METHOD (what differs)', and the methods "
        f"are {', '.join(dict.fromkeys((*METHODS, *ours, *REFERENCES)))}"
    )


def paper_models(models: Iterable[str]) -> dict[str, str]:
    """Those of our models that are one of the paper's, as {our id: key of `PAPER_MODELS`}.

    Names are compared without case and punctuation, so `llama-2-13b` and `meta-llama/Llama-2-13b-chat-hf`
    both mean Llama-2 13B. Where two of ours mean the same one, neither is mapped: the paper printed one
    column.
    """
    found: dict[str, list[str]] = {}
    for model in dict.fromkeys(models):
        plain = re.sub(r"[^a-z0-9]", "", model.lower())
        for key in PAPER_MODELS:
            if key.replace("_", "") in plain:
                found.setdefault(key, []).append(model)
    return {ours[0]: key for key, ours in found.items() if len(ours) == 1}


def _model_order(models: Iterable[str]) -> list[str]:
    """The paper's models in the paper's order, then the others as they come."""
    unique = list(dict.fromkeys(models))
    mapped = paper_models(unique)
    keys = list(PAPER_MODELS)
    return sorted(unique, key=lambda model: keys.index(mapped[model]) if model in mapped else len(keys))


def table3_frame(ours: pd.DataFrame, *, bound: str = "") -> pd.DataFrame:
    """Lay out selection results as the paper's Table 3.

    ours: one row per (category, model, method) with the columns performance, rate and ndcg in percent.
    bound: "" for the values, "_lo" or "_hi" for an end of their 95 % intervals.
    Returns floats; index (category, method), columns (model, metric). A cell that was not computed is NaN.
    Raises ValueError for a missing column, an unknown category or method, a repeated row, or fractions.
    """
    values = [metric + bound for metric in METRICS]
    require_columns(ours, ["category", "model", "method", *values], "table 3")
    require_percent(ours, METRICS, "table 3")
    unknown = sorted(set(ours["category"]) - set(CATEGORIES))
    if unknown:
        raise ValueError(f"table 3: unknown category {', '.join(unknown)}; known are {', '.join(CATEGORIES)}")
    keys = ["category", "method", "model"]
    if ours.duplicated(keys).any():
        first = ours.loc[ours.duplicated(keys), keys].iloc[0]
        raise ValueError(f"table 3: two rows for {', '.join(first)}; one row a category, model and method is needed")

    wide = ours.set_index(keys)[values].unstack("model").swaplevel(axis=1)
    wide.columns = wide.columns.map(lambda pair: (pair[0], METRICS[pair[1].removesuffix(bound)]))
    columns = [(model, metric) for model in _model_order(ours["model"]) for metric in METRICS.values()]
    rows = sorted(wide.index, key=lambda row: (list(CATEGORIES).index(row[0]), _row_order(row[1])))
    wide = wide.loc[rows, columns]
    wide.index = pd.MultiIndex.from_tuples([(CATEGORIES[c], m) for c, m in rows], names=["category", "method"])
    wide.columns = pd.MultiIndex.from_tuples(columns, names=["model", "metric"])
    return wide


def format_cell(value: float) -> str:
    """One decimal, as the paper prints; a dash for NaN."""
    return MISSING if pd.isna(value) else f"{value:.1f}"


def text_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame of `table3_frame` as it is printed; a frame that holds text already stays as it is."""
    return frame.map(lambda value: value if isinstance(value, str) else format_cell(value))


def interval_frame(ours: pd.DataFrame) -> pd.DataFrame:
    """The 95 % interval of every cell of `table3_frame` as text, `52.1–64.0`; a dash where there is none."""
    low, high = (text_frame(table3_frame(ours, bound=bound)) for bound in ("_lo", "_hi"))
    joined = low + "–" + high
    return joined.where((low != MISSING) & (high != MISSING), MISSING)


def best_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Booleans in the shape of the frame: best printed value of its column and category.

    Only the methods the paper compares take part: Oracle is best by construction. Values that print alike are
    best alike.
    """
    shown = text_frame(frame).apply(pd.to_numeric, errors="coerce")
    shown.loc[~frame.index.get_level_values("method").isin(METHODS)] = float("nan")
    return shown.eq(shown.groupby(level="category").transform("max")) & shown.notna()


def read_printed(path: Path) -> pd.DataFrame:
    """Read the paper's printed Table 3 (`resources/paper/table3.csv`), text as printed."""
    printed = pd.read_csv(path, dtype=str, keep_default_na=False)
    values = [f"{model}_{metric}" for model in PAPER_MODELS for metric in METRICS]
    require_columns(printed, ["category", "method", *values, "suspect_cells"], str(path))
    return printed


def printed_frame(printed: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 3 as text in the layout of `table3_frame`, suspect cells marked with `SUSPECT`."""
    marked = printed.set_index(["category", "method"])
    for row, suspects in marked["suspect_cells"].items():
        for column in filter(None, suspects.split("|")):
            marked.loc[row, column] += SUSPECT
    columns = {
        (PAPER_MODELS[model], METRICS[metric]): marked[f"{model}_{metric}"]
        for model in PAPER_MODELS
        for metric in METRICS
    }
    return pd.DataFrame(columns).rename_axis(columns=["model", "metric"])


def beside_paper(ours: pd.DataFrame, printed: pd.DataFrame) -> pd.DataFrame:
    """Our Table 3 beside the paper's, as text. For the eye only: nothing is subtracted.

    ours: as for `table3_frame`; printed: as from `read_printed`. Columns (model, metric), where the model
    says whose it is. A model of ours that is one of the paper's stands directly before the paper's column;
    the paper's other models follow at the end. Rows that the paper does not have show a dash there.
    """
    frame, paper = text_frame(table3_frame(ours)), printed_frame(printed)
    mapped = paper_models(ours["model"])
    blocks = {}
    for model in dict.fromkeys(frame.columns.get_level_values("model")):
        blocks[f"{model} (ours)"] = frame[model]
        if model in mapped:
            name = PAPER_MODELS[mapped[model]]
            blocks[f"{name} (paper)"] = paper[name].reindex(frame.index)
    for key, name in PAPER_MODELS.items():
        if key not in mapped.values():
            blocks[f"{name} (paper)"] = paper[name].reindex(frame.index)
    return pd.concat(blocks, axis=1, names=["model", "metric"]).fillna(MISSING)
