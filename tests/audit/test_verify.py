"""Changes to a finished run behind its back: which are noticed, with which verdict and cause, and which pass."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.audited_run import CONFIG, MODEL, Run

from fute.artifacts import content_key, gzip_bytes
from fute.audit.config_and_locks import IMAGES, lock_files
from fute.audit.findings import DRIFT, INCOMPLETE, OK, Cause, Report, Verdict
from fute.audit.manifest import MANIFEST, ManifestError, manifest_json
from fute.audit.paths import ResultsFolder, UnsafePath

TRAIN, TEST = "results/data/mini-films/train.jsonl.gz", "results/data/mini-films/test.jsonl.gz"
SOURCE_LOCK, MODEL_LOCK = "results/data/mini-films/source.lock.json", f"results/models/{MODEL}.lock.json"
WEIGHTS = f"results/models/{MODEL}/model.safetensors"


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def edit_record(path: Path, change: Callable[[dict], None], *, forged: bool = False) -> None:
    """Change a sidecar's record; forged: with a record_sha256 that fits again."""
    side = json.loads(path.read_text())
    change(side["record"])
    if forged:
        side["record_sha256"] = content_key(side["record"])
    path.write_text(json.dumps(side, sort_keys=True, indent=1) + "\n")


def rows(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)


def assert_only(report: Report, artifact: str, verdict: Verdict, cause: Cause) -> str:
    """This is the only finding, and its message, which is returned, names the file."""
    findings = [(f.artifact, f.verdict, f.cause) for f in report.findings]
    assert findings == [(artifact, verdict, cause)], report.findings
    message = report.findings[0].message
    assert artifact in message and report.exit_code == verdict.exit_code
    return message


def test_a_good_run_verifies(made: Run):
    report = made.verify(root=made.manifest.root)
    assert report.findings == [] and report.exit_code == OK
    # 8 artifacts, 2 files of weights, the configuration, the root
    assert report.counts() == {"identical": 8 + 2 + 2}
    assert report.checked == 12


def test_the_lock_of_the_run_is_compared_with_what_was_read(run: Run):
    lock = run / "config/locks/audit.json"
    done = run.lock()
    assert done.returncode == 0, done.stderr
    assert "config/locks/audit.json: 1 datasets, 1 U, 1 models" in done.stdout and run.verify().findings == []
    content = json.loads(lock.read_text())
    assert content["datasets"]["mini-films"]["files"].keys() == {f"mini-films/{s}.jsonl" for s in ("train", "test")}
    content["datasets"]["mini-films"]["files"]["mini-films/train.jsonl"] = "0" * 64
    lock.write_text(json.dumps(content))
    message = assert_only(run.verify(), SOURCE_LOCK, Verdict.DRIFTED, Cause.DATA)
    assert "mini-films was read as other files (mini-films/train.jsonl)" in message and "audit.json" in message
    content["models"][MODEL]["files"]["model.safetensors"] = content["models"][MODEL]["files"]["config.json"]
    del content["datasets"]["mini-films"]
    lock.write_text(json.dumps(content))
    assert_only(run.verify(), MODEL_LOCK, Verdict.DRIFTED, Cause.MODEL)
    lock.write_text("{")
    assert_only(run.verify(), "config/locks/audit.json", Verdict.DRIFTED, Cause.CONFIG)


def test_one_byte_in_any_artifact(made: Run, run: Run):
    names = [*made.manifest.entries, WEIGHTS]
    for name in names:
        flip(run / name)
        assert_only(run.verify(), name, Verdict.DRIFTED, Cause.MODEL if name == WEIGHTS else Cause.CONTENT)
        shutil.copy(made / name, run / name)
    assert run.verify().exit_code == OK


def test_a_gzip_header_is_a_byte_too(run: Run):
    flip(run / TRAIN, 9)  # the operating system, which no reader looks at
    assert_only(run.verify(), TRAIN, Verdict.DRIFTED, Cause.CONTENT)


@pytest.mark.parametrize("ending", ["", ".prov.json"])
def test_two_artifacts_of_one_kind_are_swapped(run: Run, ending: str):
    one, two = run / f"{TRAIN}{ending}", run / f"{TEST}{ending}"
    aside = one.with_name("aside")
    one.rename(aside), two.rename(one), aside.rename(two)
    report = run.verify()
    assert report.verdicts() == {TRAIN: Verdict.DRIFTED, TEST: Verdict.DRIFTED} and report.exit_code == DRIFT
    if ending:
        assert any(
            f"{TRAIN}.prov.json: is the record of {TEST}: files were exchanged" in f.message for f in report.findings
        )


