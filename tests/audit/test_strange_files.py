"""What a stranger's folder may hold that no run writes: odd names, odd JSON, unusable paths.

Each ends with a verdict that names the file and the exit code for it, never with a trace of the program.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.audited_run import CONFIG, MODEL, TARGETS, Run

from fute.artifacts import content_key, sha256_file
from fute.audit.config_and_locks import IMAGES
from fute.audit.findings import DRIFT, Cause, Report, Verdict, printable
from fute.audit.manifest import MANIFEST, ManifestError, manifest_json
from fute.audit.paths import ResultsFolder
from fute.audit.verify import verify_folder

TEST, TRAIN = "results/data/mini-films/test.jsonl.gz", "results/data/mini-films/train.jsonl.gz"
SIDE = f"{TEST}.prov.json"
LOCK = f"results/models/{MODEL}.lock.json"


@pytest.fixture
def project(clone: Run) -> Run:
    return clone


def audit(run: Run, command: str, *arguments: str) -> tuple[int, str]:
    """Exit code and all that was said, by a command that planned the run's targets if it plans any."""
    planned = (*TARGETS, "--config", CONFIG) if command in ("manifest", "adopt") else ()
    done = run.audit(command, *planned, *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def verified(run: Run, monkeypatch: pytest.MonkeyPatch) -> Report:
    """As `fute audit verify` finds it in the run's folder; whatever it says is one line for any terminal."""
    monkeypatch.chdir(run.folder)
    report = verify_folder(ResultsFolder(Path("results")), Path(MANIFEST))
    assert all(found.message.isprintable() and found.artifact.isprintable() for found in report.findings)
    return report


def one(report: Report, artifact: str, verdict: Verdict, cause: Cause) -> str:
    """The message of the only finding, which is this one."""
    assert [(f.artifact, f.verdict, f.cause) for f in report.findings] == [(artifact, verdict, cause)], report.findings
    assert artifact in report.findings[0].message
    return report.findings[0].message


def edit(path: Path, change: Callable[[dict], object]) -> None:
    """Change a sidecar, with a record_sha256 that fits again."""
    side = json.loads(path.read_text())
    change(side)
    side["record_sha256"] = content_key(side["record"])
    path.write_text(json.dumps(side, sort_keys=True, indent=1) + "\n")


def edit_manifest(run: Run, **changes: object) -> None:
    """Change parts of the manifest, with hashes that fit again."""
    (run / MANIFEST).write_text(manifest_json(run.manifest.model_copy(update=changes)))


# --- names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"bad\xff.csv", "bad?.csv"),
        (b"a\\b", "a?b"),
        (b"a\nidentical", "a identical"),
        (b"\x1b[2Jgone", "?[2Jgone"),
        ("größe 1.csv".encode(), "größe 1.csv"),
    ],
    ids=["bytes", "backslash", "line", "escape", "words"],
)
def test_a_file_of_any_name_is_surplus_and_no_more(project: Run, name: bytes, said: str):
    with open(os.fsencode(project / "results/data") + b"/" + name, "wb"):
        pass
    code, told = audit(project, "manifest")
    assert code == 0 and f"surplus (path)  results/data/{said}: " in told and "\x1b[2J" not in told
    assert project.manifest.surplus == [f"results/data/{said}"]
    assert audit(project, "verify")[0] == 0


def test_a_file_of_any_name_in_a_models_folder_is_drift(run: Run):
    with open(os.fsencode(run / f"results/models/{MODEL}") + b"/bad\xff.bin", "wb"):
        pass
    one(run.verify(), f"results/models/{MODEL}/bad?.bin", Verdict.DRIFTED, Cause.MODEL)


def test_a_linked_folder_in_a_models_folder_is_drift(run: Run):
    (run / f"results/models/{MODEL}/adapter").symlink_to("../../data")
    one(run.verify(), f"results/models/{MODEL}/adapter", Verdict.DRIFTED, Cause.MODEL)


