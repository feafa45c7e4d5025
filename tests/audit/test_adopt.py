"""After a clone: Snakemake's metadata from the records, on a run of the light steps (a whole one: tests/workflow)."""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest
from support.audited_run import CONFIG, MODEL, TARGETS, Run

TEST, TRAIN = "results/data/mini-films/test.jsonl.gz", "results/data/mini-films/train.jsonl.gz"
LOCK, WEIGHTS = f"results/models/{MODEL}.lock.json", f"results/models/{MODEL}/model.safetensors"
WARNING = "WARNING: results/ holds results"


@pytest.fixture
def clone(clone: Run) -> Run:
    """A copy whose files all have another time."""
    age(clone)
    return clone


def age(run: Run) -> None:
    """Give all results times in a random order, as copying does."""
    files = sorted(path for path in (run / "results").rglob("*") if path.is_file())
    random.Random(1).shuffle(files)
    for second, path in enumerate(files):
        os.utime(path, (1.7e9 + second, 1.7e9 + second))


def planned(run: Run) -> dict[str, int]:
    """Rule -> jobs that would run, without the phase that only collects them."""
    return {rule: count for rule, count in run.planned(*TARGETS).items() if rule not in TARGETS}


def adopted(run: Run) -> tuple[int, dict]:
    done = run.audit("adopt", *TARGETS, "--config", CONFIG, "--json")
    return done.returncode, json.loads(done.stdout)


def test_a_copy_reruns_what_is_good_until_it_is_adopted(clone: Run):
    assert planned(clone) != {}, "the times of a copy say that it is stale"
    code, report = adopted(clone)
    assert code == 0 and report["findings"] == [] and report["facts"] == {"adopted": 8, "missing": 0}
    assert planned(clone) == {}
    age(clone)
    assert planned(clone) == {}
    clone.edit(CONFIG, "test_rows: 12", "test_rows: 11")
    assert planned(clone) == {"normalise_test": 1, "normalise_train": 1}


def test_the_workflow_warns_until_it_is_adopted(clone: Run):
    assert WARNING in clone.dry_run(*TARGETS)
    adopted(clone)
    assert WARNING not in clone.dry_run(*TARGETS)
    shutil.rmtree(clone / ".snakemake")
    shutil.rmtree(clone / "results")
    assert WARNING not in clone.dry_run(*TARGETS), "nothing is there to be adopted"


@pytest.mark.parametrize(("name", "exit_code"), [(TRAIN, 1), (f"{TRAIN}.prov.json", 2)])
def test_what_was_tampered_with_is_made_again(clone: Run, name: str, exit_code: int):
    data = bytearray((clone / name).read_bytes())
    data[-3] ^= 1
    (clone / name).write_bytes(data)
    code, report = adopted(clone)
    assert code == exit_code
    assert [each["artifact"] for each in report["findings"]] == [TRAIN]
    assert "not adopted: the next run makes it again" in report["findings"][0]["message"]
    assert planned(clone) == {"normalise_train": 1}
    clone.run(*TARGETS)
    assert planned(clone) == {}
    assert adopted(clone)[0] == 0


def test_a_lock_is_not_adopted_with_other_weights(clone: Run):
    (clone / WEIGHTS).write_bytes(b"other weights")
    code, report = adopted(clone)
    assert code == 1 and [each["artifact"] for each in report["findings"]] == [LOCK]
    assert report["findings"][0]["message"].startswith(WEIGHTS)
    assert planned(clone) == {"fetch_model": 1}


def test_what_is_stale_before_it_is_adopted_stays_stale(clone: Run):
    clone.edit(CONFIG, "test_rows: 12", "test_rows: 11")
    code, report = adopted(clone)
    assert code == 1 and {each["cause"] for each in report["findings"]} == {"params"}
    assert planned(clone) == {"normalise_test": 1, "normalise_train": 1}


def test_what_is_missing_is_left_to_the_run(clone: Run):
    (clone / TRAIN).unlink()
    code, report = adopted(clone)
    assert code == 0 and report["facts"] == {"adopted": 5, "missing": 1}
    assert report["counts"] == {"identical": 7}
    assert planned(clone) == {"normalise_train": 1}


def test_a_folder_that_is_in_use_is_left_alone(clone: Run):
    locks = clone / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text(f"{TRAIN}\n")
    done = clone.audit("adopt", *TARGETS, "--config", CONFIG)
    assert done.returncode == 2 and "Snakemake runs in this folder" in done.stderr
    assert not list((clone / ".snakemake/metadata").rglob("*"))
