"""The section of the report on what embeddings cost, and what asking every prompt would have."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from fute.paper.efficiency import CALLS, COSTS, EMBEDDINGS, as_pages
from fute.paper.grids import table_grid
from fute.paper.report_parts import Section

_CAPTIONS = {
    EMBEDDINGS: "Measured wall time of an embedding, loading of the surrogate included.",
    CALLS: (
        "Calls of the LLMs and their tokens: for FUTE of the unlabelled texts with every prompt, for a baseline of the "
        "test rows with every prompt. With more datasets than stand under Even at, FUTE needs fewer."
    ),
    COSTS: (
        "The paper's count with measured seconds: an embedding of each prompt and dataset (c_o each) against each "
        "prompt asked on each dataset (c_b each). The labels of U, which the paper leaves out, stand beside it."
    ),
}


@dataclass(frozen=True)
class Costs:
    """embeddings, calls, costs: efficiency-{experiment}-{name}.csv in results/evaluation, from `embedding_times`,
    `call_counts` and `cost_table` of `fute.paper.efficiency`; calls and costs are empty where no LLM is asked."""

    embeddings: pd.DataFrame
    calls: pd.DataFrame
    costs: pd.DataFrame

    def section(self, anchor: str, title: str) -> Section:
        """The section of the page, with a table for each file that has rows."""
        pages = as_pages(self.embeddings, self.calls, self.costs)
        tables = [table_grid(page, _CAPTIONS[title]) for title, page in pages.items()]
        return Section(anchor, title, tables=tables)
