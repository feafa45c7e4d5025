"""Claims: every number of tables, documents and paper is found, and each is held against its artifact."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from support.audit_tables import EVALUATION, METHODS, TABLES, list_run, write_tables
from support.large_run import write_artifact
from support.untied_numbers import untied
from typer.testing import CliRunner

from fute.audit.claims.check import ClaimReport, Outcome, check_claims
from fute.audit.claims.file import Claims, read_claims
from fute.audit.claims.sources import Project
from fute.audit.claims.statements import statements
from fute.audit.findings import AuditError
from fute.audit.manifest import ConfigIdentity, Manifest
from fute.audit.paths import ResultsFolder
from fute.commands import app

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = read_claims(ROOT / "resources/claims.yaml")


def check(*ids: str, name: str = "made-up", claims: Claims = CLAIMS) -> ClaimReport:
    """Claims about the results in the current folder, as they are."""
    project = Project(ResultsFolder(Path("results")), list_run(name))
    return check_claims(claims.of(ids), project)


def outcomes(report: ClaimReport) -> Counter[Outcome]:
    return Counter(answer.outcome for answer in report.answers)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf8")
    assert text.count(old) >= 1, f"{path} does not hold {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf8")


# --- every number is claimed ----------------------------------------------------------------------------


def numbers_of(path: Path) -> int:
    """Cells of a CSV file that are numbers, or the paper's `-`."""
    with path.open(encoding="utf8", newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    return sum(bool(re.fullmatch(r"-?\d+(\.\d+)?|-", cell)) for cell in cells)


@pytest.mark.parametrize("table", ["table1", "table2", "table3"])
def test_every_cell_that_the_paper_prints_is_claimed(table: str):
    path = ROOT / f"resources/paper/{table}.csv"
    claimed = [each for claim in CLAIMS.of((f"paper.{table}",)) for each in statements(claim, path)]
    assert len(claimed) == len({each.where for each in claimed}) == numbers_of(path)


def test_every_cell_of_our_table_is_claimed(checkout: Path):
    cells = len(pd.read_csv(TABLES / "table3.csv").columns[2:]) * 2 * len(METHODS)
    assert cells == numbers_of(TABLES / "table3.csv") == 3 * 2 * len(METHODS)
    report = check("table3", "table3.averages", "table3.page", "table3.intervals", "table3.p-values")
    tests = 2 * 3 * (len(METHODS) - 1)  # Random has none; Spearman has one in place of the rate
    assert Counter(a.claim for a in report.answers) == {
        "table3": cells, "table3.averages": cells, "table3.page": cells, "table3.intervals": 2 * cells,
        "table3.p-values": tests,
    }  # fmt: skip
    assert outcomes(report) == {Outcome.PASS: 5 * cells + tests}
    assert report.counts("publication") == {} and report.exit_code == 0


@pytest.mark.parametrize("name", CLAIMS.texts)
def test_every_number_of_a_document_is_claimed_or_has_a_reason(name: str):
    assert untied(name, CLAIMS, ROOT) == []


def test_a_number_that_nothing_speaks_for_is_found(checkout: Path):
    page = checkout / "docs/real-run.md"
    edit(page, "DIR holds", "A fifth of 1,234 rows is kept. DIR holds")
    assert [each.split()[1] for each in untied("docs/real-run.md", CLAIMS, checkout)] == ["1,234"]
    edit(page, "CB 56", "CB few")
    with pytest.raises(AuditError, match=r"CB 56.*matches nothing"):
        untied("docs/real-run.md", CLAIMS, checkout)


# --- our run reproduces itself --------------------------------------------------------------------------


def test_a_number_of_the_table_that_is_not_the_evaluations_fails(checkout: Path):
    frame = pd.read_csv(TABLES / "table3.csv", dtype=str)
    was = frame.loc[1, "small-lm_rate"]
    frame.loc[1, "small-lm_rate"] = f"{float(was) + 0.1:.1f}"
    frame.to_csv(TABLES / "table3.csv", index=False)
    side = json.loads(Path(f"{TABLES}/table3.csv.prov.json").read_text())
    manifest = list_run()
    # the record says other bytes: the artifact is not believed at all
    report = check_claims(CLAIMS.of(("table3",)), Project(ResultsFolder(Path("results")), manifest))
    assert outcomes(report) == {Outcome.FAIL: 1} and "not those of the manifest" in report.answers[0].why
    assert side["record"]["artifact"] == report.answers[0].where
    # a table that no record speaks for is compared: one cell is wrong
    Path(f"{TABLES}/table3.csv.prov.json").unlink()
    project = Project(ResultsFolder(Path("results")), without(manifest, "table3.csv"))
    report = check_claims(CLAIMS.of(("table3", "table3.averages")), project)
    failed = [answer for answer in report.answers if answer.outcome is Outcome.FAIL]
    assert [answer.where for answer in failed] == ["results/paper/tables/table3.csv:3 SA SPELL, small-lm_rate"] * 2
    assert failed[0].said == frame.loc[1, "small-lm_rate"] and abs(float(failed[0].found) - float(was)) < 0.05
    assert report.exit_code == 1


def without(manifest, ending: str):
    """The manifest as it is after a table lost its record."""
    lost = [name for name in manifest.entries if name.endswith(f"tables/{ending}")]
    entries = {name: entry for name, entry in manifest.entries.items() if name not in lost}
    return manifest.model_copy(update={"entries": entries, "unrecorded": dict.fromkeys(lost, "has no record")})


@pytest.mark.parametrize(
    ("said", "found", "good"),
    [
        ("12.3", "12.349999", True), ("12.3", "12.251", True), ("12.3", "12.36", False), ("12", "12.5", True),
        ("12", "12.51", False), ("1,440", "1440", True), ("6.7e-05", "6.718e-05", True), ("6.7e-05", "6.76e-05", False),
        ("3.4e+03", "3444", True), ("-0.3", "-0.324", True), ("-0.3", "0.324", False), ("", "", True), ("-", "", True),
        ("12.3", "", False), ("", "12.3", False), (">= 5", ">= 5", True), (">= 5", ">= 50", False),
        ("12.3", "nan", False),
    ],
)  # fmt: skip
def test_a_number_is_the_artifacts_rounded_as_printed(tmp_path: Path, monkeypatch, said: str, found: str, good: bool):
    monkeypatch.chdir(tmp_path)
    Path("results/evaluation").mkdir(parents=True)
    pd.DataFrame({"key": ["a"], "value": [said]}).to_csv("said.csv", index=False)
    pd.DataFrame({"key": ["a", "b"], "value": [found, "7"]}).to_csv("found.csv", index=False)
    report = check(claims=one_claim({"file": "found.csv", "where": {"key": "{key}"}, "column": "value"}))
    assert [answer.outcome for answer in report.answers] == [Outcome.PASS if good else Outcome.FAIL]


def one_claim(shown: dict, **more: object) -> Claims:
    said = {"file": "said.csv", "keys": {"key": "key"}, "columns": "value"}
    claim = {"id": "one", "kind": "reproduction", "about": "one number", "said": said, "shown": shown}
    return Claims.model_validate({"claims": [claim | more]})


def test_scales_shares_and_reductions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("results/audit").mkdir(parents=True)
    pd.DataFrame({"seconds": [90, 54], "load": [1, 1]}).to_csv("found.csv", index=False)
    pd.DataFrame({"key": ["a"], "value": ["1.2"]}).to_csv("said.csv", index=False)
    minutes = {"file": "found.csv", "column": "seconds", "reduce": "mean", "scale": 1 / 60}
    for shown, more, outcome in (
        (minutes, {}, Outcome.PASS),
        (minutes | {"scale": 1 / 61}, {}, Outcome.PASS),
        (minutes | {"scale": 1 / 55}, {}, Outcome.FAIL),
        (minutes | {"scale": 1 / 55}, {"relative": 0.1}, Outcome.PASS),
        (minutes | {"reduce": "one"}, {}, Outcome.INCONCLUSIVE),
        ({"file": "found.csv", "column": "load", "reduce": "distinct"}, {}, Outcome.FAIL),
        ({"file": "found.csv", "column": "load", "reduce": "distinct"}, {"relative": 0.2}, Outcome.PASS),
    ):
        assert outcomes(check(claims=one_claim(shown, **more))) == {outcome: 1}, (shown, more)


def test_what_is_not_in_the_run_is_inconclusive(checkout: Path):
    report = check("table1", "real-run.table3", "demo.readme.planted")
    assert set(outcomes(report)) == {Outcome.INCONCLUSIVE} and report.exit_code == 2
    assert "results/paper/tables/table1.csv is not in this run" in report.answers[0].why
    assert any("is about the run real-small; these results are of made-up" in answer.why for answer in report.answers)


def test_the_numbers_of_a_document_are_those_of_the_run_it_names(checkout: Path):
    rows = []
    category = ""
    page = checkout / "docs/real-run.md"
    for line in page.read_text(encoding="utf8").split("## 95 %")[0].splitlines():
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[1] not in ("Method", "---"):
            category = cells[0].lower() or category
            values = dict(zip(("performance", "rate", "ndcg"), (c.replace("–", "") for c in cells[2:]), strict=True))
            rows.append({"category": category, "model": "smollm2-135m", "method": cells[1]} | values)
    for file in (EVALUATION / "table3.csv", Path(f"{EVALUATION}/table3.csv.prov.json")):
        file.unlink()
    pd.DataFrame(rows).to_csv(EVALUATION / "table3.csv", index=False)
    shutil.rmtree("results/paper")
    config = ConfigIdentity(name="real-small", file=None, sha256="0" * 64)
    unrecorded = {"results/evaluation/table3.csv": "has no record"}
    manifest = Manifest(schema=1, config=config, targets=[], entries={}, unrecorded=unrecorded)
    project = Project(ResultsFolder(Path("results")), manifest)
    report = check_claims(CLAIMS.of(("real-run.table3",)), project)
    assert outcomes(report) == {Outcome.PASS: 3 * len(rows) - 2}  # the mean over prompts has no ranking
    edit(page, "| 47.9 | 77.4 |", "| 48.0 | 77.4 |")
    report = check_claims(CLAIMS.of(("real-run.table3",)), project)
    (failed,) = [answer for answer in report.answers if answer.outcome is Outcome.FAIL]
    assert re.fullmatch(r"docs/real-run\.md:\d+ SA MI, smollm2-135m Performance", failed.where)
    assert (failed.said, failed.found) == ("48.0", "47.9")


# --- our run agrees with the publication ----------------------------------------------------------------


def test_a_run_without_the_papers_models_is_no_evidence(checkout: Path):
    report = check("paper.table3")
    assert outcomes(report) == {Outcome.NOT_APPLICABLE: 180} and report.exit_code == 0
    assert any("models differ" in answer.why and "small-lm" in answer.why for answer in report.answers)
    assert report.counts("reproduction") == {}


def test_a_printed_number_agrees_where_it_lies_in_our_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "resources", tmp_path / "resources")
    write_tables("llama-2-13b")
    printed = pd.read_csv("resources/paper/table3.csv", dtype=str).set_index(["category", "method"])
    ours = pd.read_csv(EVALUATION / "table3.csv").set_index(["category", "method"])
    expected: Counter[Outcome] = Counter()
    for (category, method), row in printed.iterrows():
        for name in ("performance", "rate", "ndcg"):
            if (category.lower(), method) in ours.index:
                mean = float(ours.loc[(category.lower(), method), name])
                good = abs(float(row[f"llama2_13b_{name}"]) - mean) <= 5.05
                expected[Outcome.PASS if good else Outcome.FAIL] += 1
            else:
                expected[Outcome.INCONCLUSIVE] += 1
    assert min(expected.values()) > 0
    report = check("paper.table3")
    found = Counter(a.outcome for a in report.answers if "llama2_13b" in a.where)
    assert found == expected
    others = {a.outcome for a in report.answers if "llama2_13b" not in a.where}
    assert others == {Outcome.NOT_APPLICABLE}
    assert report.exit_code == 1


