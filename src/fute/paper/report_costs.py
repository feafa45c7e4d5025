"""The section of the report on what embeddings cost, and what asking every prompt would have."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from fute.paper.efficiency import CALLS, COSTS, EMBEDDINGS
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


def cost_section(anchor: str, title: str, pages: Mapping[str, pd.DataFrame]) -> Section:
    """The section of the page. pages: its tables, as `fute.paper.efficiency.as_pages` lays them out."""
    return Section(anchor, title, tables=[table_grid(page, _CAPTIONS[name]) for name, page in pages.items()])