@pytest.mark.parametrize("name", ["results/" + "a" * 256, "results/a\nb", "results/\x1b[2J", "results/x\x00"])
@pytest.mark.parametrize("part", ["entries", "missing", "stale", "surplus"])
def test_a_manifest_with_a_name_that_no_artifact_has_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, part: str
):
    manifest = run.manifest
    value = {"entries": manifest.entries | {name: manifest.entries[TEST]}, "stale": {name: ["code: fute.x ..."]}}
    edit_manifest(run, **{part: value.get(part, [name])})
    one(verified(run, monkeypatch), MANIFEST, Verdict.REFUSED, Cause.RECORD)


def test_words_of_a_manifest_forge_no_line(run: Run, monkeypatch: pytest.MonkeyPatch):
    edit_manifest(run, unrecorded={"results/x": "\x1b[2J\x1b[H\nverify: 12 identical"})
    assert [f.message for f in verified(run, monkeypatch).findings] == ["?[2J?[H verify: 12 identical"]
    assert printable("a\nb\x07\udcff é") == "a b?? é"


# --- records --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"wall_s": ', '"python": NaN, "x": '),
        lambda text: text.replace('"wall_s": ', '"cpu": "\\ud800", "x": '),
        lambda text: text.replace('"wall_s": ', '"wall_s": 1e400, "x": '),
        lambda text: text.replace('"wall_s": ', '"wall_s": "long", "x": '),
        lambda text: text.replace('"cpu_s": ', '"cpu_s": null, "x": '),
        lambda text: text.replace('"record": {', '"record": {"step": "other", ', 1),
        lambda text: text.replace('"run": {', '"run": {}, "run": {', 1),
    ],
    ids=["NaN", "surrogate", "infinite", "words for seconds", "null for seconds", "a field twice", "a block twice"],
)
def test_a_sidecar_whose_facts_cannot_be_used(project: Run, change: Callable[[str], str]):
    text = (project / SIDE).read_text()
    assert change(text) != text
    (project / SIDE).write_text(change(text))
    one(project.verify(), TEST, Verdict.DRIFTED, Cause.RECORD)
    code, told = audit(project, "manifest")
    assert code == 2 and f"unverified (record)  {SIDE}: is" in told


@pytest.mark.parametrize("path", ["results/a\\b", "results/x\0", "results//x", "results/" + "a" * 256])
def test_a_record_with_an_input_that_no_artifact_is(project: Run, path: str):
    edit(project / SIDE, lambda side: side["record"]["inputs"].append({"path": path, "sha256": "0" * 64}))
    code, told = audit(project, "manifest")
    assert code == 2 and f"unverified (record)  {SIDE}: is no record of this version: record.inputs" in told


def test_a_record_of_another_artifact_is_none(project: Run):
    shutil.copy(project / f"{TRAIN}.prov.json", project / SIDE)
    code, told = audit(project, "manifest")
    assert code == 2 and f"{SIDE}: is the record of {TRAIN}: files were exchanged" in told
    assert TEST in project.manifest.unrecorded and TEST not in project.manifest.entries


@pytest.mark.parametrize("ending", ["", ".prov.json"])
def test_what_cannot_be_read_is_unverified(run: Run, ending: str):
    path = run / f"{TEST}{ending}"
    path.unlink()
    path.symlink_to(path.name)  # a link to itself
    message = one(run.verify(), TEST, Verdict.UNVERIFIED, Cause.RECORD if ending else Cause.CONTENT)
    assert "cannot be read: Too many levels of symbolic links" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda entry: entry.pop("file"), "not a lock of images"),
        (lambda entry: entry.update(file=3), "not a lock of images"),
        (lambda entry: entry.update(file="../../../etc/passwd"), "puts elsewhere (../../../etc/passwd)"),
    ],
)
def test_a_lock_of_images_that_cannot_be_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict], object], said: str
):
    lock = json.loads((run / IMAGES).read_text())
    for entry in lock["images"].values():
        change(entry)
    (run / IMAGES).write_text(json.dumps(lock))
    report = verified(run, monkeypatch)
    assert {f.cause for f in report.findings} == {Cause.IMAGE} and report.exit_code == DRIFT
    assert all(said in f.message and "containers/lock.json" in f.message for f in report.findings)


