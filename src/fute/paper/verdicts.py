"""Sentences on what Table 3 shows and does not show: one per method.

The paper prints point values only. With few rows and prompts, a random ranking already scores high. So each method is
compared with random rankings (permutations of the prompts), and the embeddings also with the noise from the order of
their training texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from fute.display_names import LEVEL, METHOD_NAMES, p_text
from fute.paper.cells import REFERENCE_ROWS, base_method
from fute.wording import listed

MOST_NAMED = 6
"""Names of vectors or candidates in one sentence."""
LABELS = {"ndcg": "NDCG", "performance": "performance"}


def against_random(blocks: pd.Series, better: pd.Series, worse: pd.Series, label: str) -> str:
    """Clause like `NDCG beats random rankings in 1 of 2 blocks (SA smollm2)`, from p-values.

    blocks: names of the table's blocks. better, worse: per block, the p-values of chance doing at least as well as the
    method, and at least as badly; NaN where there is no test. At most `LEVEL` is called a difference.
    """
    measured = better.notna() & worse.notna()
    if not measured.any():
        return f"{label} has no test against random rankings"
    above, below = list(blocks[measured & (better <= LEVEL)]), list(blocks[measured & (worse <= LEVEL)])
    total = int(measured.sum())
    if not above and not below:
        where = f"any of {total} blocks" if total > 1 else "its block"
        return f"{label} cannot be told from random rankings in {where}"
    parts = []
    for verb, names in (("beats", above), ("loses to", below)):
        if names:
            where = f"{len(names)} of {total} blocks" if total > 1 else "its block"
            parts.append(f"{verb} random rankings in {where} ({listed(names)})")
    return f"{label} {' and '.join(parts)}"


def sentences_by_method(cells: pd.DataFrame, blocks: pd.Series, labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(Method, sentence with a clause of `against_random` per metric) for each method that is no reference row.

    cells: one row per method and block, with `{metric}_p` and `{metric}_p_worse` of the metrics of `labels`. blocks:
    the block of each row.
    """
    for method in dict.fromkeys(cells["method"]):
        if method not in REFERENCE_ROWS:
            own = cells["method"] == method
            clauses = [
                against_random(blocks[own], cells.loc[own, f"{metric}_p"], cells.loc[own, f"{metric}_p_worse"], label)
                for metric, label in labels.items()
            ]
            yield method, f"{method}: {'; '.join(clauses)}."


def _against_noise(rows: pd.DataFrame) -> str:
    """Sentence that compares the prompts with the noise of order seeds, per model and dataset."""
    measured = rows[rows["order_p"].notna()]
    # the control was run, and found no difference to compare with noise
    alike = rows[rows["order_p"].isna() & rows["verdict"].notna() & (rows["verdict"] != "")]
    if measured.empty and alike.empty:
        return "No control over order seeds was run, so the selection is not shown to differ from noise."
    total = f"{len(measured)} target{'s' if len(measured) > 1 else ''}"
    weak = measured[measured["order_p"] > LEVEL]
    sentences = []
    if len(weak):
        names = _by_model(weak, [f"{row.dataset} ({p_text(row.order_p)})" for row in weak.itertuples()])
        sentences.append(
            f"Prompts cannot be told from the noise of order seeds on {len(weak)} of {total}: p is over {LEVEL:g} for "
            f"{names}."
        )
    elif len(measured):
        where, most = ("all ", "largest p") if len(measured) > 1 else ("", "p")
        sentences.append(
            f"Prompts can be told from the noise of order seeds on {where}{total} "
            f"({most} {p_text(measured['order_p'].max())})."
        )
    if len(alike):
        names = _by_model(alike, list(alike["dataset"]))
        sentences.append(f"All prompts have the same similarity for {names}, so there is nothing to select by.")
    return " ".join(sentences)


def _by_model(rows: pd.DataFrame, texts: Sequence[str]) -> str:
    """`m-a on sst2 and cb; m-b on cb`. texts: of the dataset of each row."""
    groups = pd.Series(texts, index=rows["model"]).groupby(level=0, sort=False)
    return "; ".join(f"{model} on {listed(list(own))}" for model, own in groups)


def verdict_sentences(table3: pd.DataFrame, controls: pd.DataFrame, titles: Mapping[str, str]) -> list[str]:
    """Sentences on each method of Table 3, in the order of its rows.

    table3: results/evaluation/table3.csv, with the p-values `{metric}_p` and `{metric}_p_worse` of random choices and
    rankings that are as good, and as bad. controls: results/evaluation/controls.csv, possibly without rows or values.
    Baselines use no embedding, so no control applies to them. titles: category -> its name.
    """
    blocks = table3["category"].map(titles) + " " + table3["model"]
    columns = ["method", "model", "dataset", "order_p", "verdict"]
    controls = controls.reindex(columns=columns).replace({"method": METHOD_NAMES})
    sentences = []
    for method, text in sentences_by_method(table3, blocks, LABELS):
        if base_method(method) in METHOD_NAMES.values() and base_method(method) != METHOD_NAMES["labelcov"]:
            # LabelCov has no order; controls are of the plain cosine, so a variant of it has none
            text += " " + _against_noise(controls[controls["method"] == method])
        sentences.append(text)
    return sentences
