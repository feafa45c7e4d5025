"""Causes of differences between two runs; a batch is compared with the one that held the same artifact."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.audit_tables import list_run
from support.audited_run import CONFIG, MODEL, TARGETS, Run, manifest_of

from fute.artifacts import Step
from fute.audit.diff import Side, diff
from fute.audit.findings import Cause, Verdict, print_report
from fute.audit.manifest import MANIFEST, manifest_json

TEST = "results/data/mini-films/test.jsonl.gz"
OF_TEST = {TEST, "results/data/mini-films/source.lock.json"}
LABELS = "results/labels/m/{}/sa.jsonl.gz"


def run_of_prompts(folder: Path, monkeypatch: pytest.MonkeyPatch, batch: str, templates: dict[str, str]) -> Side:
    """A run that labels some prompts in one batch, takes each prompt's labels out, and counts them."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    whole = Path(f"results/labels/m/batches/{batch}.jsonl.gz")
    prompts = {name: {"template": text, "cot": False} for name, text in templates.items()}
    spec = {"prompts": prompts, "labels": [{"key": f"{name}-{text}"} for name, text in templates.items()]}
    with Step("fute.llm.label_batch_step", settings=spec) as step:
        step.jsonl(whole, [{"prompt": name, "said": text} for name, text in templates.items()])
        step.bytes(whole.with_name(f"{batch}.keys"), batch.encode())
    for name, text in templates.items():
        with Step("fute.llm.extract_labels_step", settings={"key": f"{name}-{text}"}, inputs=[whole]) as step:
            step.jsonl(Path(LABELS.format(name)), [{"said": text}])
    inputs = [Path(LABELS.format(name)) for name in templates]
    with Step("fute.evaluation.selection_step", settings={}, inputs=inputs) as step:
        step.json(Path("results/evaluation/table3.csv"), templates)
    list_run()
    return Side(folder / "results")


def test_an_edited_prompt_is_the_first_divergent_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    first = run_of_prompts(tmp_path / "a", monkeypatch, "aaaa", {"sa-1": "Good?", "sa-7": "Is it?"})
    second = run_of_prompts(tmp_path / "b", monkeypatch, "bbbb", {"sa-1": "Good?", "sa-7": "Was it?"})
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
    print_report(report, json=False)
    assert capsys.readouterr().out.endswith(f"; first divergent {batch}\n")
    print_report(diff(first, first), json=False)
    assert capsys.readouterr().out == "diff: 5 identical\n"


def test_another_prompt_changes_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = run_of_prompts(tmp_path / "a", monkeypatch, "aaaa", {"sa-1": "Good?"})
    second = run_of_prompts(tmp_path / "b", monkeypatch, "bbbb", {"sa-1": "Good?", "sa-7": "Is it?"})
    report = diff(first, second)
    said = {f.artifact: (f.verdict, f.message) for f in report.findings}
    assert said[LABELS.format("sa-7")][1].endswith("only in the second run")
    assert said[LABELS.format("sa-1")][0] == Verdict.UPSTREAM_REDERIVED
    assert (
        "holds other cells than results/labels/m/batches/aaaa.jsonl.gz"
        in said["results/labels/m/batches/bbbb.jsonl.gz"][1]
    )


def test_equal_batches_are_found_again_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs = [run_of_prompts(tmp_path / name, monkeypatch, "aaaa", {"sa-1": "Good?"}) for name in ("a", "b")]
    assert diff(*runs).findings == []


# --- runs of the light steps ---------------------------------------------------------------------------


def remade(project: Run) -> Run:
    project.run(*TARGETS)
    manifest_of(project)
    return project


def test_a_run_does_not_differ_from_itself(made: Run, project: Run):
    done = project.audit("diff", str(made / "results"), "results", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["counts"] == {"identical": 8} and report["findings"] == []


def test_a_parameter_is_the_cause_and_what_follows_is_traced_to_it(made: Run, project: Run):
    project.edit(CONFIG, "test_rows: 12", "test_rows: 11")
    report = diff(Side(made / "results"), Side(remade(project) / MANIFEST))
    first = [f for f in report.findings if f.artifact == TEST]
    assert report.findings[0].artifact == TEST and report.facts["first divergent"][0] == TEST
    assert {f.cause for f in first} == {Cause.PARAMS} and "test_rows 12, then 11" in first[0].message
    assert report.exit_code == 1
    unsup = "results/unsup/sa.jsonl.gz"
    assert unsup not in report.verdicts()


def test_other_weights_are_another_model(made: Run, project: Run, tmp_path: Path):
    """The same code, data and names, other random weights."""
    lock = f"results/models/{MODEL}.lock.json"
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text('{"model_type": "none"}')
    (weights / "model.safetensors").write_bytes(os.urandom(4096))
    project.edit("config/models.yaml", str(made.folder.parent / "planteduser" / "weights"), str(weights))
    (project / lock).unlink()
    report = diff(Side(made / "results"), Side(remade(project) / "results"))
    assert report.facts["first divergent"] == [lock]
    assert {(f.artifact, f.cause) for f in report.findings} == {(lock, Cause.MODEL)}
    assert "model.safetensors" in report.findings[0].message


def test_edited_code_that_changes_nothing_is_rederived(made: Run, project: Run):
    with (project / "src/fute/data/splits.py").open("a") as code:
        code.write("# edited\n")
    report = diff(Side(made / "results"), Side(remade(project) / "results"))
    assert set(report.verdicts().values()) == {Verdict.UPSTREAM_REDERIVED} and report.exit_code == 0
    assert set(report.verdicts()) >= OF_TEST


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        ("cpu", "Another CPU", Cause.HARDWARE),
        ("packages", {"torch": "1.0"}, Cause.SOFTWARE),
        (None, None, Cause.NONDETERMINISM),
    ],
)
def test_bytes_that_differ_with_equal_records_are_the_machines_or_chance(
    made: Run, run: Run, field: str | None, value: object, cause: Cause
):
    """Two manifests as two machines would have written them: the bytes of one file differ, its making does not."""
    manifest = run.manifest
    entry, environments = manifest.entries[TEST], dict(manifest.environments)
    changes: dict[str, object] = {"sha256": "1" * 64, "semantic_sha256": "2" * 64, "record_sha256": "3" * 64}
    if field:
        environments["other"] = environments[entry.environment] | {field: value}
        changes["environment"] = "other"
    edit = {"entries": manifest.entries | {TEST: entry.model_copy(update=changes)}, "environments": environments}
    (run / MANIFEST).write_text(manifest_json(manifest.model_copy(update=edit)))
    report = diff(Side(made / "results"), Side(run / MANIFEST))
    assert [(f.artifact, f.verdict, f.cause) for f in report.findings] == [(TEST, Verdict.DRIFTED, cause)]


def test_another_compression_is_equivalent(made: Run, run: Run):
    manifest = run.manifest
    other = manifest.entries[TEST].model_copy(update={"sha256": "1" * 64, "record_sha256": "3" * 64})
    edit = {"entries": manifest.entries | {TEST: other}}
    (run / MANIFEST).write_text(manifest_json(manifest.model_copy(update=edit)))
    report = diff(Side(made / "results"), Side(run / MANIFEST))
    assert report.verdicts() == {TEST: Verdict.EQUIVALENT} and report.exit_code == 0
