"""Table 3 of the paper: our numbers in its layout, and next to the printed numbers.

Rows are (category, method), columns (model, metric). Everything is in percent, as in the paper.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pandas as pd

from fute.paper.cells import (
    MISSING,
    interval_texts,
    p_value_texts,
    row_order,
    text_frame,
)

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
PAPER_MODELS = {
    "llama2_13b": "Llama-2 13B",
    "llama2_70b": "Llama-2 70B",
    "mixtral_8x7b": "Mixtral 8x7B",
}
SUSPECT = "†"
SUSPECT_NOTE = (
    f"{SUSPECT} cannot be right as printed: performance over rate gives a best performance unlike that of "
    "the other rows."
)


def paper_models(models: Iterable[str]) -> dict[str, str]:
    """Our models that are also the paper's, as {our id: key of `PAPER_MODELS`}.

    Names are compared without case and punctuation, so `llama-2-13b` and `meta-llama/Llama-2-13b-chat-hf` both mean
    Llama-2 13B. If two of ours mean the same model, neither is mapped: the paper has one column for it.
    """
    ours_of: dict[str, list[str]] = {}
    for model in dict.fromkeys(models):
        plain = re.sub(r"[^a-z0-9]", "", model.lower())
        for key in PAPER_MODELS:
            if key.replace("_", "") in plain:
                ours_of.setdefault(key, []).append(model)
    return {ours[0]: key for key, ours in ours_of.items() if len(ours) == 1}


def _model_order(models: Iterable[str]) -> list[str]:
    """Order of models: the paper's in its order, then the others by first use."""
    unique = list(dict.fromkeys(models))
    mapped = paper_models(unique)
    keys = list(PAPER_MODELS)
    return sorted(unique, key=lambda model: keys.index(mapped[model]) if model in mapped else len(keys))


def table3_frame(ours: pd.DataFrame, titles: Mapping[str, str], *, bound: str = "") -> pd.DataFrame:
    """Lay out selection results as the paper's Table 3.

    ours: one row per (category, model, method) with the columns performance, rate and ndcg in percent.
    titles: category -> its name, in the order of the table.
    bound: "" for the values, "_lo" or "_hi" for an end of their 95 % intervals, "_p" for p-values.
    Returns floats; index (category, method), columns (model, metric). A cell that was not computed is NaN.
    Raises ValueError for an unknown category or method.
    """
    values = [metric + bound for metric in METRICS]
    unknown = sorted(set(ours["category"]) - set(titles))
    if unknown:
        raise ValueError(f"table 3: unknown category {', '.join(unknown)}; known are {', '.join(titles)}")
    keys = ["category", "method", "model"]
    wide = ours.set_index(keys)[values].unstack("model").swaplevel(axis=1)
    wide.columns = wide.columns.map(lambda pair: (pair[0], METRICS[pair[1].removesuffix(bound)]))
    columns = [(model, metric) for model in _model_order(ours["model"]) for metric in METRICS.values()]
    rows = sorted(wide.index, key=lambda row: (list(titles).index(row[0]), row_order(row[1], METHODS, "table 3")))
    wide = wide.loc[rows, columns]
    wide.index = pd.MultiIndex.from_tuples([(titles[c], m) for c, m in rows], names=["category", "method"])
    wide.columns = pd.MultiIndex.from_tuples(columns, names=["model", "metric"])
    return wide


def interval_frame(ours: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """95 % interval of every cell of `table3_frame` as text, `52.1–64.0`; a dash where there is none."""
    return interval_texts(table3_frame(ours, titles, bound="_lo"), table3_frame(ours, titles, bound="_hi"))


def p_value_frame(ours: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """P-value of a random choice as good, and of a random ranking as good, for every method of `table3_frame`, as text.

    Columns (model, Performance), (model, Spearman) and (model, NDCG). The rate has no test of its own: Spearman's
    correlation of the ranking takes its place.
    """
    frame = table3_frame(ours.assign(rate_p=ours["spearman_p"]), titles, bound="_p")
    return p_value_texts(frame.rename(columns={"Rate": "Spearman"}, level="metric"))


def printed_frame(printed: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 3 as text in the layout of `table3_frame`, suspect cells marked with `SUSPECT`.

    printed: `resources/paper/table3.csv`, every cell as text.
    """
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


def beside_paper(ours: pd.DataFrame, printed: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Our Table 3 next to the paper's, as text. It is only for comparison by eye: nothing is subtracted.

    ours, titles: as for `table3_frame`; printed: as for `printed_frame`. Columns (model, metric), with `(ours)` or
    `(paper)` after the model's name. Our columns of a model come directly before the paper's of the same model; the
    paper's other models come last. Rows that the paper does not have show a dash there.
    """
    frame = text_frame(table3_frame(ours, titles))
    # the paper's names are the ids in capitals; a run may have titles of its own
    paper = printed_frame(printed).rename(index={name.upper(): title for name, title in titles.items()}, level=0)
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
