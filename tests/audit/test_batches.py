"""What one cell of a batch says, and what two batches were told."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from fute.artifacts import gzip_bytes, jsonl_bytes
from fute.audit.batches import cell_content, changed_settings, is_batch, keys_read
from fute.embeddings.extract_embedding_step import member


def test_names_of_batches():
    assert is_batch("results/labels/m/batches/0a.jsonl.gz") and not is_batch("results/labels/m/batches/0a.keys")
    assert not is_batch("results/labels/m/sa-1/sa.jsonl.gz")


def test_keys_that_an_extraction_reads():
    assert keys_read({"key": "k"}) == ["k"]
    assert keys_read({"keys": {"43": "b", "42": "a"}}) == ["a", "b"]


def test_a_cell_of_labels_whatever_its_key(tmp_path: Path):
    batch = tmp_path / "0a.jsonl.gz"
    lines = [{"engine": {}}, *({"key": key, "index": i, "text": f"t{i}"} for key in "kl" for i in range(2))]
    batch.write_bytes(gzip_bytes(jsonl_bytes(lines)))
    assert cell_content(batch, "k") == cell_content(batch, "l") != None  # noqa: E711
    assert cell_content(batch, "m") is None
    lines[-1]["text"] = "other"
    batch.write_bytes(gzip_bytes(jsonl_bytes(lines)))
    assert cell_content(batch, "k") != cell_content(batch, "l")


def test_a_cell_of_vectors(tmp_path: Path):
    batch = tmp_path / "0a.zip"
    with zipfile.ZipFile(batch, "w") as archive:
        archive.writestr(member("k"), b"vector")
    assert cell_content(batch, "k") == b"vector" and cell_content(batch, "l") is None


def test_a_cell_of_files(tmp_path: Path):
    """By the hashes that the batch's lock lists, whatever the cell's key and what it was made from."""

    def listed(name: str, files: dict[str, str]) -> Path:
        batch = tmp_path / f"{name}.lock.json"
        batch.write_text(json.dumps({"model": "m", "from": {}, "files": {f: {"sha256": s} for f, s in files.items()}}))
        return batch

    one = listed("0a", {"f1/k/model/weights": "a", "f1/k/score.json": "b", "f1/l/score.json": "c"})
    same = listed("0b", {"f2/n/model/weights": "a", "f2/n/score.json": "b"})
    assert cell_content(one, "k") == cell_content(same, "n") != cell_content(one, "l")
    assert cell_content(one, "m") is None


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"labels": [2]}, []),
        ({"prompts": {"sa-1": {"template": "a"}, "sa-2": {"template": "new"}}}, []),
        ({"prompts": {"sa-2": {"template": "new"}}}, []),
        ({"prompts": {"sa-1": {"template": "b"}}}, ['prompts.sa-1.template "a", then "b"']),
        ({"engine": {"seed": 2}}, ["engine.seed 1, then 2"]),
    ],
)
def test_settings_of_two_batches(now: dict, said: list[str]):
    was = {"engine": {"seed": 1}, "labels": [1], "prompts": {"sa-1": {"template": "a"}, "sa-9": {"template": "z"}}}
    assert list(changed_settings(was, {**was, **now})) == said


@pytest.mark.parametrize(
    ("runs", "steps", "said"),
    [
        (["a>b@42"], {"b": 24}, []),
        (["a>d@42"], {"d": 9}, []),
        (["a>b@42"], {"b": 25}, ["targets.b.recipe.steps 24, then 25"]),
    ],
)
def test_settings_of_two_batches_of_transfer(runs: list[str], steps: dict[str, int], said: list[str]):
    def told(steps: dict[str, int]) -> list[dict]:
        return [{"task": {"dataset": name}, "recipe": {"steps": count}} for name, count in steps.items()]

    was = {"model": "m", "runs": ["a>b@42", "a>c@42"], "targets": told({"b": 24, "c": 24})}
    assert list(changed_settings(was, {"model": "m", "runs": runs, "targets": told(steps)})) == said
