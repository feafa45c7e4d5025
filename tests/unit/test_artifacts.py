"""Atomic outputs, sidecars, hashes."""

import gzip
import hashlib
import json
import os
import random
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fute.artifacts import (
    ContentKey,
    InputError,
    Step,
    atomic,
    canonical_json,
    content_key,
    gzip_bytes,
    jsonl_bytes,
    read_jsonl,
    replace_folder,
    sidecar_path,
)  # fmt: skip

MODULE = "fute.batching"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def test_nothing_appears_when_a_step_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), Step(MODULE, settings={}) as step:
        step.json(tmp_path / "a.json", {"x": 1})
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_step_left_is_not_written_to(tmp_path):
    """It may be a link to a batch's file; in a container a process has the same number again and again."""
    batch = tmp_path / "batch.json"
    batch.write_text("whole")
    (tmp_path / f".a.json.{os.getpid()}.tmp").hardlink_to(batch)
    with Step(MODULE, settings={}) as step:
        step.json(tmp_path / "a.json", {"x": 1})
    assert batch.read_text() == "whole" and json.loads((tmp_path / "a.json").read_text()) == {"x": 1}


def test_the_files_of_a_folder_are_on_the_disk_before_it_is_there(tmp_path, monkeypatch):
    """A lock that lists them is written next; where the node goes down, it must not be left alone."""
    for name in ("new/model.safetensors", "new/more/config.json", "folder/old"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    synced = []
    monkeypatch.setattr("fute.artifacts.os.fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}")))
    replace_folder(tmp_path / "folder", tmp_path / "new")
    assert sorted(synced) == [str(tmp_path / "new/model.safetensors"), str(tmp_path / "new/more/config.json")]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.json", "folder", "model.safetensors", "more"]


def test_a_step_whose_clock_was_set_back_took_no_less_than_no_time(tmp_path, monkeypatch):
    monkeypatch.setattr("fute.artifacts.time.time", lambda: 0.0)
    with Step(MODULE, settings={}) as step:
        step.json(tmp_path / "a.json", {})
    assert json.loads(sidecar_path(tmp_path / "a.json").read_text())["run"]["wall_s"] >= 0


