"""The audit of whole runs: it finds them complete, sees every byte, and calls stale what Snakemake would run again."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from support.checkouts import Checkout, audit, copied

pytestmark = pytest.mark.workflow

MANIFEST = "results/audit/manifest.json"


def audited(run: Checkout) -> dict:
    """What the phase `audit` verified; it leaves nothing to do."""
    run.run("audit")
    assert run.planned("audit") == {}
    return json.loads((run / "results/audit/verify.json").read_text())


@pytest.fixture(scope="module")
def checked(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    run = copied(finished, tmp_path_factory.mktemp("audited") / "project")
    report = audited(run)
    assert report["findings"] == [] and report["counts"] == {"identical": report["checked"]}
    return run


def test_the_phase_finds_the_run_complete(checked: Checkout):
    manifest = json.loads((checked / MANIFEST).read_text())
    for gap in ("missing", "unrecorded", "stale"):
        assert gap not in manifest
    made = {path for path in checked.hashes() if not path.startswith("results/audit/")}
    listed = {*manifest["entries"], *manifest.get("surplus", [])}
    assert made <= listed
    assert any("/batches/" in name and name.endswith(".zip") for name in manifest["entries"])


def test_a_cluster_makes_the_manifest_where_snakemake_runs(checked: Checkout, tmp_path: Path):
    """It is no job of SLURM, and needs no number of cores, which only runs on one machine are given."""
    run = copied(checked, tmp_path / "project")
    (run / MANIFEST).unlink()
    line = ["python", "-m", "snakemake", "--configfile", run.config, "--executor", "slurm", "--jobs", "1"]
    line += ["--slurm-init-seconds-before-status-checks", "1", MANIFEST]
    done = subprocess.run(line, cwd=run.folder, env=run.environment(), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (run / MANIFEST).read_bytes() == (checked / MANIFEST).read_bytes()


def test_the_default_targets_have_the_same_root(checked: Checkout):
    code, report = audit(checked, "manifest", "--config", checked.config, "--output", "elsewhere.json")
    assert code == 0
    assert report["facts"]["root"] == json.loads((checked / MANIFEST).read_text())["root"]


def test_a_byte_in_every_artifact_at_once(checked: Checkout, tmp_path: Path):
    run = copied(checked, tmp_path / "project")
    shutil.rmtree(run / ".snakemake")
    entries = json.loads((run / MANIFEST).read_text())["entries"]
    for name in entries:
        data = bytearray((run / name).read_bytes())
        data[len(data) // 2] ^= 1
        (run / name).write_bytes(data)
    code, report = audit(run, "verify")
    assert code == 1
    assert {each["artifact"] for each in report["findings"] if each["cause"] == "content"} == set(entries)


def test_an_edited_prompt_is_stale_where_the_workflow_would_run_and_good_afterwards(checked: Checkout, tmp_path: Path):
    run = copied(checked, tmp_path / "project")
    path = run / "config/prompts/sa.yaml"
    text = path.read_text(encoding="utf8")
    at = text.index("{text}", text.index("number: 7"))
    path.write_text(f"{text[:at]}Text: {text[at:]}", encoding="utf8")
    planned = run.planned()
    assert audit(run, "manifest", "--config", run.config)[0] == 1
    manifest = json.loads((run / MANIFEST).read_text())
    rules = {manifest["entries"][name]["rule"] for name in manifest["stale"]}
    assert manifest["missing"] and all("/batches/" in name for name in manifest["missing"])
    assert rules | {"label_batch", "embed_batch"} == set(planned)
    stale = {name for name in manifest["stale"] if "/sa-" in name}
    assert stale and all("/sa-7" in name for name in stale)
    run.run()
    # the first batches still serve the other prompts, though one file they were made from is another now
    again = {each["artifact"]: each["verdict"] for each in audited(run)["findings"]}
    assert set(again.values()) == {"upstream re-derived"} and all("/batches/" in name for name in again)
