"""What of a rule's parameters is compared with a record, by hand-made records and jobs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fute.artifacts import SCHEMA, content_key
from fute.audit.findings import Cause
from fute.audit.planned_jobs import Job
from fute.audit.sidecars import Record
from fute.audit.staleness import changed_inputs, changed_machine, changed_params, reasons
from fute.code_hash import code_sha256

MODULE = "fute.display_names"
PLUGIN = {"callable": "m:f", "options": {}}
SHA = "a" * 64


def record(params: Any, inputs: dict[str, str] | None = None, code: str | None = None) -> Record:
    return Record.model_validate(
        {
            "schema": SCHEMA, "artifact": "results/x", "sha256": SHA, "size": 1, "step": "r", "module": MODULE,
            "params": params, "code_sha256": code or code_sha256(MODULE), "seeds": {},
            "inputs": [{"path": path, "sha256": sha256} for path, sha256 in (inputs or {}).items()],
        }
    )  # fmt: skip


def job(inputs: tuple[str, ...] = (), **params: Any) -> Job:
    text = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in params.items()}
    return Job("r", {}, ("results/x",), inputs, text)


@pytest.mark.parametrize(
    ("params", "planned", "said"),
    [
        ({"a": 1, "b": [1, 2]}, {"settings": {"a": 1}}, []),  # b is a default that the step filled in
        ({"a": 1}, {"settings": {"a": 2}}, ["params: a 1, then 2"]),
        ({"a": {"b": [1, 2]}}, {"spec": {"a": {"b": [1, 3]}}}, ["params: a.b[1] 2, then 3"]),
        ({"a": 1}, {"settings": {"c": 3}}, ["params: c null, then 3"]),
        # settings under their own name
        ({"settings": {"a": 1}, "texts": 5}, {"settings": {"a": 1}, "texts": "--texts 5"}, []),
        ({"settings": {"a": 1}, "texts": 5}, {"settings": {"a": 2}, "texts": "--texts 5"}, ["params: a 1, then 2"]),
        ({"settings": {"a": 1}, "texts": 5}, {"settings": {}, "texts": "--texts 6"}, ["params: texts 5, then 6"]),
        ({"settings": {"a": 1}, "texts": 5}, {"settings": {}, "texts": ""}, ["params: texts 5, then null"]),
        ({"settings": {}, "texts": None}, {"settings": {}, "texts": ""}, []),
        ({"category": "sa", "settings": {"limit": 1}}, {"settings": {"category": "sa", "settings": {"limit": 1}}}, []),
        # flags
        ({"prompts": [], "zps_flip": False}, {"flags": ""}, []),
        ({"prompts": [], "zps_flip": True}, {"flags": "--zps-flip"}, []),
        ({"prompts": [], "zps_flip": False}, {"flags": "--zps-flip"}, ["params: zps_flip false, then true"]),
        ({"prompts": [], "zps_flip": True}, {"flags": ""}, ["params: zps_flip true, then false"]),
        ({"prompts": [], "baselines": ["mi", "local-e"]}, {"flags": "--baselines mi local-e"}, []),
        (
            {"prompts": [], "baselines": ["mi"]},
            {"flags": "--baselines mi local-e"},
            ['params: baselines ["mi"], then ["mi", "local-e"]'],
        ),
        # keys, models, paths
        ({"key": "old"}, {"key": "new"}, ['params: key "old", then "new"']),
        ({"repo": "a/b", "server": False}, {"entry": {"repo": "a/b", "gated": True}}, []),
        ({"repo": "a/b", "server": False}, {"entry": {"repo": "a/c"}}, ['params: repo "a/b", then "a/c"']),
        ({"path": "path:pool.jsonl"}, {"settings": {"path": "/elsewhere/data/pool.jsonl"}}, []),
        # what belongs to the machine
        ({"a": 1}, {"settings": {"a": 1}, "processes": 4, "folder": "results/models/m", "threads": 2}, []),
    ],
)  # fmt: skip
def test_parameters(params: Any, planned: dict[str, Any], said: list[str]):
    assert list(changed_params(record(params), job(**planned))) == said


def test_data_and_plugins_outside_the_project():
    data = record({}, {"data:d/train.jsonl": SHA})
    assert list(changed_params(data, job(source={"files": [{"path": "d/train.jsonl", "sha256": SHA}]}))) == []
    changed = list(changed_params(data, job(source={"files": [{"path": "d/train.jsonl", "sha256": "b" * 64}]})))
    assert changed == [f"data: d/train.jsonl was {'a' * 12}, is {'b' * 12}"]
    plugin = record(PLUGIN, {"plugin:m.py": SHA})
    settings = PLUGIN | {"folder": "/some/where"}
    same = job(settings=settings, source=content_key([PLUGIN, {"m.py": SHA}]))
    assert list(changed_params(plugin, same)) == []
    other = job(settings=settings, source=content_key([PLUGIN, {"m.py": "b" * 64}]))
    assert [each.split(":")[0] for each in changed_params(plugin, other)] == ["code"]


def test_inputs_that_came_and_went():
    made = record({}, {"results/a": SHA, "data:x": SHA})
    assert list(changed_inputs(made, job(("results/a",)))) == []
    assert list(changed_inputs(made, job(("results/b", "resources/x")))) == [
        "config: results/b was no input, and is one",
        "config: results/a was an input, and is none",
    ]


def test_files_of_the_project_and_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "printed.csv").write_text("1")
    made = record(
        {}, {"printed.csv": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}
    )  # sha256 of 1
    assert reasons(made, job(), {}) == []
    (tmp_path / "printed.csv").write_text("2")
    assert [each.split(" ")[:2] for each in reasons(made, job(), {})] == [["data:", "printed.csv"]]
    assert reasons(made, None, {}) == []  # a finished batch: by its keys
    assert [each.split(":")[0] for each in reasons(record({}, code="b" * 64), None, {})] == ["code"]


def test_machines_differ_in_hardware_and_software():
    was = {"cpu": "a", "gpu": [], "threads": "1", "platform": "one", "python": "3", "packages": {"torch": "2"}}
    assert list(changed_machine(was, dict(was))) == []
    assert list(changed_machine(was, was | {"platform": "two"})) == [(Cause.SOFTWARE, ['platform "one", then "two"'])]
    other = was | {"cpu": "b", "packages": {"torch": "3"}}
    assert list(changed_machine(was, other)) == [
        (Cause.HARDWARE, ['cpu "a", then "b"']),
        (Cause.SOFTWARE, ['packages.torch "2", then "3"']),
    ]
