"""Sentences on what Table 3 shows and does not show: one per method.

The paper prints point values only. With few rows and prompts, a random ranking already scores high. So each method is
compared with random selection (95 % interval of the paired difference), and the embeddings also with the noise from
the order of their training texts.
"""

from __future__ import annotations

import pandas as pd

from fute.display_names import LEAST_SEPARATION, METHOD_NAMES
from fute.paper.cells import REFERENCE_ROWS, base_method, require_columns
from fute.paper.table3 import CATEGORIES

LABELS = {"ndcg": "NDCG", "performance": "performance"}


def listed(names: list[str]) -> str:
    """Join names: `a, b and c`."""
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def against_random(blocks: pd.Series, low: pd.Series, high: pd.Series, label: str) -> str:
    """Clause like `NDCG beats random selection in 1 of 2 blocks (SA smollm2)`, from intervals of the difference.

    blocks: names of the table's blocks. low, high: per block, the ends of the interval of the method's advantage over
    random selection; NaN where there is none.
    """
    measured = low.notna() & high.notna()
    if not measured.any():
        return f"{label} has no interval, so it cannot be held against random selection"
    above, below = list(blocks[measured & (low > 0)]), list(blocks[measured & (high < 0)])
    total = int(measured.sum())
    if not above and not below:
        where = f"any of {total} blocks" if total > 1 else "its block"
        return f"{label} cannot be told from random selection in {where}"
    parts = []
    for verb, names in (("beats", above), ("loses to", below)):
        if names:
            where = f"{len(names)} of {total} blocks" if total > 1 else "its block"
            parts.append(f"{verb} random selection in {where} ({listed(names)})")
    return f"{label} {' and '.join(parts)}"


def _against_noise(rows: pd.DataFrame) -> str:
    """Sentence that compares the spread between prompts with that between order seeds, per model and dataset."""
    measured = rows[rows["ratio"].notna()]
    if measured.empty:
        return "No control over order seeds was run, so the selection is not shown to differ from noise."
    weak = measured[measured["ratio"] < LEAST_SEPARATION]
    if weak.empty:
        return (
            f"The selection can be told from the noise of order seeds on all {len(measured)} targets "
            f"(smallest ratio {measured['ratio'].min():.2f})."
        )
    names = [
        f"{model} on {listed([f'{row.dataset} ({row.ratio:.2f})' for row in rows.itertuples()])}"
        for model, rows in weak.groupby("model", sort=False)
    ]
    return (
        f"The selection cannot be told from the noise of order seeds on {len(weak)} of {len(measured)} "
        f"targets: the ratio is under {LEAST_SEPARATION:g} for {'; '.join(names)}."
    )


def verdict_sentences(table3: pd.DataFrame, controls: pd.DataFrame) -> list[str]:
    """Sentences on each method of Table 3, in the order of its rows.

    table3: results/evaluation/table3.csv, with the ends `{metric}_minus_random_lo` and `_hi` of the 95 % interval of
    the difference to random selection. controls: results/evaluation/controls.csv, possibly without rows or values; its
    methods are `taskemb` and `tupate`. Baselines use no embedding, so no control applies to them.
    """
    ends = [f"{metric}_minus_random_{end}" for metric in LABELS for end in ("lo", "hi")]
    require_columns(table3, ["category", "model", "method", *ends], "table 3")
    columns = ["method", "model", "dataset", "ratio"]
    if len(controls):
        require_columns(controls, columns, "controls")
    controls = controls.reindex(columns=columns).replace({"method": METHOD_NAMES})
    sentences = []
    for method in dict.fromkeys(table3["method"]):
        if method in REFERENCE_ROWS:
            continue
        rows = table3[table3["method"] == method]
        blocks = rows["category"].map(CATEGORIES) + " " + rows["model"]
        ndcg, performance = (
            against_random(blocks, rows[f"{name}_minus_random_lo"], rows[f"{name}_minus_random_hi"], label)
            for name, label in LABELS.items()
        )
        text = f"{method}: {ndcg}; {performance}."
        if base_method(method) in METHOD_NAMES.values():
            # Controls exist for the plain cosine only, so a variant has the same ones.
            text += " " + _against_noise(controls[controls["method"] == method])
        sentences.append(text)
    return sentences