def test_cells_that_cannot_be_right_as_printed_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "resources", tmp_path / "resources")
    write_tables("mixtral-8x7b")
    report = check("paper.table3")
    suspect = [answer.where for answer in report.answers if answer.why == "cannot be right as printed"]
    assert len(suspect) == 4 and sum("mixtral_8x7b_rate" in where for where in suspect) == 2


# --- the command ----------------------------------------------------------------------------------------


def test_exit_codes_and_output(checkout: Path):
    list_run()
    runner = CliRunner()
    good = runner.invoke(app, ["audit", "claims", "table3", "table3.averages"])
    assert good.exit_code == 0 and f"our run reproduces itself: {6 * 2 * len(METHODS)} PASS" in good.output
    assert "our run agrees with the publication: nothing to check" in good.output
    assert runner.invoke(app, ["audit", "claims", "table1"]).exit_code == 2
    edit(TABLES / "table3.csv", ",", ";")
    bad = runner.invoke(app, ["audit", "claims", "table3", "--json"])
    report = json.loads(bad.output)
    assert bad.exit_code == report["exit_code"] == 1
    assert report["counts"]["reproduction"] == {"FAIL": 1}
    with pytest.raises(AuditError, match="there is no claim table9; choose from"):
        runner.invoke(app, ["audit", "claims", "table9"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("kind: reproduction", "kind: guess", "claims.0.kind"),
        ("- id: table3\n", "- id: table3\n    sort: x\n", "claims.0.sort"),
        ("- id: table3.averages", "- id: table3", "two claims have the id table3"),
        ("(?P<model>.+)_(?P<metric>perf", "(?P<model>.+)_((?P<metric>perf", "no regular expression"),
        ('      column: "{metric}"\n      reduce: mean', "      pointer: /x\n      column: x", "either columns"),
    ],
)  # fmt: skip
def test_a_bad_claims_file_is_refused_by_name(tmp_path: Path, old: str, new: str, problem: str):
    path = tmp_path / "claims.yaml"
    shutil.copy(ROOT / "resources/claims.yaml", path)
    edit(path, old, new)
    with pytest.raises(AuditError, match=re.escape(problem)) as error:
        read_claims(path)
    assert str(path) in str(error.value)