def test_two_artifacts_are_swapped_with_their_sidecars(run: Run):
    for ending in ("", ".prov.json"):
        one, two = run / f"{TRAIN}{ending}", run / f"{TEST}{ending}"
        aside = one.with_name("aside")
        one.rename(aside), two.rename(one), aside.rename(two)
    report = run.verify()
    assert report.verdicts() == {TRAIN: Verdict.DRIFTED, TEST: Verdict.DRIFTED} and report.exit_code == DRIFT


@pytest.mark.parametrize("forged", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(sha256="0" * 64),
        lambda record: record["seeds"].update(sample=7),
        lambda record: record["params"].update(test_rows=11),
        lambda record: record.update(code_sha256="0" * 64),
        lambda record: record["inputs"][0].update(sha256="0" * 64),
        lambda record: record["counts"].update(rows=11),
    ],
    ids=["hash", "seed", "parameter", "code", "input", "rows"],
)
def test_a_sidecar_is_edited(run: Run, change: Callable[[dict], None], forged: bool):
    edit_record(run / f"{TEST}.prov.json", change, forged=forged)
    report = run.verify()
    assert_only(report, TEST, Verdict.DRIFTED, Cause.RECORD)
    assert ("another record" if forged else "was edited") in report.findings[0].message


def test_a_file_made_again_with_the_same_record_is_equivalent(run: Run):
    """The facts of a run (time, machine, cost) are no evidence."""
    side = run / f"{TEST}.prov.json"
    sidecar = json.loads(side.read_text())
    sidecar["run"] |= {"finished": "2030-01-01T00:00:00+00:00", "wall_s": 9.5, "cpu": "Another CPU"}
    side.write_text(json.dumps(sidecar))
    report = run.verify()
    message = assert_only(report, TEST, Verdict.EQUIVALENT, Cause.RECORD)
    assert "was made again since the manifest: the same record" in message and report.exit_code == OK
    assert report.counts() == {"identical": 10, "equivalent": 1}


def test_a_manifest_entry_that_is_not_the_records_is_drift(run: Run):
    manifest = run.manifest
    forged = manifest.entries[TEST].model_copy(update={"step": "another_step", "sidecar_sha256": "0" * 64})
    edit = {"entries": manifest.entries | {TEST: forged}}
    (run / MANIFEST).write_text(manifest_json(manifest.model_copy(update=edit)))
    assert "the manifest's entry was edited" in assert_only(run.verify(), TEST, Verdict.DRIFTED, Cause.RECORD)


def test_a_missing_file_is_reported_with_the_target_that_makes_it(run: Run):
    (run / TEST).unlink()
    message = assert_only(run.verify(), TEST, Verdict.MISSING, Cause.ABSENT)
    assert f"make it: snakemake --cores all {TEST} --configfile {CONFIG}" in message
    (run / TEST).write_bytes(b"")
    (run / WEIGHTS).unlink()
    message = next(f.message for f in run.verify().findings if f.artifact == WEIGHTS)
    assert f"delete {MODEL_LOCK} and make it: snakemake --cores all {MODEL_LOCK}" in message


def test_a_row_is_dropped_with_the_count_left(run: Run):
    (run / TEST).write_bytes(gzip_bytes("".join(rows(run / TEST)[:-1]).encode()))
    assert_only(run.verify(), TEST, Verdict.DRIFTED, Cause.CONTENT)


def test_rows_are_reordered(run: Run):
    lines = rows(run / TEST)
    (run / TEST).write_bytes(gzip_bytes("".join(lines[::-1]).encode()))
    assert_only(run.verify(), TEST, Verdict.DRIFTED, Cause.CONTENT)


def test_a_model_file_is_replaced_added_or_removed(run: Run):
    (run / WEIGHTS).write_bytes(os.urandom(4096))
    assert_only(run.verify(), WEIGHTS, Verdict.DRIFTED, Cause.MODEL)
    (run / WEIGHTS).unlink()
    assert_only(run.verify(), WEIGHTS, Verdict.MISSING, Cause.ABSENT)


def test_a_file_is_added_to_a_model(run: Run):
    extra = f"results/models/{MODEL}/adapter_model.safetensors"
    (run / extra).write_bytes(b"x")
    assert_only(run.verify(), extra, Verdict.DRIFTED, Cause.MODEL)


