"""The table of all sources' scores, from the batches that hold them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fute.artifacts import StaleFile, gzip_bytes, jsonl_bytes, sha256_file
from fute.audit.batches import cell_content, keys_read
from fute.audit.sidecars import read_sidecar_file
from fute.baselines.extract_source_scores_step import extract_source_scores
from fute.specs.source_scores import ExtractSourceScores

SCORES = {
    "a>b": {"logme": -0.1234567890123, "gbc": 1.5},
    "b>a": {"logme": "nan", "gbc": "-inf"},
    "a>n": {"logme": 2.0},
    "b>n": {"logme": 3.0},
}
"""Of targets with classes (a, b) and of one with numbers (n); `s` has spans."""
KEYS = {cell: f"key of {cell}" for cell in SCORES}
BATCHES = {"one.jsonl.gz": ["a>b", "a>n"], "two.jsonl.gz": ["b>a", "b>n"]}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {f"finetuned:{name}": Path(f"{name}.lock.json") for name in "ab"}
    files |= {f"train:{name}": Path(f"{name}.jsonl.gz") for name in "abns"}
    for name, path in files.items():
        path.write_bytes(gzip_bytes(name.encode()))
    for batch, cells in BATCHES.items():
        lines = []
        for cell in cells:
            source, _, target = cell.partition(">")
            made_from = {
                "source": sha256_file(files[f"finetuned:{source}"]), "train": sha256_file(files[f"train:{target}"])
            }  # fmt: skip
            line = {"key": KEYS[cell], "source": source, "target": target, "scores": SCORES[cell], "from": made_from}
            lines.append(line)
        Path(batch).write_bytes(gzip_bytes(jsonl_bytes(lines)))


def extract(batches=tuple(BATCHES), keys=KEYS, targets="abns") -> list[str]:
    settings = ExtractSourceScores(
        model="m", methods=("logme", "gbc"), sources=("a", "b"), targets=tuple(targets), keys=keys
    )
    files = {f"finetuned:{name}": Path(f"{name}.lock.json") for name in "ab"}
    files |= {f"train:{name}": Path(f"{name}.jsonl.gz") for name in targets}
    extract_source_scores(settings, batches=[*map(Path, batches)], files=files, output=Path("out.csv"))
    return Path("out.csv").read_text().splitlines()


def test_pairs_of_several_batches_are_one_table():
    assert extract() == [
        "model,source,target,logme,gbc",
        "m,a,b,-0.123456789,1.5",
        "m,a,n,2,",
        "m,a,s,,",
        "m,b,a,,-inf",
        "m,b,n,3,",
        "m,b,s,,",
    ]


def test_a_run_whose_targets_have_no_scores_has_a_table_without_numbers():
    assert extract(batches=(), keys={}, targets="s")[1:] == ["m,a,s,,", "m,b,s,,"]


def test_a_pair_that_no_batch_holds_is_said():
    with pytest.raises(StaleFile, match=r"one.jsonl.gz: no scores key of b>a \(b -> a\); delete the batch"):
        extract(batches=["one.jsonl.gz"])


@pytest.mark.parametrize("file", ["b.lock.json", "n.jsonl.gz"])
def test_a_pair_of_other_files_is_refused(file):
    Path(file).write_bytes(gzip_bytes(b"other"))
    with pytest.raises(StaleFile, match=rf"was made from another version of {file}; delete the batch"):
        extract()
    assert not Path("out.csv").exists()


def test_the_audit_reads_the_pairs_of_a_table():
    """As it does those of one file: the record names the keys, and a batch holds their content."""
    extract()
    read = keys_read(read_sidecar_file(Path("out.csv.prov.json"))[0].record.params)
    assert sorted(read) == sorted(KEYS.values())
    content = [cell_content(Path("one.jsonl.gz"), key) for key in sorted(read)]
    assert [key for key, cell in zip(sorted(read), content, strict=True) if cell] == ["key of a>b", "key of a>n"]
