"""The audit page: what it says, and that it is one file of sound HTML that needs nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.audit_tables import METHODS, list_run
from support.audited_run import MODEL, PLANTED, Run

from fute.audit.lineage import chain
from fute.audit.paths import ResultsFolder
from fute.audit.publish.page import render_page
from fute.audit.publish.receipts import Audits, audited, run_audits, write_receipt

VOID = {"meta", "img", "br", "link", "input"}
FILES = Path("results/audit/manifest.json"), Path("resources/claims.yaml")


class Page(HTMLParser):
    """Text and structure of a page; raises AssertionError where a tag is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.links += [value for name in ("src", "href", "srcset", "action") if (value := named.get(name))]
        if identity := named.get("id"):
            self.ids.append(identity)
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
            assert tag == "td" or named.get("scope"), "a heading of a table must say what it is the heading of"
        assert tag not in ("script", "link", "iframe", "object", "base"), tag
        assert not [name for name in named if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and self.open[-1] in ("th", "td", "strong"):
            self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(page: str) -> Page:
    """A page, checked to stand alone."""
    found = Page(page)
    assert all(link.startswith("#") and link[1:] in found.ids for link in found.links), found.links
    assert not re.search(r"@import|url\(", page)
    assert found.headings[0] == "h1" and set(found.headings[1:]) == {"h2"} and len(found.ids) == len(set(found.ids))
    assert '<html lang="en">' in page and "<title>" in page
    assert page.count("<table>") == page.count("<caption>") == len(found.tables)
    return found


@pytest.fixture
def audits(checkout: Path) -> Audits:
    """A run with Table 3, audited, as current folder."""
    list_run("<b>&made</b>")
    return run_audits(ResultsFolder(Path("results")), *FILES)


def row(page: Page, name: str) -> list[str]:
    (found,) = [cells for table in page.tables for cells in table if cells[0] == name]
    return found[1:]


def test_what_the_page_says(audits: Audits):
    results = ResultsFolder(Path("results"))
    write_receipt(results, FILES[0], [audited(report) for report in audits.as_json()])
    page = read(render_page(audits, results))
    assert audits.manifest.root in page.text and "Audit of <b>&made</b>" in page.text
    assert row(page, "evaluation") == ["3", "0", "0", "0", "0"] and row(page, "All") == ["6", "0", "0", "0", "0"]
    cells = 3 * 2 * len(METHODS)
    passed = audits.claims.counts("reproduction")["PASS"]
    assert passed >= 5 * cells
    assert row(page, "our run reproduces itself")[:2] == [str(passed), "0"]
    assert row(page, "our run agrees with the publication")[1] == "0"
    digest = audits.manifest.entries["results/evaluation/table3.csv"].sha256
    assert ["table3 (csv, md, tex)", "selection, similarities", "3"] in [r[:3] for t in page.tables for r in t]
    assert ["selection", "outside the workflow", "1", digest[:16]] in [r for t in page.tables for r in t]
    assert row(page, "1")[1] == "verify good, claims incomplete"
    assert "Everything that was checked is as recorded." in page.text
    assert "NOT APPLICABLE: paper.table3" in page.text


def test_drift_is_said_at_the_top_and_by_name(audits: Audits):
    path = Path("results/paper/tables/table3.csv")
    path.write_text(path.read_text().replace("MI", "IM"))
    again = run_audits(ResultsFolder(Path("results")), *FILES)
    text = render_page(again, ResultsFolder(Path("results")))
    assert 'role="note">Something drifted' in text
    page = read(text)
    assert row(page, "drifted") == ["1"]
    assert f"drifted (content): {path}: its bytes are not those that were recorded" in page.text
    assert f"FAIL: table3: {path}: its bytes are not those of the manifest" in page.text


def test_a_broken_chain_of_receipts_and_a_moved_record_are_said(audits: Audits):
    results = ResultsFolder(Path("results"))
    _, path = write_receipt(results, FILES[0], [])
    path.write_text(path.read_text().replace("2", "3", 1))
    side = Path("results/evaluation/table3.csv.prov.json")
    side.write_text(side.read_text() + " ")
    page = read(render_page(audits, results))
    assert "The chain is broken: results/audit/receipts/0001.json" in page.text
    assert (
        "Not added up: results/evaluation/table3.csv.prov.json: is not the sidecar that the manifest lists" in page.text
    )


def test_exchanged_receipts_are_no_chain(audits: Audits):
    results = ResultsFolder(Path("results"))
    one, two = (write_receipt(results, FILES[0], [])[1] for _ in range(2))
    texts = one.read_text(), two.read_text()
    one.write_text(texts[1]), two.write_text(texts[0])
    assert (
        "The chain is broken: results/audit/receipts/0001.json: is receipt 2" in read(render_page(audits, results)).text
    )


def test_the_chain_of_an_artifact(made: Run):
    manifest = made.manifest
    train = "results/data/mini-films/train.jsonl.gz"
    links = chain(manifest, [train], manifest.downstream_order())
    assert [(link.rule, link.artifacts) for link in links] == [("normalise_train", 1), ("normalise_test", 2)]
    assert links[0].hash == manifest.entries[train].sha256
    assert links[0].made_from == ("normalise_test", "outside the workflow")


def test_the_command(made: Run, run: Run, tmp_path: Path):
    output = tmp_path / "audit.html"
    done = made.audit("page", "--results", str(run / "results"), "--output", str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    text = output.read_text(encoding="utf8")
    page = read(text)
    assert "This run made no tables and no figures." in page.text
    (fetched,) = [cells for table in page.tables for cells in table if cells[0] == "fetch_model"]
    assert fetched[1] == "1" and MODEL not in fetched
    assert [word for word in (*PLANTED.values(), str(made.folder.parent)) if word in text] == []
