"""Sentences on what Tables 1 and 2 show and do not show: one per method, and on the direct scores."""

from __future__ import annotations

import pandas as pd

from fute.paper.cells import REFERENCE_ROWS, format_cell, require_columns
from fute.paper.transfer_tables import METRICS, TransferLayout
from fute.paper.verdicts import against_random, listed

LEVEL = 0.05


def transfer_sentences(cells: pd.DataFrame, layout: TransferLayout) -> list[str]:
    """Sentences that compare each method with random rankings.

    cells: results/evaluation/table1.csv or table2.csv. A method beats random if the whole interval of the paired
    difference is on the better side (below 0 for ranks, above 0 for NDCG) and the p-value is at most `LEVEL`. It loses
    if the interval is on the other side and the p-value is at least 1 - `LEVEL`.
    """
    ends = [f"{metric}_minus_random_{end}" for metric in METRICS for end in ("lo", "hi")]
    require_columns(cells, ["model", "cell", "method", *ends, *(f"{metric}_p" for metric in METRICS)], layout.name)
    sentences = []
    for method in dict.fromkeys(cells["method"]):
        if method in REFERENCE_ROWS:
            continue
        rows = cells[cells["method"] == method]
        rho = _against_random(rows, layout, -rows["rho_minus_random_hi"], -rows["rho_minus_random_lo"], "rho")
        ndcg = _against_random(rows, layout, rows["ndcg_minus_random_lo"], rows["ndcg_minus_random_hi"], "ndcg")
        sentences.append(f"{method}: {rho}; {ndcg}.")
    return sentences


def _against_random(rows: pd.DataFrame, layout: TransferLayout, low: pd.Series, high: pd.Series, metric: str) -> str:
    """Compare a metric with random. low, high: ends of the interval of the difference; positive is better."""
    blocks, p = rows["cell"].map(layout.cells) + " " + rows["model"], rows[f"{metric}_p"]
    # a bootstrap over few targets excludes 0 too easily, so the permutation test must agree
    low = low.where(p <= LEVEL, low.clip(upper=0))
    high = high.where(p >= 1 - LEVEL, high.clip(lower=0))
    return against_random(blocks, low, high, METRICS[metric])


def direct_sentences(direct: pd.DataFrame) -> list[str]:
    """Sentences on direct scores and the majority baseline, one per model, with the targets that were left out.

    direct: results/evaluation/lm_direct.csv.
    """
    columns = ["model", "target", "direct", "majority", "best_transferred", "counted"]
    require_columns(direct, columns, "direct scores")
    sentences = []
    for model, rows in direct.groupby("model", sort=False):
        compared = rows[rows["majority"].notna()]
        text = f"{model}: direct score (majority baseline) of " + ", ".join(
            f"{row.target} {format_cell(row.direct)} ({format_cell(row.majority)})" for row in rows.itertuples()
        )
        if compared.empty:
            sentences.append(f"{text}. No majority baseline is known, so no target was left out.")
            continue
        weak = compared[compared["direct"] <= compared["majority"]]
        lost = compared[~compared["counted"].astype(bool)]
        text += f". Direct runs beat the baseline on {len(compared) - len(weak)} of {len(compared)} targets"
        if len(lost):
            text += f"; no run does on {listed(list(lost['target']))}, left out of the means"
        sentences.append(text + ".")
    return sentences
