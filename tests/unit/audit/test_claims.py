"""Claims are compared with what the manifest lists, and with nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.audit_tables import list_run
from support.large_run import write_artifact

from fute.artifacts import content_key
from fute.audit.claims.check import ClaimReport, Outcome, check_claims
from fute.audit.claims.file import Claims
from fute.audit.claims.sources import Project
from fute.audit.findings import AuditError
from fute.audit.manifest import Manifest
from fute.audit.paths import ResultsFolder

TABLE = "results/evaluation/x.csv"


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.chdir(tmp_path)
    Path(TABLE).parent.mkdir(parents=True)
    write_artifact(Path(), TABLE, b"n\n3\n")
    return list_run()


def check(manifest: Manifest, said: str, **shown: str) -> ClaimReport:
    claim = {"id": "a", "kind": "reproduction", "about": "x", "said": {"value": said}, "shown": shown}
    claims = Claims.model_validate({"claims": [claim]})
    return check_claims(claims.of(()), Project(ResultsFolder(Path("results")), manifest))


@pytest.mark.parametrize("forged", [False, True])
def test_a_number_of_an_edited_record_fails(manifest: Manifest, forged: bool):
    shown = {"file": f"{TABLE}.prov.json", "pointer": "/record/size"}
    assert check(manifest, "4", **shown).exit_code == 0
    side = json.loads(Path(f"{TABLE}.prov.json").read_text())
    side["run"]["wall_s"] = 9
    Path(f"{TABLE}.prov.json").write_text(json.dumps(side))
    assert check(manifest, "4", **shown).exit_code == 0, "facts of the run are no evidence"
    side["record"]["size"] = 5
    if forged:
        side["record_sha256"] = content_key(side["record"])
    Path(f"{TABLE}.prov.json").write_text(json.dumps(side))
    (answer,) = check(manifest, "5", **shown).answers
    assert answer.outcome is Outcome.FAIL and "not those of the manifest" in answer.why


def test_a_file_that_the_manifest_does_not_list_proves_nothing(manifest: Manifest):
    assert check(manifest, "3", file=TABLE, column="n").exit_code == 0
    (answer,) = check(manifest.model_copy(update={"entries": {}}), "3", file=TABLE, column="n").answers
    assert answer.outcome is Outcome.INCONCLUSIVE and f"{TABLE} is not in the manifest" in answer.why


@pytest.mark.parametrize("table", [b"n,m\n3\n", b"n,n\n3,4\n", b""], ids=["short", "twice", "empty"])
def test_a_table_that_is_no_regular_one_answers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: bytes):
    monkeypatch.chdir(tmp_path)
    Path(TABLE).parent.mkdir(parents=True)
    write_artifact(Path(), TABLE, table)
    for column in ("n", "m"):
        (answer,) = check(list_run(), "3", file=TABLE, column=column).answers
        assert answer.outcome is Outcome.INCONCLUSIVE and f"{TABLE} cannot be read as a table" in answer.why


def test_a_row_of_a_page_that_lacks_a_cell_is_named(manifest: Manifest):
    Path("page.md").write_text("| a | n |\n| --- | ---: |\n| x | 3 |\n| y |\n")
    said = {"file": "page.md", "keys": {"a": "key"}, "columns": "n"}
    claim = {"id": "a", "kind": "reproduction", "about": "x", "said": said, "shown": {"file": TABLE, "column": "n"}}
    claims = Claims.model_validate({"claims": [claim]})
    with pytest.raises(AuditError, match=r"page\.md:4: the row has 1 cells under 2 headings"):
        check_claims(claims.of(()), Project(ResultsFolder(Path("results")), manifest))
