"""Batches are called by what they hold; a run with another prompt has another batch, and the prompt is the cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from fute.artifacts import Step
from fute.audit.diff import Side, diff
from fute.audit.findings import Cause, Verdict
from fute.audit.manifest import MANIFEST, ConfigIdentity, Manifest, entry_of, environment_key, write_manifest
from fute.audit.paths import ResultsFolder
from fute.audit.sidecars import read_sidecar

MODULE = "fute.display_names"
LABELS = "results/labels/m/{}/sa.jsonl.gz"


def made(folder: Path, monkeypatch: pytest.MonkeyPatch, batch: str, templates: dict[str, str]) -> Side:
    """A run that labels some prompts in one batch, takes each prompt's labels out, and counts them."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    whole = Path(f"results/labels/m/batches/{batch}.jsonl.gz")
    prompts = {name: {"template": text, "cot": False} for name, text in templates.items()}
    spec = {"prompts": prompts, "labels": [{"key": f"{name}-{text}"} for name, text in templates.items()]}
    with Step(MODULE, settings=spec) as step:
        step.jsonl(whole, [{"prompt": name, "said": text} for name, text in templates.items()])
        step.bytes(whole.with_name(f"{batch}.keys"), batch.encode())
    for name, text in templates.items():
        with Step(MODULE, settings={"key": f"{name}-{text}"}, inputs=[whole]) as step:
            step.jsonl(Path(LABELS.format(name)), [{"said": text}])
    inputs = [Path(LABELS.format(name)) for name in templates]
    with Step(MODULE, settings={}, inputs=inputs) as step:
        step.json(Path("results/evaluation/table3.csv"), templates)
    results, entries, environments = ResultsFolder(Path("results")), {}, {}
    for name in results.names():
        sidecar, digest = read_sidecar(results.sidecar(name))
        entries[name] = entry_of(sidecar, digest, files={}, wildcards={})
        environments[environment_key(sidecar)] = sidecar.environment()
    config = ConfigIdentity(name="small", file=None, sha256="0" * 64)
    manifest = Manifest(schema=1, config=config, targets=[], entries=entries, environments=environments)
    write_manifest(manifest, folder / MANIFEST)
    return Side(folder / "results")


def test_an_edited_prompt_is_the_first_divergent_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = made(tmp_path / "a", monkeypatch, "aaaa", {"sa-1": "Good?", "sa-7": "Is it?"})
    second = made(tmp_path / "b", monkeypatch, "bbbb", {"sa-1": "Good?", "sa-7": "Was it?"})
    report = diff(first, second)
    batch, labels, table = (
        "results/labels/m/batches/bbbb.jsonl.gz",
        LABELS.format("sa-7"),
        "results/evaluation/table3.csv",
    )
    assert report.facts["first divergent"] == [batch]
    findings = {(f.artifact, f.cause): f.message for f in report.findings}
    assert set(findings) == {
        (batch, Cause.PARAMS), (labels, Cause.UPSTREAM), (table, Cause.UPSTREAM), (LABELS.format("sa-1"), Cause.RECORD),
    }  # fmt: skip
    assert 'prompts.sa-7.template "Is it?", then "Was it?"' in findings[batch, Cause.PARAMS]
    for name in (labels, table):
        assert findings[name, Cause.UPSTREAM].endswith(f"first divergent: {batch}")
    assert report.verdicts()[LABELS.format("sa-1")] == Verdict.UPSTREAM_REDERIVED
    assert report.exit_code == 1


def test_another_prompt_changes_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = made(tmp_path / "a", monkeypatch, "aaaa", {"sa-1": "Good?"})
    second = made(tmp_path / "b", monkeypatch, "bbbb", {"sa-1": "Good?", "sa-7": "Is it?"})
    report = diff(first, second)
    said = {f.artifact: (f.verdict, f.message) for f in report.findings}
    assert said[LABELS.format("sa-7")][1].endswith("only in the second")
    assert said[LABELS.format("sa-1")][0] == Verdict.UPSTREAM_REDERIVED
    assert (
        "holds other cells than results/labels/m/batches/aaaa.jsonl.gz"
        in said["results/labels/m/batches/bbbb.jsonl.gz"][1]
    )


def test_equal_batches_are_found_again_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs = [made(tmp_path / name, monkeypatch, "aaaa", {"sa-1": "Good?"}) for name in ("a", "b")]
    assert diff(*runs).findings == []
