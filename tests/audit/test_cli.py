"""The commands manifest and verify: exit codes, output, what the manifest lists, what is stale."""

from __future__ import annotations

import json
import shutil
import socket

import pytest
from support.audited_run import CONFIG, PLANTED, TARGETS, Run, manifest_of

from fute.artifacts import content_key
from fute.audit.findings import Verdict, worst
from fute.audit.manifest import MANIFEST, manifest_json, read_manifest

TEST, TRAIN = "results/data/mini-films/test.jsonl.gz", "results/data/mini-films/train.jsonl.gz"
OF_TRAIN = {f"results/data/mini-films/{name}" for name in ("train.jsonl.gz", "dev.jsonl.gz", "counts.json")}
OF_TEST = {TEST, "results/data/mini-films/source.lock.json"}


def artifacts(report: dict, verdict: Verdict) -> set[str]:
    return {each["artifact"] for each in report["findings"] if each["verdict"] == verdict}


# --- manifest -------------------------------------------------------------------------------------------


def test_the_manifest_lists_what_the_graph_names(made: Run):
    manifest = made.manifest
    assert {e.rule for e in manifest.entries.values()} == {
        "fetch_model",
        "normalise_test",
        "normalise_train",
        "sample_unsup",
    }
    assert set(manifest.entries) >= OF_TRAIN | OF_TEST and len(manifest.entries) == 8
    assert manifest.entries[TEST].wildcards == {"dataset": "mini-films"}
    assert manifest.missing == [] and manifest.stale == {} and manifest.unrecorded == {} and manifest.surplus == []
    order = manifest.downstream_order()
    assert sorted(order) == sorted(manifest.entries) and order.index(TEST) < order.index(TRAIN)
    assert {
        name for name, entry in manifest.entries.items() if TEST in (each.path for each in entry.inputs)
    } == OF_TRAIN


def test_the_same_results_give_the_same_manifest(made: Run, project: Run):
    manifest_of(project)
    assert (project / MANIFEST).read_bytes() == (made / MANIFEST).read_bytes()
    assert manifest_json(read_manifest(made / MANIFEST)).encode() == (made / MANIFEST).read_bytes()


def test_missing_unrecorded_and_surplus_files_are_listed(project: Run):
    (project / TRAIN).unlink()
    (project / f"{TEST}.prov.json").unlink()
    (project / "results/data/mini-films/old.csv").write_text("x")
    report = manifest_of(project, code=2)
    assert artifacts(report, Verdict.MISSING) == {TRAIN}
    assert artifacts(report, Verdict.UNVERIFIED) == {TEST}
    assert artifacts(report, Verdict.SURPLUS) == {"results/data/mini-films/old.csv"}
    assert report["counts"] == {"recorded": 6, "surplus": 1, "unverified": 1, "missing": 1}
    assert report["facts"]["run"] == "audit", "whose files they should be"
    done = project.audit("verify")
    assert done.returncode == 2 and TRAIN in done.stdout and TEST in done.stdout


def test_a_part_of_the_run_has_a_manifest_of_its_part(project: Run):
    done = project.audit("manifest", TEST, "--config", CONFIG)
    assert done.returncode == 0, done.stdout
    assert set(project.manifest.entries) == OF_TEST
    # what else was made is no part of it
    assert set(project.manifest.surplus) >= OF_TRAIN


def test_some_settings_override_those_of_the_file(project: Run):
    manifest = ("manifest", *TARGETS, "--config", CONFIG, "--settings")
    done = project.audit(*manifest, '{"data": {"root": "elsewhere"}}')
    assert done.returncode == 0, done.stdout + done.stderr
    done = project.audit(*manifest, '{"data": {"test_rows": 11}}')
    assert done.returncode == 1 and set(project.manifest.stale) == OF_TEST | OF_TRAIN


@pytest.mark.parametrize("path", ["results/../../outside", "/outside", "../outside"])
def test_a_record_that_leads_outside_is_none(project: Run, path: str):
    """With hashes that fit: the next file to look at would be outside."""
    (project.folder.parent / "outside").write_text("secret")
    side = json.loads((project / f"{TRAIN}.prov.json").read_text())
    side["record"]["inputs"][0]["path"] = path
    side["record_sha256"] = content_key(side["record"])
    (project / f"{TRAIN}.prov.json").write_text(json.dumps(side))
    report = manifest_of(project, code=2)
    assert artifacts(report, Verdict.UNVERIFIED) == {TRAIN}
    assert [path in each["message"] and "outside the project" in each["message"] for each in report["findings"]] == [
        True
    ]


def test_a_link_that_leads_outside_is_refused(project: Run):
    outside = project.folder.parent / "outside"
    (project / TRAIN).rename(outside)
    (project / TRAIN).symlink_to(outside)
    done = project.audit("manifest", *TARGETS, "--config", CONFIG)
    assert done.returncode == 1 and TRAIN in done.stderr and "leads outside" in done.stderr