def test_outputs_appear_together_with_true_sidecars(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.txt").write_text("input")
    with Step(MODULE, settings={"k": [1]}, inputs=[Path("in.txt")], seeds={"a": 7, "none": None}) as step:
        step.json(Path("results/a.json"), {"x": 1})
        step.jsonl(Path("results/b.jsonl.gz"), [{"id": "1"}, {"id": "2"}])
        assert not Path("results/a.json").exists()
    for name in ("results/a.json", "results/b.jsonl.gz"):
        side = json.loads(sidecar_path(Path(name)).read_text())
        record = side["record"]
        assert record["artifact"] == name
        assert record["sha256"] == hashlib.sha256(Path(name).read_bytes()).hexdigest()
        assert record["inputs"] == [{"path": "in.txt", "sha256": hashlib.sha256(b"input").hexdigest()}]
        assert record["params"] == {"k": [1]} and record["seeds"] == {"a": 7}
        assert side["record_sha256"] == content_key(record)
    rows = json.loads(sidecar_path(Path("results/b.jsonl.gz")).read_text())["record"]
    assert rows["counts"] == {"rows": 2}
    assert rows["semantic_sha256"] == hashlib.sha256(b'{"id":"1"}\n{"id":"2"}\n').hexdigest()
    assert not [p for p in Path("results").iterdir() if p.name.endswith(".tmp")]


def test_the_record_does_not_depend_on_the_run(tmp_path, monkeypatch):
    records = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        with Step(MODULE, settings={"k": 1}) as step:
            step.json(Path("a.json"), {"x": 1})
        side = json.loads(Path("a.json.prov.json").read_text())
        records.append(side["record"])
        assert str(tmp_path) not in json.dumps(side)
    assert records[0] == records[1]


def test_a_record_chains_to_its_inputs_records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Step(MODULE, settings={}) as step:
        step.json(Path("a.json"), {})
    with Step(MODULE, settings={}, inputs=[Path("a.json")]) as step:
        step.json(Path("b.json"), {})
    first = json.loads(Path("a.json.prov.json").read_text())
    second = json.loads(Path("b.json.prov.json").read_text())
    assert second["record"]["inputs"][0]["record_sha256"] == first["record_sha256"]


def test_no_secret_host_or_folder_of_the_machine_is_recorded(tmp_path, monkeypatch):
    outside, project = tmp_path / "planteduser" / "data.jsonl", tmp_path / "project"
    outside.parent.mkdir()
    outside.write_text("{}")
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("HF_TOKEN", "hf_plantedtoken")
    settings = {
        "folder": str(outside.parent), "url": "http://planted-node:8000/v1", "header": "Bearer hf_plantedtoken",
        "kept": ["a/b", 1, None],
    }  # fmt: skip
    with Step(MODULE, settings=settings, inputs=[outside]) as step:
        step.facts = {"said": "hf_plantedtoken", "file": str(outside)}
        step.json(project / "results/a.json", {})
    text = Path("results/a.json.prov.json").read_text()
    record = json.loads(text)["record"]
    for hidden in ("planted", str(tmp_path), socket.gethostname()):
        assert hidden not in text
    assert record["artifact"] == "results/a.json"
    assert record["params"] == {
        "folder": "path:", "url": "http:.../v1", "header": "Bearer <secret>", "kept": ["a/b", 1, None],
    }  # fmt: skip
    assert record["inputs"] == [{"path": "data:data.jsonl", "sha256": hashlib.sha256(b"{}").hexdigest()}]


def test_atomic_keeps_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(ValueError), atomic(path) as temporary:
        temporary.write_text("half")
        raise ValueError
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_a_files_permissions_are_those_of_the_users_umask(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        with atomic(tmp_path / "x") as temporary:
            temporary.unlink()
            temporary.touch(0o600)  # as a library that replaces the file by its own
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == mode


@given(st.binary(max_size=200))
def test_gzip_is_the_same_for_the_same_bytes(data):
    packed = gzip_bytes(data)
    assert packed == gzip_bytes(data) and gzip.decompress(packed) == data
    assert packed[3] & 8 == 0 and packed[4:8] == bytes(4)  # no name, time 0


def test_rows_written_one_by_one_are_the_bytes_of_all_at_once(tmp_path):
    draw = random.Random(0)
    words = [f"{draw.random():.9f}" for _ in range(300)]
    rows = [{"id": n, "text": " ".join(draw.choices(words, k=draw.randint(0, 400)))} for n in range(400)]
    with Step(MODULE, settings={}) as step:
        step.jsonl(tmp_path / "rows.jsonl.gz", iter(rows))
    written = (tmp_path / "rows.jsonl.gz").read_bytes()
    assert written == gzip_bytes(jsonl_bytes(rows)) and len(jsonl_bytes(rows)) > 500_000
    assert json.loads(sidecar_path(tmp_path / "rows.jsonl.gz").read_text())["record"]["counts"] == {"rows": 400}


@given(st.lists(json_values, max_size=4))
def test_the_key_of_items_given_one_by_one_is_that_of_their_list(items):
    key = ContentKey()
    for number, item in enumerate(items):
        assert key.hexdigest() == content_key(items[:number])
        key.add(item)
    assert key.hexdigest() == content_key(items)


@given(json_values)
def test_canonical_json_is_one_text_a_value(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


def test_canonical_json_ignores_key_order_and_refuses_nan():
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    with pytest.raises(ValueError):
        canonical_json(float("nan"))


def test_jsonl_round_trip_keeps_odd_characters(tmp_path):
    rows = [{"text": "a\u2028b \u00e9 \U0001f600", "n": 1}]
    with Step(MODULE, settings={}) as step:
        step.jsonl(tmp_path / "r.jsonl.gz", rows)
    assert read_jsonl(tmp_path / "r.jsonl.gz") == rows


@pytest.mark.parametrize("damaged", [b"", b"other", None], ids=["emptied", "edited", "its record damaged"])
def test_nothing_is_made_from_an_input_that_is_not_what_its_record_says(tmp_path, monkeypatch, damaged):
    monkeypatch.chdir(tmp_path)
    source, target = Path("results/source.json"), Path("results/target.json")
    with Step("fute.paper.table3_step", settings={}) as step:
        step.json(source, {"a": 1})
    if damaged is None:
        sidecar_path(source).write_text("{}")
    else:
        source.write_bytes(damaged)
    said = rf"results/source\.json.*; make it again: .* {source}$"
    with pytest.raises(InputError, match=said), Step("fute.paper.table3_step", settings={}, inputs=[source]) as step:
        step.json(target, {"b": 2})
    assert not target.exists() and not list(tmp_path.rglob("*.tmp"))


def test_an_emptied_file_of_rows_is_no_file_without_rows(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"rows\.jsonl\.gz: is empty"):
        read_jsonl(path)
    path.write_bytes(gzip_bytes(b""))
    assert read_jsonl(path) == []