def test_a_lock_a_record_and_a_manifest_that_agree_on_a_file_elsewhere(run: Run):
    value = json.loads((run / LOCK).read_text())
    value["files"]["../../../secret"] = {"sha256": "0" * 64, "bytes": 1}
    (run / LOCK).write_text(json.dumps(value))
    digest = sha256_file(run / LOCK)
    edit(run / f"{LOCK}.prov.json", lambda side: side["record"].update(sha256=digest))
    record = json.loads((run / f"{LOCK}.prov.json").read_text())["record_sha256"]
    change = {"sha256": digest, "record_sha256": record, "sidecar_sha256": sha256_file(run / f"{LOCK}.prov.json")}
    entries = run.manifest.entries
    edit_manifest(run, entries=entries | {LOCK: entries[LOCK].model_copy(update=change)})
    assert "holds '..'" in one(run.verify(), LOCK, Verdict.DRIFTED, Cause.MODEL)


def test_a_reason_without_a_cause_is_no_manifest(run: Run):
    edit_manifest(run, stale={TEST: ["nonsense"]})
    with pytest.raises(ManifestError, match=r"manifest\.json: is damaged: stale"):
        _ = run.manifest


# --- inputs that came and went --------------------------------------------------------------------------


def test_an_input_that_the_plan_has_and_the_record_has_not(project: Run):
    """As after a setting that lets a job read more: stale for all commands, and not adopted."""
    side = project / f"{TRAIN}.prov.json"
    edit(side, lambda s: s["record"].update(inputs=[i for i in s["record"]["inputs"] if i["path"] != TEST]))
    said = f"{TRAIN}: is stale: config: {TEST} was no input, and is one"
    code, told = audit(project, "manifest")
    assert code == 1 and f"drifted (config)  {said}" in told
    code, told = audit(project, "verify")
    assert code == 1 and f"drifted (config)  {said}" in told
    code, told = audit(project, "adopt")
    assert code == 1 and said in told and "adopted 5" in told
    # its rule makes three files, of which one is named
    assert project.planned(*TARGETS)["normalise_train"] == 1


# --- paths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", "--manifest", "results"), "results: cannot be read: Is a directory"),
        (("manifest", "data", "--config", CONFIG, "--output", "results"), "results: Is a directory"),
        (("manifest", "--config", "README.md"), "cannot be planned"),
        (("manifest", "--settings", "{"), "not JSON"),
        (("manifest", "--settings", "[]"), "not a JSON object"),
        (("manifest", "--settings", "nowhere.json"), "nowhere.json: No such file"),
        (("diff", "results", "src"), "there is no manifest"),
        (("export", "--output", "README.md"), "README.md: Not a directory"),
        (("export", "--output", "src"), "src is not empty"),
        (("page", "--output", "src"), "src: Is a directory"),
        (("explain", "", "--config", CONFIG), "an empty name is no target"),
        (("rerun", "--budget", "0", "--config", CONFIG), "4 of 4 jobs are over the budget of 0 s"),
        (("rerun", "--scratch", "results/mine", "--config", CONFIG), "results/mine lies in results/"),
        (("receipt", "--report", "nowhere.json"), "nowhere.json: No such file or directory; give what another audit"),
        (("receipt", "--report", "README.md"), "README.md: is no report of fute audit; print one with --json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_path_that_cannot_be_used_is_one_line(project: Run, arguments: tuple[str, ...], said: str):
    done = project.audit(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert said in done.stdout + done.stderr


def test_a_changed_artifact_is_no_export_but_drift(project: Run):
    (project / TEST).write_bytes(b"")
    code, told = audit(project, "export", "--output", "crate")
    assert code == 1 and f"{TEST}: its bytes are not those of the manifest" in told
