"""The exported crate: accepted by the community's validator, true to the run, without secrets."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from rocrate_validator.models import Severity
from support.audited_run import CONFIG, MODEL, PLANTED, Run
from support.checkouts import say
from support.crate_validator import read_metadata, validate

from fute.audit.findings import AuditError
from fute.audit.lineage import RecordMoved, executions
from fute.audit.manifest import Manifest, write_manifest
from fute.audit.paths import ResultsFolder
from fute.audit.publish.ro_crate import export_crate

TEST, TRAIN = "results/data/mini-films/test.jsonl.gz", "results/data/mini-films/train.jsonl.gz"
METADATA = "ro-crate-metadata.json"


@pytest.fixture(scope="module")
def crate(made: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crate of the run, written by the command."""
    folder = tmp_path_factory.mktemp("crate") / "out"
    done = made.audit("export", "--output", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "export: 4 executions" in done.stdout and "hand them on" not in done.stdout
    return folder


def test_settings_of_no_file_of_the_project_are_named(made: Run, tmp_path: Path):
    config = made.manifest.config.model_copy(update={"file": None})
    path = tmp_path / "manifest.json"
    write_manifest(made.manifest.model_copy(update={"config": config}), path)
    done = made.audit("export", "--manifest", str(path), "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the settings of audit are no file of the project, so they are not in it; hand them on, too" in done.stdout


def export(made: Run, run: Run, folder: Path, manifest: Manifest | None = None) -> int:
    """Export a copy's results with the checkout of the run."""
    with contextlib.chdir(made.folder):
        return export_crate(manifest or made.manifest, ResultsFolder(run / "results"), folder)


def refs(entity: dict, key: str) -> list[str]:
    found = entity.get(key, [])
    return [each["@id"] for each in (found if isinstance(found, list) else [found])]


def of_type(entities: dict[str, dict], kind: str) -> dict[str, dict]:
    return {key: each for key, each in entities.items() if kind in (each["@type"], *each["@type"])}


# --- the validator --------------------------------------------------------------------------------------


def test_the_validator_accepts_the_crate(crate: Path, tmp_path: Path):
    say("validating")
    result = validate(crate, tmp_path / "cache")
    assert result.passed(), [issue.message for issue in result.get_issues()]
    # of what is recommended only what the records do not know is missing: who ran it, who publishes it, where it is
    weaker = validate(crate, tmp_path / "cache", Severity.RECOMMENDED).get_issues()
    missing = {str(issue.check.identifier) for issue in weaker}
    assert missing <= {
        "process-run-crate-0.5_3.2",  # url of a tool
        "process-run-crate-0.5_5.1",  # absolute id of a tool
        "process-run-crate-0.5_8.6",  # agent
        "process-run-crate-0.5_13.2",  # registry of an image
        "ro-crate-1.1_22.2",  # author
        "ro-crate-1.1_22.3",  # publisher
        "workflow-ro-crate-1.0_8.1",  # Bioschemas profile of the workflow
    }, [f"{issue.check.identifier} {issue.message}" for issue in weaker]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("OrganizeAction", "result"), ("CreateAction", "instrument"),
        ("ControlAction", "object"), ("HowToStep", "workExample"),
    ],
)  # fmt: skip
def test_the_validator_refuses_a_crate_with_a_link_cut(crate: Path, tmp_path: Path, kind: str, key: str):
    shutil.copytree(crate, tmp_path / "cut")
    path = tmp_path / "cut" / METADATA
    body = json.loads(path.read_text())
    cut = next(entity for entity in body["@graph"] if entity["@type"] == kind)
    del cut[key]
    path.write_text(json.dumps(body))
    assert not validate(tmp_path / "cut", tmp_path / "cache").passed()


# --- what it says ---------------------------------------------------------------------------------------


def test_every_file_is_there_with_the_hash_it_says(made: Run, crate: Path):
    files = {key: each for key, each in of_type(read_metadata(crate), "File").items() if not key.startswith("http")}
    hashed = {key: each["sha256"] for key, each in files.items() if "sha256" in each}
    assert {key for key in hashed if not key.endswith(".prov.json")} == set(made.manifest.entries)
    for key, digest in hashed.items():
        assert hashlib.sha256((crate / key).read_bytes()).hexdigest() == digest, key
    assert {f"{name}.prov.json" for name in made.manifest.entries} <= set(hashed)
    assert {"Snakefile", "README.md", CONFIG, "rules/data.smk", "results/audit/manifest.json"} <= set(files)
    on_disk = {str(path.relative_to(crate)) for path in crate.rglob("*") if path.is_file()}
    assert on_disk == {*files, METADATA}  # nothing that the metadata does not speak of


