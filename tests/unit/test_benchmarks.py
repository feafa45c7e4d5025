"""The benchmarks' own code: rows, files, the table in the docs, and what is measured on."""

import ast
import csv
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
harness, run = importlib.import_module("harness"), importlib.import_module("run")
workload = importlib.import_module("workload")

FAST = harness.Row(
    name="squares", size="4 texts", ours="hooks", other="loop", ours_seconds=2.0, other_seconds=6.5, ratio=3.25,
    required=">= 2.5", error=1.5e-6, note="a note, with a comma",
)  # fmt: skip
GROWN = harness.Row("memory", "1 and 4 texts", "4", "1", ratio=1.2, required="< 1.1", ours_mib=1200.0, other_mib=1000.0)
WHERE = {"cpu": "a chip, fast", "ram_gib": "24"}


@pytest.mark.parametrize(
    ("ratio", "required", "missed"),
    [
        (2.5, ">= 2.5", False),
        (2.49, ">= 2.5", True),
        (1.4, "<= 1.4", False),
        (1.41, "<= 1.4", True),
        (1.1, "< 1.1", True),
        (1.09, "< 1.1", False),
        (0.1, "", False),
    ],
)
def test_a_required_ratio_is_met_or_missed(ratio, required, missed):
    assert harness.Row("n", "s", "a", "b", ratio=ratio, required=required).missed is missed


def test_rows_pass_unchanged_between_processes(tmp_path):
    harness.finish([FAST, GROWN], tmp_path / "rows.jsonl")
    assert harness.read_rows(tmp_path / "rows.jsonl") == [FAST, GROWN]


def test_the_csv_has_the_machine_first_and_a_line_a_row(tmp_path):
    harness.write_csv(tmp_path / "r.csv", [FAST, GROWN], WHERE)
    with (tmp_path / "r.csv").open(newline="") as stream:
        header, *lines = csv.reader(stream)
    assert header[:4] == ["cpu", "ram_gib", "name", "size"]
    assert len(lines) == 2 and all(line[:2] == ["a chip, fast", "24"] for line in lines)
    first = dict(zip(header, lines[0], strict=True))
    assert (first["ratio"], first["error"], first["note"]) == ("3.25", "1.5e-06", "a note, with a comma")
    assert first["ours_mib"] == ""


def test_the_table_has_a_line_a_row_and_says_what_is_missed():
    lines = harness.render([FAST, GROWN], WHERE).splitlines()
    assert {line.count("|") for line in lines[:4]} == {8}
    assert "| hooks: 2 s | loop: 6.5 s | 3.25 | >= 2.5 | 1.5e-06 |" in lines[2]
    assert "| 4: 1,200 MiB | 1: 1,000 MiB | 1.2 (missed) | < 1.1 |  |" in lines[3]
    assert lines[-1] == "cpu a chip, fast; ram (GiB) 24."


def test_the_table_replaces_what_stands_between_the_markers():
    page = "# Title\n<!-- bench:start -->\nold\n<!-- bench:end -->\nrest\n"
    once = harness.insert_into_docs(page, "| new |")
    assert once == "# Title\n<!-- bench:start -->\n| new |\n<!-- bench:end -->\nrest\n"
    assert harness.insert_into_docs(once, "| new |") == once


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("<!-- bench:start -->\n", "<!-- bench:end --> 0 times"),
        ("<!-- bench:end -->\n", "<!-- bench:start --> 0 times"),
        ("<!-- bench:start --><!-- bench:start --><!-- bench:end -->", "<!-- bench:start --> 2 times"),
        ("<!-- bench:end -->\n<!-- bench:start -->\n", "before"),
    ],
)
def test_a_page_without_its_markers_is_an_error_that_says_so(page, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        harness.insert_into_docs(page, "table")


def test_nothing_is_measured_under_load(monkeypatch):
    monkeypatch.setattr(harness.os, "getloadavg", lambda: (0.71, 0.0, 0.0))
    with pytest.raises(SystemExit, match="busy"):
        harness.refuse_under_load(False)
    harness.refuse_under_load(True)
    monkeypatch.setattr(harness.os, "getloadavg", lambda: (0.7, 9.0, 9.0))
    harness.refuse_under_load(False)


def test_the_peak_of_a_child_is_its_own(tmp_path):
    script = tmp_path / "peak.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import harness, json\n"
        "held = bytearray(int(sys.argv[1])); print('noise'); print(json.dumps({'mib': harness.peak_mib()}))\n"
    )
    held = bytearray(200 * 2**20)  # the test's own memory is not the child's
    small, large = (harness.in_fresh_process(str(script), str(size))["mib"] for size in (0, 100 * 2**20))
    assert small < 100 and 95 < large - small < 105
    assert harness.peak_mib() > len(held) / 2**20
    with pytest.raises(RuntimeError, match="ValueError"):
        harness.in_fresh_process(str(script), "many")


def test_the_machine_is_described():
    where = harness.machine(threads=2)
    assert where["threads"] == "2" and where["python"] == ".".join(map(str, sys.version_info[:3]))
    assert all(where[key] for key in ("date", "commit", "cpu", "cores", "ram_gib", "accelerator", "os", "torch"))


def test_every_benchmark_of_a_suite_has_its_file():
    for suite in run.SUITES.values():
        assert all((BENCHMARKS / f"bench_{name}.py").is_file() for name in suite.minutes)


@pytest.mark.parametrize(
    ("given", "said"), [(["--only", "fishes"], "no such benchmark: fishes"), ([], "needs a model")]
)
def test_wrong_options_end_before_anything_is_measured(given, said):
    done = subprocess.run([sys.executable, str(BENCHMARKS / "run.py"), *given], capture_output=True, text=True)
    assert done.returncode == 1 and said in done.stderr


def test_texts_have_crossfit_like_lengths_and_few_grow_to_many():
    texts = workload.make_texts(3000)
    lengths = np.array([len(text.split()) + 1 for text in texts])
    assert 37 < lengths.mean() < 42 and lengths.min() >= 4 and lengths.max() == workload.MAX_TOKENS
    assert workload.make_texts(10) == texts[:10]


def test_prompts_differ_in_labels_only():
    texts = workload.make_texts(64)
    first, again, other = (workload.make_pairs(texts, prompt) for prompt in (0, 0, 1))
    assert first == again and [pair.x for pair in first] == [pair.x for pair in other]
    assert {pair.y for pair in first}.isdisjoint({pair.y for pair in other})
    assert {len(pair.y.split()) + 1 for pair in first} == {2, 3, 4}


def test_batches_hold_every_text_once_and_are_sorted_by_length():
    surrogate = workload.make_surrogate("tiny")
    texts = workload.make_texts(20)
    batches = workload.make_batches(surrogate, workload.make_pairs(texts), 8)
    lengths = [int(n) for batch in batches for n in batch["attention_mask"].sum(1)]
    assert lengths == sorted(len(text.split()) + 1 for text in texts)
    assert all(surrogate.tokenizer.unk_token_id not in batch["input_ids"] for batch in batches)


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_of_the_package_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fute":
            module = importlib.import_module(node.module)
            for name in (alias.name for alias in node.names):
                assert hasattr(module, name) or importlib.util.find_spec(f"{node.module}.{name}"), (node.module, name)
