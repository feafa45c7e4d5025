"""Write Table 1 or 2 in the paper's layout, our numbers above the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from fute.artifacts import Step
from fute.config.sections import Section
from fute.csv_files import read_table
from fute.paper.cells import base_method
from fute.paper.formats import to_csv, to_latex, to_markdown
from fute.paper.similarity_warnings import table_note
from fute.paper.transfer_tables import (
    LAYOUTS,
    above_paper,
    p_values,
    per_target,
    per_target_caption,
    read_printed,
    transfer_frame,
    transfer_intervals,
)
from fute.paper.transfer_verdicts import direct_sentences, transfer_sentences

_LABELS = {"table1": "tab:transferability", "table2": "tab:domain-targets"}


class TransferTableSettings(Section):
    """title, caption: from resources/captions.yaml. note: line for a small run, else empty."""

    table: Literal["table1", "table2"]
    title: str
    caption: str
    note: str = ""


def _listed(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def transfer_table(
    settings: TransferTableSettings, *, cells: Path, targets: Path, direct: Path, similarities: Path,
    printed: Path, csv: Path, markdown: Path, latex: Path,
) -> None:  # fmt: skip
    """Write Table 1 or 2 in the paper's layout, our numbers above the paper's.

    cells, targets, direct: files of the evaluation. similarities: lm_similarities.csv there, for the note on vectors
    that did not learn or do not exist. printed: resources/paper/table1.csv or table2.csv. The Markdown
    page also has the intervals, the p-values, one sentence per method, the table of single targets and the direct
    scores. The LaTeX file also has the table of single targets, without variants of methods.
    """
    ours, single = read_table(cells), read_table(targets)
    layout = LAYOUTS[settings.table].of(ours)
    note = table_note(settings.note, read_table(similarities), "target")
    frame = above_paper(transfer_frame(ours, layout), read_printed(printed, layout))
    appendix = per_target(single, LAYOUTS[settings.table])
    more = {
        "95 % intervals": transfer_intervals(ours, layout),
        "p-values against random rankings": p_values(ours, layout),
        "Single targets": appendix,
    }
    page = [
        to_markdown(frame, title=settings.title, caption=settings.caption, note=note, more=more).rstrip(),
        per_target_caption(appendix),
        "## What it shows",
        _listed(transfer_sentences(ours, layout)),
        "## Direct scores",
        _listed(direct_sentences(read_table(direct))),
    ]
    texts = {
        csv: to_csv(frame, layout.column_names),
        markdown: "\n\n".join(page) + "\n",
        latex: _latex(settings, frame, appendix, note),
    }
    inputs = [cells, targets, direct, similarities]
    with Step(__name__, settings=settings.model_dump(), inputs=[*inputs, printed]) as step:
        for path, text in texts.items():
            step.bytes(path, text.encode())


def _latex(settings: TransferTableSettings, frame: pd.DataFrame, appendix: pd.DataFrame, note: str) -> str:
    """The table, and that of single targets without variants of methods, which do not fit on a page."""
    label = _LABELS[settings.table]
    narrow = appendix[[column for column in appendix if base_method(column[0]) == column[0]]]
    caption = f"{settings.title}, single targets. {per_target_caption(narrow)}"
    return to_latex(frame, caption=settings.caption, label=label, note=note) + to_latex(
        narrow, dense=True, caption=caption, label=f"{label}-targets", note=note
    )