@pytest.mark.parametrize(
    ("path", "old", "new", "stale", "cause"),
    [
        (CONFIG, "test_rows: 12", "test_rows: 11", OF_TEST | OF_TRAIN, "params"),
        (CONFIG, "limit: 12", "limit: 13", {"results/unsup/sa.jsonl.gz", "results/unsup/sa.counts.csv"}, "params"),
        ("src/fute/data/splits.py", '"""', '"""\nAn edit. ', OF_TEST | OF_TRAIN, "code"),
        ("src/fute/evaluation/metrics.py", '"""', '"""\nAn edit. ', set(), "code"),
    ],
    ids=["test rows", "U", "code", "code of others"],
)
def test_what_is_stale_is_what_the_workflow_would_run(
    project: Run, path: str, old: str, new: str, stale: set[str], cause: str
):
    """Held against Snakemake's own plan, which reads its metadata; the audit reads records alone."""
    edited = (project / path).read_text().replace(old, new, 1)
    (project / path).write_text(edited)
    shutil.rmtree(project / "results/audit")
    report = manifest_of(project, code=1 if stale else 0)
    found = artifacts(report, Verdict.DRIFTED)
    assert found == stale
    # what is made from something stale is stale, too
    assert {each["cause"] for each in report["findings"]} - {"upstream"} == ({cause} if stale else set())
    rules = {project.manifest.entries[name].rule for name in found}
    assert set(project.planned(*TARGETS)) - {"data"} == rules
    assert all(each["artifact"] in each["message"] for each in report["findings"])


def test_data_that_changed_is_stale(project: Run):
    source = next((project / "resources/builtin/mini-films").glob("test*"))
    lines = source.read_text().splitlines(keepends=True)
    source.write_text("".join(lines[:-1]))
    report = manifest_of(project, code=1)
    assert artifacts(report, Verdict.DRIFTED) >= OF_TEST
    assert "data" in {each["cause"] for each in report["findings"]}


# --- verify ---------------------------------------------------------------------------------------------


def test_verify_speaks_to_machines_and_people(project: Run):
    done = project.audit("verify", "--json", "--root", project.manifest.root)
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["exit_code"] == 0 and report["findings"] == []
    data = bytearray((project / TEST).read_bytes())
    data[-1] ^= 1
    (project / TEST).write_bytes(data)
    done = project.audit("verify", "--threads", "2")
    assert done.returncode == 1 and f"drifted (content)  {TEST}: its bytes are not those" in done.stdout


def test_verify_without_a_manifest_and_with_edited_code(project: Run):
    with (project / "src/fute/data/splits.py").open("a") as code:
        code.write("# edited\n")
    done = project.audit("verify", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)["findings"]
    assert {each["cause"] for each in found} == {"code"} and {each["artifact"] for each in found} >= OF_TEST
    (project / MANIFEST).unlink()
    done = project.audit("verify")
    assert done.returncode == 2 and "fute audit manifest" in done.stdout


def test_files_that_the_workflow_made_again_are_good(project: Run):
    """As after `rm -r results/evaluation` and a run: the same bytes and records, made at another time."""
    for name in OF_TRAIN:
        (project / name).unlink()
        (project / f"{name}.prov.json").unlink()
    project.run(*TARGETS)
    done = project.audit("verify", "--json")
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == 0 and {each["verdict"] for each in findings} == {"equivalent"}
    assert {each["artifact"] for each in findings} == OF_TRAIN


def test_a_lock_of_images_that_is_none(project: Run):
    (project / "containers/lock.json").write_text('{"paper": {}}')
    done = project.audit("verify")
    assert done.returncode == 1 and "drifted (image)  containers/lock.json: not a lock of images" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", "--results", "nowhere"), "nowhere is no folder"),
        (
            ("manifest", "results/nobody/makes.this", "--config", CONFIG),
            "results/nobody/makes.this is no file or phase",
        ),
        (("explain", "results/data/nobody/test.jsonl.gz", "--config", CONFIG), "is no file or phase of the run"),
        (("manifest", "nobody", "--config", CONFIG), "nobody is no file or phase of the run"),
        (("manifest", "--config", "nowhere.yaml"), "nowhere.yaml does not exist"),
        (("diff", "results", "nowhere.json"), "there is no manifest"),
    ],
)
def test_what_cannot_be_done_is_incomplete(project: Run, arguments: tuple[str, ...], said: str):
    done = project.audit(*arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_exit_codes():
    def code(*verdicts: Verdict) -> int:
        return worst(verdict.exit_code for verdict in verdicts)

    assert code() == code(Verdict.IDENTICAL, Verdict.UPSTREAM_REDERIVED, Verdict.WITHIN_TOLERANCE) == 0
    assert code(Verdict.MISSING, Verdict.IDENTICAL) == code(Verdict.UNVERIFIED) == 2
    assert code(Verdict.DRIFTED, Verdict.MISSING) == code(Verdict.REFUSED) == 1


# --- what must not be told ------------------------------------------------------------------------------


def test_nothing_of_the_machine_or_its_owner_is_told(project: Run):
    """The environment of the run holds secrets, a host and a user; the weights came from that user's folder."""
    said = [project.audit("verify", "--json").stdout, project.audit("verify").stdout]
    told = [path.read_text() for path in sorted((project / "results").rglob("*.json"))]
    assert len(told) > 10
    for text in [*said, *told, (project / MANIFEST).read_text()]:
        for hidden in (*PLANTED.values(), "planted", "/home/", "/tmp/", "/root/", "~/"):
            assert hidden not in text, text[max(0, text.find(hidden) - 200) : text.find(hidden) + 100]
        assert f'"{socket.gethostname()}' not in text
