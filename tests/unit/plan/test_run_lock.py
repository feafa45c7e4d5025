"""The lock of a run: what it names is read, anything else is refused, and what to do is said."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fute.config.run import parse_run, read_yaml
from fute.config.run_lock import Locked, RunLock, lock_file, pinned_dataset, pinned_model, read_run_lock
from fute.config.sections import ConfigError
from fute.data.run_lock import results_differ
from fute.plan import Plan
from fute.plan import run_lock as module
from fute.plan.run_lock import check_run_lock, make_run_lock, write_run_lock

ROOT = Path(__file__).parents[3]
OLD, NEW = "a" * 40, "b" * 40
CR = ["rte", "mini-topics", "own"]
OWN = """
own: {title: Own, category: cr, fields: [a], label_field: b, labels: [x, y], classes: [x, y],
      splits: {train: train, test: test}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of its own, with one dataset of each source and nothing pinned; the hub's newest commits are NEW."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("locks"))
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources/builtin").symlink_to(ROOT / "resources/builtin")
    for registry, entry in (("datasets", OWN), ("models", "\nsaved: {folder: saved}\n")):
        path = tmp_path / f"config/{registry}.yaml"
        path.write_text(re.sub(r",?\s+revision: [0-9a-f]{40}", "", path.read_text()) + entry)
    for name in ("data/own/train.csv", "data/own/test.csv", "data/pool.jsonl", "saved/config.json",
                 "saved/model.safetensors"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    monkeypatch.setattr(module, "_newest_dataset", lambda now: NEW)
    monkeypatch.setattr(module, "_newest_model", lambda plan, name: NEW)
    return tmp_path


def plan(**data: Any) -> Plan:
    demo = read_yaml(ROOT / "tests/support/both.yaml")
    own = {"source": "hub", "sources": {"mini-topics": "builtin", "own": "files"}, "root": "data", "dev_share": 0}
    lm = {"models": ["bert-base", "saved"], "datasets": {"cr": CR, "qa": [], "domain": []},
          "finetune": {}, "transfer": {"model": "bert-base"}, "baselines": {}}  # fmt: skip
    values = demo | {"name": "mine", "llm": None, "data": own | data, "lm": demo["lm"] | lm}
    return Plan(parse_run(values, Path("config"), "my.yaml"))


def refusal(**data: Any) -> str:
    with pytest.raises(ConfigError) as error:
        check_run_lock(plan(**data))
    return str(error.value)


def read_at(revision: str) -> None:
    """Leave what the steps leave that have read RTE and fetched BERT."""
    lock = {"source": "hub", "repo": "nyu-mll/glue", "config": "rte", "revision": revision,
            "splits": [{"split": "train", "rows": 2, "fingerprint": "f" * 64}]}  # fmt: skip
    model = {"model": "bert-base", "source": {"repo": plan().run.models["bert-base"].repo, "revision": revision},
             "files": {"model.safetensors": {"sha256": "e" * 64, "bytes": 1}}}  # fmt: skip
    for name, value in (("data/rte/source.lock.json", lock), ("models/bert-base.lock.json", model)):
        Path("results", name).parent.mkdir(parents=True, exist_ok=True)
        Path("results", name).write_text(json.dumps(value))


def locked(**more: Any) -> RunLock:
    lock = make_run_lock(plan(), **more)
    assert write_run_lock(lock) == lock_file("mine") == Path("config/locks/mine.json")
    assert read_run_lock(lock_file("mine")) == lock
    return lock


def test_a_run_without_a_lock_is_free(project):
    check_run_lock(plan())
    assert pinned_dataset(lock_file("mine"), "rte") is None and pinned_model(None, "bert-base") is None


def test_a_lock_names_commits_and_files_and_pins_the_commits(project):
    lock = locked()
    rte = lock.datasets["rte"]
    assert (rte.repo, rte.config, rte.revision, rte.files) == ("nyu-mll/glue", "rte", NEW, None)
    assert sorted(lock.datasets["own"].files) == ["own/test.csv", "own/train.csv"]
    assert sorted(lock.datasets["mini-topics"].files) == ["mini-topics/test.jsonl", "mini-topics/train.jsonl"]
    assert list(lock.unsup["lm"].files) == ["pool.jsonl"]
    assert lock.models["bert-base"].revision == NEW
    assert sorted(lock.models["saved"].files) == ["config.json", "model.safetensors"]
    assert lock.models["smollm2-135m"].package and str(project) not in lock_file("mine").read_text()
    check_run_lock(plan())
    assert pinned_dataset(lock_file("mine"), "rte") == NEW == pinned_model(lock_file("mine"), "bert-base")
    assert pinned_dataset(lock_file("mine"), "own") is None


def test_a_lock_changes_no_key(project):
    before = {path: item.key for path, item in plan().vector_batches.items.items()}
    locked()
    assert {path: item.key for path, item in plan().vector_batches.items.items()} == before


def test_a_lock_made_after_a_run_is_of_what_was_read(project):
    read_at(OLD)
    lock = locked()
    assert lock.datasets["rte"].revision == OLD == lock.models["bert-base"].revision
    assert lock.datasets["rte"].splits == {"train": "f" * 64}
    assert lock.models["bert-base"].files == {"model.safetensors": "e" * 64}
    check_run_lock(plan())


def test_what_was_locked_stays_until_an_update(project, monkeypatch):
    monkeypatch.setattr(module, "_newest_dataset", lambda now: OLD)
    locked()
    monkeypatch.setattr(module, "_newest_dataset", lambda now: NEW)
    assert locked().datasets["rte"].revision == OLD
    assert locked(update=True).datasets["rte"].revision == NEW


def test_results_of_another_commit_are_refused(project):
    locked()
    read_at(OLD)
    said = refusal()
    assert said.startswith("config/locks/mine.json: this run is not the locked one; ")
    assert "(fute lock --configfile FILE)" in said
    assert f"rte was read as revision {OLD}, locked {NEW}: delete results/data/rte" in said
    assert f"bert-base was fetched as revision {OLD}, locked {NEW}: delete this file" in said
    assert len(said.splitlines()) == 3
    read_at(NEW)
    check_run_lock(plan())


def test_a_registry_with_another_commit_is_refused(project):
    locked()
    registry = project / "config/datasets.yaml"
    text = registry.read_text()
    repo = "hub: {repo: nyu-mll/glue, config: rte"
    assert text.count(repo) == 1
    registry.write_text(text.replace(repo, f"{repo}, revision: {OLD}"))
    assert f"datasets rte: revision {OLD}, locked {NEW}" in refusal()
    registry.write_text(text.replace(repo, "hub: {repo: someone/else, config: rte"))
    assert "datasets rte: repo someone/else, locked nyu-mll/glue" in refusal()
    registry.write_text(text.replace(repo, f"{repo}, revision: {NEW}"))
    check_run_lock(plan())
    assert make_run_lock(plan()).datasets["rte"].revision == NEW


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("data/own/train.csv", "datasets own: other files (own/train.csv)"),
        ("data/pool.jsonl", "unsup lm: other files (pool.jsonl)"),
        ("saved/model.safetensors", "models saved: other files (model.safetensors)"),
    ],
)
def test_other_bytes_are_refused(project, file, said):
    locked()
    (project / file).write_text("other bytes")
    assert said in refusal() and len(refusal().splitlines()) == 2


