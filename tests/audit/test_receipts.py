"""Receipts: a chain in which every edit, exchange and gap is noticed."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from support.audited_run import MODEL, PLANTED, Run

from fute.artifacts import content_key
from fute.audit.findings import AuditError, Cause, Report, Verdict
from fute.audit.manifest import MANIFEST, manifest_json
from fute.audit.paths import ResultsFolder
from fute.audit.publish.receipts import RECEIPTS, audited, check_receipts, read_receipts, write_receipt

GOOD = {"command": "verify", "exit_code": 0, "counts": {"identical": 9}, "facts": {}}


@pytest.fixture
def chained(run: Run) -> Run:
    """A run with three receipts."""
    for count in (1, 2, 3):
        write_receipt(
            ResultsFolder(run / "results"), run / MANIFEST, [audited(GOOD | {"counts": {"identical": count}})]
        )
    return run


def check(run: Run) -> Report:
    return check_receipts(ResultsFolder(run / "results"), run / MANIFEST)


def file(run: Run, number: int) -> Path:
    return run / f"{RECEIPTS}/{number:04}.json"


def edit(path: Path, change: Callable[[dict], object], *, forged: bool = False) -> None:
    """Change a receipt; forged: with a hash of its own that fits again."""
    body = json.loads(path.read_text())
    change(body)
    if forged:
        body["sha256"] = content_key({key: value for key, value in body.items() if key != "sha256"})
    path.write_text(json.dumps(body))


def test_a_good_chain(chained: Run):
    report = check(chained)
    assert report.exit_code == 0 and report.counts() == {"identical": 3}
    receipts = read_receipts(ResultsFolder(chained / "results"))
    assert [each.number for each in receipts] == [1, 2, 3]
    assert [each.previous for each in receipts] == [None, receipts[0].sha256, receipts[1].sha256]
    assert {each.root for each in receipts} == {chained.manifest.root}
    assert report.facts["last"] == receipts[2].sha256
    assert receipts[0].versions.keys() == {"fute", "python", "snakemake"}


def test_any_character_that_is_changed_is_noticed(chained: Run):
    for number in (1, 2, 3):
        path = file(chained, number)
        text = path.read_text()
        for at, character in enumerate(text.rstrip("\n")):
            path.write_text(text[:at] + ("b" if character == "a" else "a") + text[at + 1 :])
            report = check(chained)
            assert report.exit_code == 1, (number, at, character)
            assert report.findings[0].artifact.endswith(path.name)
        path.write_text(text)
    assert check(chained).exit_code == 0


def test_a_forged_receipt_breaks_the_chain_behind_it(chained: Run):
    edit(file(chained, 2), lambda body: body["audits"][0].update(exit_code=1), forged=True)
    (finding,) = check(chained).findings
    assert finding.artifact == f"{RECEIPTS}/0003.json" and "follows" in finding.message
    with pytest.raises(AuditError, match="chain is broken"):
        write_receipt(ResultsFolder(chained / "results"), chained / MANIFEST, [audited(GOOD)])


def test_exchanged_and_missing_receipts(chained: Run):
    one, two = file(chained, 1), file(chained, 2)
    texts = one.read_text(), two.read_text()
    one.write_text(texts[1]), two.write_text(texts[0])
    messages = " ".join(finding.message for finding in check(chained).findings)
    assert "0001.json: is receipt 2: files were exchanged" in messages and "0002.json: is receipt 1" in messages
    one.write_text(texts[0]), two.unlink()
    (finding,) = check(chained).findings
    assert finding.verdict is Verdict.DRIFTED
    assert finding.message.startswith(f"{RECEIPTS}/0002.json: is missing from the chain")
    two.write_text(texts[1]), one.unlink()
    assert check(chained).findings[0].message.startswith(f"{RECEIPTS}/0001.json: is missing from the chain")


def test_time_that_runs_backwards(chained: Run):
    edit(file(chained, 3), lambda body: body.update(time="2001-01-01T00:00:00+00:00"), forged=True)
    assert "older than the one before it" in check(chained).findings[0].message


def test_a_clock_behind_the_last_receipt_adds_none(chained: Run):
    edit(file(chained, 3), lambda body: body.update(time="2090-01-01T00:00:00+00:00"), forged=True)
    with pytest.raises(
        AuditError, match=r"0003\.json: is of 2090-01-01T00:00:00\+00:00, and it is .*set this machine's"
    ):
        write_receipt(ResultsFolder(chained / "results"), chained / MANIFEST, [audited(GOOD)])
    assert not file(chained, 4).exists() and check(chained).exit_code == 0


def test_another_manifest_needs_another_receipt(chained: Run):
    other = chained.manifest.model_copy(update={"targets": ["data", "labels"]})
    (chained / MANIFEST).write_text(manifest_json(other))
    (finding,) = check(chained).findings
    assert (finding.verdict, finding.cause) == (Verdict.UNVERIFIED, Cause.RECORD) and check(chained).exit_code == 2
    assert check(chained).counts() == {"identical": 3, "unverified": 1}
    write_receipt(ResultsFolder(chained / "results"), chained / MANIFEST, [audited(GOOD)])
    assert check(chained).exit_code == 0


def test_no_receipt_and_no_manifest(run: Run, chained: Run):
    shutil.rmtree(chained / RECEIPTS)
    assert check(chained).exit_code == 2 and "no receipt" in check(chained).findings[0].message


def test_a_strange_file_among_the_receipts_is_named(chained: Run):
    (chained / RECEIPTS / "10.json").write_text("{}")
    with pytest.raises(AuditError, match=r"10\.json: is no name of a receipt"):
        check(chained)


@pytest.mark.parametrize(
    "report",
    [{}, {"command": "verify"}, GOOD | {"exit_code": 7}, GOOD | {"facts": []}, GOOD | {"counts": {"x": 1e999}}],
)
def test_what_is_no_report_is_refused(report: dict):
    with pytest.raises(AuditError, match="no report of fute audit"):
        audited(report)


def test_a_report_of_other_results_is_refused(run: Run):
    other = audited(GOOD | {"facts": {"root": "0" * 64}})
    with pytest.raises(AuditError, match="of the root 000000000000"):
        write_receipt(ResultsFolder(run / "results"), run / MANIFEST, [other])
    assert not (run / RECEIPTS).exists()


def test_the_command(made: Run, run: Run, tmp_path: Path):
    results = ["--results", str(run / "results")]
    report = tmp_path / "diff.json"
    report.write_text(made.audit("diff", str(made / MANIFEST), str(made / MANIFEST), "--json").stdout)
    done = made.audit("receipt", *results, "--report", str(report))
    # the run makes no tables, so its claims have nothing to be held against
    assert done.returncode == 2, done.stdout + done.stderr
    body = json.loads(file(run, 1).read_text())
    assert [(each["command"], each["exit_code"]) for each in body["audits"]] == [
        ("verify", 0),
        ("claims", 2),
        ("diff", 0),
    ]
    assert body["root"] == made.manifest.root and body["sha256"] in done.stdout
    assert made.audit("receipt", "--check", *results).returncode == 0
    weights = run / f"results/models/{MODEL}/model.safetensors"
    weights.write_bytes(b"x" + weights.read_bytes()[1:])
    done = made.audit("receipt", "--json", *results)
    assert done.returncode == 1 and done.stdout == file(run, 2).read_text()
    assert json.loads(done.stdout)["audits"][0]["counts"]["drifted"] == 1
    checked = made.audit("receipt", "--check", "--json", *results)
    assert checked.returncode == 0 and json.loads(checked.stdout)["counts"] == {"identical": 2}
    text = file(run, 1).read_text() + file(run, 2).read_text()
    assert [word for word in (*PLANTED.values(), str(made.folder.parent)) if word in text] == []


def write_one(folder: Path, start: Event) -> str:
    """What became of a receipt that is written when all writers are ready: empty, or the error."""
    start.wait()
    try:
        write_receipt(ResultsFolder(folder / "results"), folder / MANIFEST, [audited(GOOD)])
    except AuditError as error:
        return str(error)
    return ""


def test_receipts_written_at_once_are_all_kept(run: Run):
    forked = multiprocessing.get_context("fork")
    with forked.Manager() as manager, ProcessPoolExecutor(8, mp_context=forked) as pool:
        start = manager.Event()
        writers = [pool.submit(write_one, run.folder, start) for _ in range(8)]
        start.set()
        errors = [error for writer in writers if (error := writer.result())]
    written = 8 - len(errors)
    assert all("another audit wrote it meanwhile" in error for error in errors)
    assert len(list((run / RECEIPTS).iterdir())) == written >= 1
    report = check(run)
    assert report.exit_code == 0 and report.counts() == {"identical": written}
