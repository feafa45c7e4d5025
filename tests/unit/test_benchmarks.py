"""The benchmarks' own code: rows, files, the table in the docs, and what is measured on."""

import argparse
import ast
import importlib
import importlib.util
import json
import os
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
    loads = iter([0.9, 0.71, 0.7])
    monkeypatch.setattr(harness.os, "getloadavg", lambda: (next(loads), 9.0, 9.0))
    monkeypatch.setattr(harness.time, "sleep", lambda seconds: None)
    harness.wait_until_quiet(False)
    assert not list(loads)  # waited until 0.7
    monkeypatch.setattr(harness.os, "getloadavg", lambda: (0.71, 0.0, 0.0))
    monkeypatch.setattr(harness, "MAX_WAIT", -1)
    with pytest.raises(SystemExit, match="busy"):
        harness.wait_until_quiet(False)
    harness.wait_until_quiet(True)


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


def test_vectors_with_shared_states_are_compared_byte_for_byte(tmp_path, monkeypatch):
    bench_lora = importlib.import_module("bench_lora")
    options = argparse.Namespace(texts=20, boxes=2, dtype="float32")
    path = bench_lora.save_surrogate("tiny", tmp_path)
    (row,) = bench_lora.measure(options, path)
    assert row.error == 0 and row.ratio == pytest.approx(row.other_seconds / row.ours_seconds)
    vectors = iter(np.arange(9))
    monkeypatch.setattr(bench_lora.Embedder, "embed", lambda *_: argparse.Namespace(vector=next(vectors)))
    with pytest.raises(AssertionError, match="black box 0: its vector with shared states is another one"):
        bench_lora.measure(options, path)


# --- one GPU call ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench_gpu():
    return importlib.import_module("bench_gpu")


def test_the_gpu_call_does_all_its_parts_in_small(bench_gpu, tmp_path, capfd, monkeypatch):
    parts = list(bench_gpu.PARTS)
    broken = iter([bench_gpu.Row("half", "1", "a", "b")])

    def breaks(bench):
        yield next(broken)
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr(bench_gpu, "PARTS", {"breaks": (9, breaks), "late": (1, breaks), **bench_gpu.PARTS})
    monkeypatch.setattr(bench_gpu, "LEAST_SECONDS", 2)
    with pytest.raises(SystemExit, match=r"not done: breaks, late; missed"):
        bench_gpu.main(["--dry", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "gpu.json").read_text())
    states = {name: part["state"] for name, part in report["parts"].items()}
    assert states == {"breaks": "failed", "late": "not started"} | dict.fromkeys(parts, "done")
    assert all(report["parts"][name]["rows"] for name in ["breaks", *parts])
    assert "illegal memory access" in report["parts"]["breaks"]["said"]
    rows = {row["name"]: row for name in parts for row in report["parts"][name]["rows"]}
    assert rows["tupate vector on CPU"]["error"] == rows["taskemb vector on CPU"]["error"] == 0
    assert 0 < rows["squares of outer-product gradients, the kernel"]["error"] < 1e-6
    assert 0 < rows["loss curve: TuPaTE, frozen weights in bfloat16"]["ratio"] < 0.05
    whole = rows["TuPaTE, one MTE with shared states"]
    assert "random weights" in whole["size"] and "in proportion" not in whole["note"]
    page = (tmp_path / "gpu.md").read_text()
    assert all(name in page for name in rows) and "- breaks: failed" in page and "weights random weights" in page
    assert page in capfd.readouterr().out
    monkeypatch.setattr(bench_gpu, "DOCS", tmp_path / "page.md")
    (tmp_path / "page.md").write_text("<!-- bench-gpu:start -->\nold\n<!-- bench-gpu:end -->\n")
    bench_gpu.main(["--insert", str(tmp_path / "gpu.json")])
    page = (tmp_path / "page.md").read_text()
    assert "TaskEmb, one MTE" in page and "- breaks: failed.\n" in page and "old" not in page


def test_all_texts_are_worked_on_only_if_the_time_allows(bench_gpu, tmp_path):
    def bench(seconds):
        until = bench_gpu.time.monotonic() + seconds
        return bench_gpu.Bench(bench_gpu.DRY, "cpu", tmp_path, tmp_path, "random weights", until)

    def work(texts):
        done.append(len(texts))
        bench_gpu.time.sleep(0.01)

    done = []
    assert bench_gpu.bench_texts(bench(20), work) == 160 and done == [16, 16, 160]
    done = []
    assert bench_gpu.bench_texts(bench(0.05), work) == 16 and done == [16, 16]
    row = bench_gpu.beside_paper(bench(0), "n", "tupate", 60.0, 16, "note")
    assert row.ratio == 20 and row.note == "note; from 16 of the texts, in proportion"
    with pytest.raises(ArithmeticError, match=r"largest error is 1\.0e-01, more than 1e-04"):
        bench_gpu.refuse_errors([1e-6, 0.1], bench_gpu.KERNEL_ERROR)
    with pytest.raises(ArithmeticError):
        bench_gpu.refuse_errors([float("nan")], bench_gpu.KERNEL_ERROR)


@pytest.mark.parametrize(("missing", "status", "said"), [("pydantic rich", 1, "has no pydantic rich"), ("", 3, "")])
def test_the_script_names_what_is_missing_or_starts_the_parts(tmp_path, missing, status, said):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nif [ "$1" = -c ]; then echo "{missing}"; else echo "$@"; exit 3; fi\n')
    python.chmod(0o755)
    command = ["bash", str(BENCHMARKS / "gpu.sh"), str(tmp_path / "out"), "--surrogate", "t5 base"]
    done = subprocess.run(command, env={**os.environ, "PYTHON": str(python)}, capture_output=True, text=True)
    assert done.returncode == status and said in done.stderr
    given = f"{BENCHMARKS}/bench_gpu.py --out {tmp_path / 'out'} --surrogate t5 base\n"
    assert done.stdout == ("" if missing else given)


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_of_the_package_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fute":
            module = importlib.import_module(node.module)
            for name in (alias.name for alias in node.names):
                assert hasattr(module, name) or importlib.util.find_spec(f"{node.module}.{name}"), (node.module, name)
