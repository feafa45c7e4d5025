"""What an artifact came from, what it cost, and what would run again, on a run of the light steps."""

from __future__ import annotations

import json

from support.audited_run import CONFIG, Run

TEST, TRAIN = "results/data/mini-films/test.jsonl.gz", "results/data/mini-films/train.jsonl.gz"
SPLITS = "src/fute/data/splits.py"


def explain(run: Run, target: str) -> dict:
    done = run.audit("explain", target, "--config", CONFIG, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_chain_of_an_artifact_and_what_it_cost(project: Run):
    found = explain(project, TRAIN)
    assert found["chain"][TRAIN]["inputs"][:2] == ["results/data/mini-films/source.lock.json", TEST]
    assert found["chain"][TRAIN]["step"] == "normalise_train" and found["chain"]["data:mini-films/train.jsonl"]
    costs = {each["step"]: each for each in found["costs"]}
    assert set(costs) == {"normalise_train", "normalise_test"}
    # both outputs of the test split are of one process
    assert costs["normalise_test"]["processes"] == 1 and 0 < costs["normalise_test"]["wall_s"] < 60
    assert found["pending"] == []
    text = project.audit("explain", TRAIN, "--config", CONFIG).stdout
    assert (
        "nothing would run again for it" in text and "normalise_test" in text and "data:mini-films/train.jsonl" in text
    )


def test_what_would_run_again_with_both_values(project: Run):
    project.edit(CONFIG, "test_rows: 12", "test_rows: 11")
    found = explain(project, TRAIN)["pending"]
    assert [each["rule"] for each in found] == ["normalise_test", "normalise_train"]
    assert "params: test_rows 12, then 11" in found[0]["reasons"] and found[0]["because"] == []
    assert TEST in found[1]["because"]
    text = project.audit("explain", TRAIN, "--config", CONFIG).stdout
    assert "1. normalise_test would run" in text and "test_rows 12, then 11" in text


def test_edited_code_is_named_with_both_hashes(project: Run):
    path = project / SPLITS
    path.write_text(path.read_text() + "\n# edited\n")
    record = json.loads((project / f"{TEST}.prov.json").read_text())["record"]
    found = explain(project, TEST)["pending"]
    assert [each["rule"] for each in found] == ["normalise_test"]
    (why,) = [why for why in found[0]["reasons"] if why.startswith("code: ")]
    assert record["module"] in why and record["code_sha256"][:12] in why


def test_what_is_missing_runs_only_where_it_is_needed(project: Run):
    (project / TEST).unlink()
    assert explain(project, TRAIN)["pending"] == []
    (project / TRAIN).unlink()
    found = explain(project, TRAIN)["pending"]
    assert [each["rule"] for each in found] == ["normalise_test", "normalise_train"]
    assert found[0]["reasons"] == [f"{TEST} is missing"]


def test_a_record_that_is_missing_is_named(project: Run):
    (project / f"{TEST}.prov.json").unlink()
    assert explain(project, TRAIN)["chain"][TEST]["problem"].startswith(f"{TEST}.prov.json: is missing")