ONE = """
claims:
- {{id: a, kind: reproduction, about: x, said: {{value: '3'}}, shown: {{file: {file}, {place}}}}}
"""


@pytest.mark.parametrize(
    ("file", "place"),
    [("results/x.csv", "column: n"), ("results/x.yaml", "pointer: /a"), ("results/x.json", "pointer: /a")],
)
def test_an_artifact_of_another_kind_answers_nothing(checkout: Path, file: str, place: str):
    write_artifact(Path(), file, b"\x1f\x8b\xff")
    Path("claims.yaml").write_text(ONE.format(file=file, place=place))
    report = check(claims=read_claims(Path("claims.yaml")))
    assert outcomes(report) == {Outcome.INCONCLUSIVE: 1} and file in report.answers[0].why


def test_a_template_with_a_field_that_nothing_fills_is_named(checkout: Path):
    Path("claims.yaml").write_text(ONE.format(file="'results/{model}.csv'", place="column: n"))
    with pytest.raises(AuditError, match=r"'results/\{model\}.csv' needs a field that the paper: x does not fill"):
        check(claims=read_claims(Path("claims.yaml")))


def test_a_claims_file_that_is_no_text_is_refused_by_name(tmp_path: Path):
    (tmp_path / "claims.yaml").write_bytes(b"\xff")
    with pytest.raises(AuditError, match=r"claims\.yaml: 'utf-8' codec"):
        read_claims(tmp_path / "claims.yaml")
