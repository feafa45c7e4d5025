"""Sections of the language-model experiment: Tables 1 and 2, direct scores, Figures 3 and A1, costs of vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from fute.evaluation.transfer import TRUE_ORDER
from fute.paper.cells import best_cells
from fute.paper.grids import list_grid, table_grid
from fute.paper.interactive_map import Map
from fute.paper.planted import COLUMNS, planted_cells
from fute.paper.report_costs import cost_section
from fute.paper.report_maps import lm_maps
from fute.paper.report_parts import ReportFigure, Section
from fute.paper.similarity_warnings import similarity_warnings
from fute.paper.transfer_tables import (
    LAYOUTS,
    LEFT_OUT,
    LEFT_OUT_NOTE,
    TransferLayout,
    above_paper,
    p_values,
    per_target,
    per_target_caption,
    transfer_frame,
    transfer_intervals,
)
from fute.paper.transfer_verdicts import transfer_sentences

_DIRECT_LABELS = {
    "target": "Target",
    "direct": "Direct",
    "majority": "Majority baseline",
    "best_transferred": "Best after transfer",
    "best_source": "Best source",
}


@dataclass(frozen=True)
class TransferTable:
    """Table 1 or 2. cells: its file in results/evaluation. printed: the paper's table, from `read_printed`."""

    layout: TransferLayout
    title: str
    caption: str
    cells: pd.DataFrame
    printed: pd.DataFrame

    @property
    def anchor(self) -> str:
        """Its key in `LAYOUTS`, and in the page's links."""
        return self.layout.name.replace(" ", "")


@dataclass(frozen=True)
class LmResults:
    """Results of the language-model experiment for the page.

    tables: Table 1, and Table 2 if the run has domain targets. targets, direct: lm_targets.csv and lm_direct.csv in
    results/evaluation, in percent. similarities, coordinates: lm_similarities.csv and lm_coordinates.csv there.
    planted: planted.csv there, None for a run without planted tests. costs: title -> table, from `efficiency.as_pages`.
    """

    tables: Sequence[TransferTable]
    targets: pd.DataFrame
    direct: pd.DataFrame
    similarities: pd.DataFrame
    costs: Mapping[str, pd.DataFrame]
    figures: Sequence[ReportFigure]
    planted: pd.DataFrame | None = None
    planted_figures: Sequence[ReportFigure] = ()
    coordinates: pd.DataFrame = field(default_factory=pd.DataFrame)

    def maps(self) -> list[Map]:
        """Maps of the fine-tuned models; none without coordinates."""
        return [] if self.coordinates.empty else list(lm_maps(self.coordinates, self.similarities, self.direct))


def lm_sections(results: LmResults) -> list[Section]:
    """Sections of the experiment, in order."""
    warnings = similarity_warnings(results.similarities, "target")
    return [
        *(section for table in results.tables for section in _table_sections(table, results.targets)),
        _direct_section(results.direct),
        *([Section("lm-similarities", "Similarities that cannot be trusted", warnings)] if warnings else []),
        Section("lm-figures", "Figures 3 and A1", figures=results.figures),
        cost_section("lm-efficiency", "What the embeddings cost", results.costs),
    ]


def planted_sections(results: LmResults) -> list[Section]:
    """The section on the planted tests of the run; none without such tests."""
    if results.planted is None:
        return []
    cells = pd.DataFrame(planted_cells(results.planted), columns=COLUMNS)
    text = (
        "Black boxes were made whose right order is known. A method passes where chance does as well in at most 5 % of "
        "all orders. What a method does not find here, its other rankings do not show either."
    )
    grid = list_grid(
        cells,
        "Tests with planted black boxes.",
        name="Method",
        groups=["Test"],
        labels={name: name for name in COLUMNS[1:]},
    )
    title = "Is an order found that is there?"
    return [Section("planted", title, [text], tables=[grid], figures=results.planted_figures)]


def _table_sections(table: TransferTable, targets: pd.DataFrame) -> list[Section]:
    frame = above_paper(transfer_frame(table.cells, table.layout), table.printed)
    intervals = transfer_intervals(table.cells, table.layout).reindex(frame.index, fill_value="")
    texts = [
        "Under each value of this run stands its 95 % bootstrap interval over targets. The paper's numbers stand below "
        "as printed, for the eye only: nothing is subtracted. With few targets and sources a random ranking is often "
        "good, too: read each row beside Random, and its p-value, the share of random permutations of the sources, the "
        "same for all targets, that do at least as well."
    ]
    if (table.cells["method"] == TRUE_ORDER).any():
        texts.append(
            "The true order of the sources, estimated from how far the seeds of fine-tuning agree, is what no method "
            "can be expected to exceed."
        )
    name = table.layout.name.capitalize()
    single = per_target(targets, LAYOUTS[table.anchor])
    return [
        Section(
            table.anchor,
            table.title,
            texts,
            tables=[
                table_grid(frame, table.caption, small=intervals, strong=best_cells(frame)),
                table_grid(p_values(table.cells, table.layout), f"{name}: p-values against random rankings."),
            ],
        ),
        Section(
            f"{table.anchor}-reading", f"What {name} shows", sentences=transfer_sentences(table.cells, table.layout)
        ),
        Section(
            f"{table.anchor}-targets",
            f"{name}, target by target",
            tables=[table_grid(single, per_target_caption(single))],
        ),
    ]


def _direct_section(direct: pd.DataFrame) -> Section:
    marks = direct["counted"].map(lambda counted: "" if counted else f" {LEFT_OUT}")
    caption = "Scores without transfer, and the best after transfer, in percent."
    grid = list_grid(
        direct.assign(target=direct["target"] + marks),
        caption if direct["counted"].all() else f"{caption} {LEFT_OUT_NOTE}",
        name="target",
        groups=["model"],
        labels=_DIRECT_LABELS,
    )
    return Section("direct", "Direct scores beside the majority baseline", tables=[grid])