def test_another_source_and_a_new_dataset_are_refused(project):
    lock = locked()
    assert "datasets mini-topics: source hub, locked builtin" in refusal(sources={"own": "files"})
    write_run_lock(lock.model_copy(update={"datasets": {"rte": lock.datasets["rte"]}}))
    assert "datasets own: is not in the lock" in refusal()


def test_data_that_are_not_there_are_locked_later(project):
    (project / "data/own").rename(project / "away")
    assert locked().datasets["own"].files is None
    check_run_lock(plan())
    (project / "away").rename(project / "data/own")
    assert len(locked().datasets["own"].files) == 2
    (project / "data/own").rename(project / "away")
    assert len(locked().datasets["own"].files) == 2, "what was locked is not forgotten"


@pytest.mark.parametrize("text", ["{", "[]", '{"run": "mine"}', '{"run": "mine", "datasets": {"../x": {}}}'])
def test_a_file_that_is_no_lock_is_refused(project, text):
    lock_file("mine").parent.mkdir(parents=True)
    lock_file("mine").write_text(text)
    assert refusal().startswith("config/locks/mine.json: is no lock of a run (") and "fute lock" in refusal()


def test_a_dataset_is_asked_for_by_its_branch(monkeypatch):
    from fute.data import hub

    class Api:
        def dataset_info(self, repo, revision):
            assert (repo, revision) == ("a/b", "refs/convert/parquet")
            return SimpleNamespace(sha=NEW)

    monkeypatch.setattr(hub, "HfApi", Api)
    assert module._newest_dataset(Locked(repo="a/b", branch="refs/convert/parquet")) == NEW


def test_a_damaged_lock_among_the_results_is_left_to_verification(project):
    read_at(OLD)
    lock = locked()
    Path("results/data/rte/source.lock.json").write_text("{")
    assert results_differ(lock, Path) == {}
    check_run_lock(plan())