def test_an_action_a_step_with_its_inputs_and_outputs(made: Run, crate: Path):
    entities = read_metadata(crate)
    actions = {each["name"]: each for key, each in of_type(entities, "CreateAction").items() if key != "#run"}
    assert set(actions) == {
        f"fetch_model model={MODEL}", "sample_unsup category=sa",
        "normalise_test dataset=mini-films", "normalise_train dataset=mini-films",
    }  # fmt: skip
    train = actions["normalise_train dataset=mini-films"]
    outputs = {name for name, entry in made.manifest.entries.items() if entry.rule == "normalise_train"}
    assert set(refs(train, "result")) == outputs and TRAIN in outputs
    inputs = {source.path: source.sha256 for source in made.manifest.entries[TRAIN].inputs}
    assert TEST in refs(train, "object") and TEST in inputs
    values = {entities[key]["name"]: entities[key]["value"] for key in refs(train, "object") if key.startswith("#")}
    outside = {path: digest for path, digest in inputs.items() if path not in made.manifest.entries}
    assert outside and {path: values[path] for path in outside} == outside
    sidecar = json.loads((made / f"{TRAIN}.prov.json").read_text())
    assert json.loads(values["parameters"]) == sidecar["record"]["params"]
    costs = {entities[key]["name"]: entities[key]["value"] for key in refs(train, "resourceUsage")}
    assert costs == {"CPU time": sidecar["run"]["cpu_s"], "peak memory": sidecar["run"]["peak_memory_mb"]}
    assert train["endTime"] == sidecar["run"]["finished"]
    (image,) = refs(train, "containerImage")
    assert entities[image]["sha256"] == made.image and entities[image]["name"] == "paper"


def test_the_run_as_a_whole(crate: Path):
    entities = read_metadata(crate)
    run = entities["#run"]
    assert refs(run, "instrument") == ["Snakefile"] and TRAIN in refs(run, "result") and TEST not in refs(run, "result")
    assert not any(key.startswith("results/") for key in refs(run, "object"))
    assert len(refs(entities["#organisation"], "object")) == len(of_type(entities, "ControlAction")) == 4
    assert {entities[key]["name"] for key in refs(entities["Snakefile"], "step")} == {
        "fetch_model", "sample_unsup", "normalise_test", "normalise_train"
    }  # fmt: skip


def test_the_crate_verifies_but_for_the_weights(made: Run, crate: Path):
    done = made.audit("verify", "--results", str(crate / "results"), "--json")
    report = json.loads(done.stdout)
    assert {each["artifact"] for each in report["findings"]} == {
        f"results/models/{MODEL}/config.json", f"results/models/{MODEL}/model.safetensors"
    }  # fmt: skip
    assert done.returncode == 2 and {each["verdict"] for each in report["findings"]} == {"missing"}


def test_no_secret_and_no_path_of_the_machine(made: Run, crate: Path):
    planted = [*PLANTED.values(), str(made.folder.parent), str(Path.home())]
    for path in crate.rglob("*"):
        if path.is_file() and path.suffix != ".gz":
            text = path.read_text(encoding="utf8")
            assert [word for word in planted if word in text] == [], path


def test_the_same_run_gives_the_same_metadata(made: Run, run: Run, crate: Path, tmp_path: Path):
    assert export(made, run, tmp_path / "again") == 4
    assert (tmp_path / "again" / METADATA).read_bytes() == (crate / METADATA).read_bytes()


# --- what is refused ------------------------------------------------------------------------------------


def test_an_artifact_that_is_not_the_manifests_is_not_exported(made: Run, run: Run, tmp_path: Path):
    data = bytearray((run / TEST).read_bytes())
    data[-1] ^= 1
    (run / TEST).write_bytes(data)
    with pytest.raises(AuditError, match=TEST):
        export(made, run, tmp_path / "out")
    (run / TEST).unlink()
    with pytest.raises(AuditError, match=f"{TEST}: is missing"):
        export(made, run, tmp_path / "out")
    assert not (tmp_path / "out" / METADATA).exists()


def test_another_sidecar_is_not_exported(made: Run, run: Run, tmp_path: Path):
    path = run / f"{TEST}.prov.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(RecordMoved, match=TEST):
        export(made, run, tmp_path / "out")
    path.unlink()
    with pytest.raises(RecordMoved, match="is missing"):
        executions(made.manifest, ResultsFolder(run / "results"))


def test_a_folder_that_holds_something_is_left_alone(made: Run, run: Run, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(AuditError, match="not empty"):
        export(made, run, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_run_without_artifacts_is_no_crate(made: Run, run: Run, tmp_path: Path):
    empty = made.manifest.model_copy(update={"entries": {}})
    with pytest.raises(AuditError, match="no artifact"):
        export(made, run, tmp_path / "out", empty)
