"""Write Table 3 in the paper's layout."""

from __future__ import annotations

from pathlib import Path

from fute.artifacts import Step
from fute.config.sections import Section
from fute.csv_files import read_table
from fute.paper.formats import to_csv, to_latex, to_markdown
from fute.paper.similarity_warnings import table_note
from fute.paper.table3 import interval_frame, p_value_frame, table3_frame


class TableSettings(Section):
    """title, caption: from resources/captions.yaml. note: line for a small run, else empty.

    categories: id and name of each, in the order of the table.
    """

    title: str
    caption: str
    note: str = ""
    categories: tuple[tuple[str, str], ...]


def table3(settings: TableSettings, *, cells: Path, similarities: Path, csv: Path, markdown: Path, latex: Path) -> None:
    """Write Table 3 in the paper's layout as CSV, Markdown (with intervals and p-values) and LaTeX.

    cells: table3.csv of the evaluation. similarities: its similarities.csv, for the note on vectors that did not learn
    or do not exist.
    """
    ours = read_table(cells)
    titles = dict(settings.categories)
    note = table_note(settings.note, read_table(similarities), "dataset")
    frame = table3_frame(ours, titles)
    texts = {
        csv: to_csv(frame),
        markdown: to_markdown(
            frame,
            title=settings.title,
            caption=settings.caption,
            more={
                "95 % intervals": interval_frame(ours, titles),
                "p-values against random rankings": p_value_frame(ours, titles),
            },
            note=note,
        ),
        latex: to_latex(frame, caption=settings.caption, label="tab:prompt-selection", note=note),
    }
    with Step(__name__, settings=settings.model_dump(), inputs=[cells, similarities]) as step:
        for path, text in texts.items():
            step.bytes(path, text.encode())
