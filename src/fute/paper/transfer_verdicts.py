"""Sentences on what Tables 1 and 2 show and do not show: one per method, and on the direct scores."""

from __future__ import annotations

import pandas as pd

from fute.paper.cells import format_cell
from fute.paper.transfer_tables import METRICS, TransferLayout
from fute.paper.verdicts import sentences_by_method
from fute.wording import listed


def transfer_sentences(cells: pd.DataFrame, layout: TransferLayout) -> list[str]:
    """Sentences that compare each method with random rankings.

    cells: results/evaluation/table1.csv or table2.csv, with the p-values `{metric}_p` and `{metric}_p_worse` of random
    rankings that are as good, and as bad.
    """
    if cells.empty:
        return ["No target is in the means, so no method was compared."]
    blocks = cells["cell"].map(layout.cells) + " " + cells["model"]
    return [sentence for _, sentence in sentences_by_method(cells, blocks, METRICS)]


def direct_sentences(direct: pd.DataFrame) -> list[str]:
    """Sentences on direct scores and the majority baseline, one per model, with the targets that were left out.

    direct: results/evaluation/lm_direct.csv.
    """
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
