"""What stands at the top of the audit page."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.audit_tables import list_run
from support.large_run import write_artifact

from fute.audit.claims.check import Answer, ClaimReport, Outcome
from fute.audit.findings import Report
from fute.audit.paths import ResultsFolder
from fute.audit.publish.page import render_page
from fute.audit.publish.receipts import Audits


@pytest.mark.parametrize("kind", ["reproduction", "publication"])
def test_a_wrong_number_of_our_own_stands_at_the_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    monkeypatch.chdir(tmp_path)
    Path("results/evaluation").mkdir(parents=True)
    write_artifact(Path(), "results/evaluation/x.csv", b"n\n3\n")
    manifest = list_run()
    claims = ClaimReport("made-up", manifest.root, [Answer("a", kind, "README.md:3", Outcome.FAIL, "3", "4")])
    audits = Audits(manifest, Report("verify", 1, facts={"MB": 0.1, "seconds": 1.0}), claims)
    page = render_page(audits, ResultsFolder(Path("results")))
    assert ('role="note">Numbers that are not those of their artifacts: 1.' in page) == (kind == "reproduction")
