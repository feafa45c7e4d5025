"""The section of the report on rows that were read and left out."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from support.html_page import Page
from support.synthetic_report import synthetic_context

from fute.paper.report import render_report
from fute.paper.report_data import MOST_PROBLEMS, data_section, unsup_section

QQP = {
    "train": {"kept": 2998, "raw": 3000, "in_own_test": 3, "excluded": 4, "unusable": ["row 7: <b>", "row 9"]},
    "dev": {"kept": 0},
    "test": {"kept": 100, "raw": 120, "unlabelled": 20},
}  # fmt: skip


def cells(section) -> list[list[str]]:
    (grid,) = section.tables
    return [[row.name, *(cell.text for cell in row.cells)] for group in grid.groups for row in group.rows]


def test_rows_are_counted_by_dataset():
    (section,) = data_section({"qqp": QQP, "films": {"train": {"kept": 60}, "test": {"kept": 40}}})
    assert cells(section) == [["qqp", "2,998", "0", "100", "20", "7", "2"], ["films", "60", "0", "40", "0", "0", "0"]]
    assert section.texts == [
        "Rows of which nothing can be made were left out.", "qqp, train: row 7: <b>", "qqp, train: row 9"
    ]  # fmt: skip


def test_many_unusable_rows_are_cut_and_the_cut_is_said():
    many = {"train": {"kept": 1, "unusable": [f"row {i}" for i in range(30)]}}
    (section,) = data_section({"a": many})
    assert len(section.texts) == 1 + MOST_PROBLEMS and "The first 20 of 30 are:" in section.texts[0]


def test_nothing_left_out_says_nothing():
    (section,) = data_section({"films": {"train": {"kept": 60}, "test": {"kept": 40}}})
    assert section.texts == []
    assert data_section({}) == []


@pytest.mark.parametrize("counts", [{}, {"qqp": QQP}])
def test_the_page_has_the_section_escaped(tmp_path, counts):
    html = render_report(replace(synthetic_context(tmp_path), counts=counts))
    assert ("Rows that were read" in Page(html).headings) == bool(counts)
    assert "<b>" not in html


def unsup_counts(**lines: int) -> pd.DataFrame:
    """Three scripts of which the paper has 1,000, 250 and none, with these lines here."""
    rows = [{"script": script, "lines": lines[script], "capped": min(lines[script], 1000)} for script in lines]
    return pd.DataFrame(rows).assign(paper=[1000, 250, 0])


def test_scripts_that_u_lacks_are_named_beside_the_papers_texts(tmp_path):
    lm, sa = unsup_counts(emo=0, superglue_cb=250, imdb=0), unsup_counts(emo=1200, superglue_cb=250, imdb=0)
    (section,) = unsup_section({"lm": lm, "sa": sa})
    assert section.texts == [
        "U for lm lacks 1 of the paper's 2 scripts: emo. The rest give 250 texts, in the paper all give 1,250."
    ]
    html = render_report(replace(synthetic_context(tmp_path), unsup={"lm": lm, "sa": sa}))
    assert Page(html).headings[2] == "U is not the paper's"


def test_a_u_with_all_scripts_says_nothing():
    assert unsup_section({"sa": unsup_counts(emo=1000, superglue_cb=250, imdb=0)}) == []
    assert unsup_section({}) == []