@pytest.mark.parametrize("lock", [SOURCE_LOCK, MODEL_LOCK])
def test_a_lock_is_replaced(run: Run, lock: str):
    value = json.loads((run / lock).read_text())
    value["source"] = {"folder": "other"}
    (run / lock).write_text(json.dumps(value, sort_keys=True, indent=1) + "\n")
    assert_only(run.verify(), lock, Verdict.DRIFTED, Cause.CONTENT)


def test_a_lock_says_what_a_replaced_model_file_is(run: Run):
    (run / WEIGHTS).write_bytes(b"other weights")
    value = json.loads((run / MODEL_LOCK).read_text())
    value["files"]["model.safetensors"]["sha256"] = "0" * 64
    (run / MODEL_LOCK).write_text(json.dumps(value))
    report = run.verify()
    assert report.verdicts() == {WEIGHTS: Verdict.DRIFTED, MODEL_LOCK: Verdict.DRIFTED}


def test_a_lock_names_a_file_elsewhere(run: Run):
    value = json.loads((run / MODEL_LOCK).read_text())
    value["files"]["../../../../secret"] = {"sha256": "0" * 64, "bytes": 1}
    (run / MODEL_LOCK).write_text(json.dumps(value))
    report = run.verify()
    assert report.verdicts() == {MODEL_LOCK: Verdict.DRIFTED} and report.exit_code == DRIFT
    with pytest.raises(UnsafePath):
        lock_files(MODEL_LOCK, ResultsFolder(run / "results"))


def test_a_manifest_that_leaves_a_model_file_out(run: Run):
    manifest = run.manifest
    (run / WEIGHTS).unlink()
    fewer = manifest.entries[MODEL_LOCK].model_copy(update={"files": {}})
    edit = {"entries": manifest.entries | {MODEL_LOCK: fewer}}
    (run / MANIFEST).write_text(manifest_json(manifest.model_copy(update=edit)))
    assert_only(run.verify(), MODEL_LOCK, Verdict.DRIFTED, Cause.MODEL)


def test_an_image_is_replaced(run: Run, made: Run):
    image = next((run / "containers").glob("*.sif"))
    image.write_bytes(b"another image")
    report = run.verify()
    assert {f.cause for f in report.findings} == {Cause.IMAGE} and report.exit_code == DRIFT
    assert set(report.verdicts()) == set(made.manifest.entries)
    assert all(image.name in f.message for f in report.findings)


def test_the_lock_of_images_is_replaced(run: Run, made: Run):
    lock = (run / IMAGES).read_text()
    (run / IMAGES).write_text(lock.replace(made.image, "0" * 64))
    report = run.verify()
    assert set(report.verdicts()) == set(made.manifest.entries) and report.exit_code == DRIFT
    assert {f.cause for f in report.findings} == {Cause.IMAGE}
    assert all("containers/lock.json" in f.message and f.artifact in f.message for f in report.findings)


def test_images_that_are_not_at_hand_are_known_by_their_hash(run: Run, made: Run):
    next((run / "containers").glob("*.sif")).unlink()
    assert run.verify().findings == []
    (run / IMAGES).unlink()
    assert run.verify().findings == []
    assert set(run.manifest.images) == {made.image}


def test_only_times_change(run: Run):
    for path in run.folder.rglob("*"):
        os.utime(path, (1, 1))
    assert run.verify().findings == []


def test_metadata_of_snakemake_is_not_needed(made: Run, run: Run):
    assert (made / ".snakemake").is_dir() and not (run / ".snakemake").exists()
    assert run.verify().findings == []


@pytest.mark.parametrize("left", [0, 1, 0.5, 0.99])
def test_a_sidecar_is_truncated(run: Run, left: float):
    side = run / f"{TEST}.prov.json"
    data = side.read_bytes()
    side.write_bytes(data[: int(left if left == 1 else left * len(data))])
    assert_only(run.verify(), TEST, Verdict.DRIFTED, Cause.RECORD)


def test_a_sidecar_or_an_artifact_is_gone(run: Run):
    (run / f"{TEST}.prov.json").unlink()
    assert_only(run.verify(), TEST, Verdict.UNVERIFIED, Cause.RECORD)
    (run / TEST).unlink()
    assert run.verify().verdicts() == {TEST: Verdict.MISSING}
    assert run.verify().exit_code == INCOMPLETE


@pytest.mark.parametrize(
    "text",
    ['{"record": NaN}', '{"record": {}}', "[" * 100_000, "null", '{"record": {"params": "\\ud800"}}', "\x00", "[1]"],
    ids=["NaN", "empty", "deep", "null", "surrogate", "zero", "list"],
)
def test_a_sidecar_that_is_no_record(run: Run, text: str):
    (run / f"{TEST}.prov.json").write_text(text)
    assert_only(run.verify(), TEST, Verdict.DRIFTED, Cause.RECORD)


def test_values_that_have_no_hash_are_no_record(run: Run):
    side = (run / f"{TEST}.prov.json").read_text()
    for value in ("NaN", '"\\ud800"'):
        (run / f"{TEST}.prov.json").write_text(side.replace('"test_rows": 12', f'"test_rows": {value}'))
        assert_only(run.verify(), TEST, Verdict.DRIFTED, Cause.RECORD)


@pytest.mark.parametrize("ending", ["", ".prov.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_something_else_than_a_file(run: Run, make: Callable[[Path], None], ending: str):
    (run / f"{TEST}{ending}").unlink()
    make(run / f"{TEST}{ending}")
    assert_only(
        run.verify(), TEST, Verdict.DRIFTED if ending else Verdict.REFUSED, Cause.RECORD if ending else Cause.PATH
    )


@pytest.mark.parametrize("name", [TEST, f"{TEST}.prov.json", WEIGHTS])
def test_a_link_leads_outside(run: Run, tmp_path: Path, name: str):
    outside = tmp_path / "outside"
    shutil.copy(run / name, outside)
    (run / name).unlink()
    (run / name).symlink_to(outside)
    artifact = name.removesuffix(".prov.json")
    assert_only(run.verify(), artifact, Verdict.REFUSED, Cause.PATH)


def test_a_folder_is_a_link_outside(run: Run, tmp_path: Path):
    (run / "results/data").rename(tmp_path / "data")
    (run / "results/data").symlink_to(tmp_path / "data")
    report = run.verify()
    assert set(report.verdicts().values()) == {Verdict.REFUSED}
    assert {f.artifact for f in report.findings} == {name for name in run.manifest.entries if "/data/" in name}


def test_a_link_inside_the_results_is_followed(run: Run):
    (run / TEST).rename(run / "results/data/kept")
    (run / TEST).symlink_to("../kept")
    assert run.verify().findings == []


@pytest.mark.parametrize(
    "name",
    ["../x", "results/../../x", "/etc/passwd", "results//x", "results/./x", "data/x", "results", "results/a\\b", ""],
)
def test_a_name_in_a_manifest_that_leads_elsewhere(run: Run, name: str):
    with pytest.raises(UnsafePath):
        ResultsFolder(run / "results").path(name)
    manifest = run.manifest
    entries = manifest.entries | {name: manifest.entries[TEST]}
    (run / MANIFEST).write_text(manifest_json(manifest.model_copy(update={"entries": entries})))
    with pytest.raises(ManifestError, match="refused"):
        _ = run.manifest


@pytest.mark.parametrize(
    "change", [lambda text: text[:-20], lambda text: text.replace("12", "13", 1), lambda text: "[]"]
)
def test_a_manifest_is_damaged(run: Run, change: Callable[[str], str]):
    (run / MANIFEST).write_text(change((run / MANIFEST).read_text()))
    with pytest.raises(ManifestError, match=r"manifest\.json: (is damaged|was edited)"):
        _ = run.manifest


def test_another_root_than_the_one_meant(run: Run):
    assert_only(run.verify(root="0" * 64), MANIFEST, Verdict.DRIFTED, Cause.CONTENT)


def test_a_setting_is_edited(run: Run):
    run.edit(CONFIG, "limit: 12", "limit: 13")
    assert_only(run.verify(), CONFIG, Verdict.DRIFTED, Cause.CONFIG)
    (run / CONFIG).unlink()
    assert_only(run.verify(), CONFIG, Verdict.DRIFTED, Cause.CONFIG)


def test_what_belongs_to_the_machine_is_no_setting(run: Run):
    with (run / CONFIG).open("a") as settings:
        settings.write("threads: 3\n")
    assert run.verify().findings == []


def test_an_input_made_again_with_the_same_bytes(run: Run):
    manifest = run.manifest
    again = manifest.entries[TEST].model_copy(update={"record_sha256": "0" * 64})
    edit = {"entries": manifest.entries | {TEST: again}}
    (run / MANIFEST).write_text(manifest_json(manifest.model_copy(update=edit)))
    findings = [f for f in run.verify().findings if f.artifact != TEST]
    assert {f.artifact for f in findings} == {
        n for n in manifest.entries if n.endswith(("train.jsonl.gz", "dev.jsonl.gz", "counts.json"))
    }
    assert {f.verdict for f in findings} == {Verdict.UPSTREAM_REDERIVED} and Verdict.UPSTREAM_REDERIVED.exit_code == OK
