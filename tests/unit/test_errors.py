"""Expected errors are one line: what, where, what to do. Errors of the program itself keep their traceback."""

import errno
import json
import os
import re
import sys
import zipfile
from pathlib import Path

import pytest
from support.broken_files import KINDS, Broken
from support.vectors import put_vector

from fute import cli, steps
from fute.artifacts import Step, csv_bytes, jsonl_bytes
from fute.errors import damage, one_line


def run(*arguments: str) -> int:
    """Exit code of the command `fute`, in this process."""
    sys.argv = ["fute", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code or 0
    return 0


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a file of pairs, two vectors, and a small evaluation."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    Path("pairs.jsonl").write_bytes(jsonl_bytes([{"x": "good", "y": "yes"}, {"x": "bad", "y": "no"}]))
    Path("dev.jsonl").write_bytes(Path("pairs.jsonl").read_bytes())
    Path("config.yaml").write_text((steps.PACKAGE.parents[1] / "tests/support/both.yaml").read_text())
    for name in "ab":
        put_vector(f"{name}.safetensors", [1, 2, 3])
    model = Path("results/models/smollm2-135m")
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    Path("results/evaluation").mkdir(parents=True)
    Path("results/evaluation/similarities.csv").write_text(
        "method,model,prompt,dataset,cosine,unknown_tokens,mte_learned,dte_learned\ntupate,m,p,films,0.5,0,yes,yes\n"
    )
    Path("results/evaluation/controls.csv").write_text("method,model,dataset,sd_orders,verdict\n")
    Path("results/evaluation/table3.csv").write_text("category,model\n")
    return tmp_path


COMMANDS = {
    "embed, pairs": ("pairs.jsonl", ("embed", "pairs.jsonl", "--output", "v.safetensors")),
    "embed, dev": ("dev.jsonl", ("embed", "pairs.jsonl", "--dev", "dev.jsonl", "--output", "v.safetensors")),
    "embed, config": ("config.yaml", ("embed", "pairs.jsonl", "--config", "config.yaml", "--output", "v.safetensors")),
    "compare, first": ("a.safetensors", ("compare", "a.safetensors", "b.safetensors")),
    "compare, others": ("b.safetensors", ("compare", "a.safetensors", "b.safetensors")),
    "rank": ("results/evaluation/similarities.csv", ("rank", "films")),
    "rank, controls": ("results/evaluation/controls.csv", ("rank", "films")),
    "show": ("results/evaluation/table3.csv", ("show",)),
    "plan": ("config.yaml", ("plan", "--configfile", "config.yaml")),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_broken_file_is_one_line(command, kind, capsys):
    path, arguments = COMMANDS[command]
    with Broken(Path(path), kind):
        code = run(*arguments)
    told = capsys.readouterr()
    assert code in (1, 2) and "Traceback" not in told.err, told.err
    assert "fute: " in told.err or "Usage" in told.err
    assert not Path("v.safetensors").exists()


SOURCES = {step: (steps.PACKAGE / folder / f"{step}_step.py").read_text() for step, folder in steps.STEPS.items()}
WITH_SETTINGS = {
    step: flag[1]
    for step, text in SOURCES.items()
    if (flag := re.search(r"\b(settings|spec|entry): [A-Z]\w+[,)]", text))
}


def test_almost_all_steps_have_settings():
    assert set(steps.STEPS) - set(WITH_SETTINGS) == {
        "self_select",
        "extract_embedding",
        "extract_files",
        "baseline_scores",
    }


@pytest.mark.parametrize("step", WITH_SETTINGS)
@pytest.mark.parametrize("settings", ["missing.json", ".", "empty.json", "pairs.jsonl"])
def test_a_step_without_its_settings_is_one_line(step, settings, capsys):
    Path("empty.json").touch()
    assert run(step, f"--{WITH_SETTINGS[step]}", settings) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told and f"fute {step}: error: " in told


def test_a_full_disk_is_one_line(monkeypatch, capsys):
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def write() -> None:
        with Step("fute.paper.table3_step", settings={}) as step:
            step.json(Path("results/x.json"), {})

    monkeypatch.setattr("fute.artifacts._sync", full)
    monkeypatch.setattr(steps, "run", lambda *_: write())
    assert run("table3") == 1
    told = capsys.readouterr().err
    assert told.startswith("fute: cannot write ") and "the disk is full" in told and told.count("\n") == 1
    assert not list(Path("results").glob("*x.json*"))


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_fault_of_the_program_keeps_its_traceback():
    assert one_line(raised(KeyError("k")), ["step"]) is None
    assert one_line(raised(AssertionError()), ["step"]) is None
    assert one_line(raised(MemoryError()), ["a.safetensors"]) is None
    with Step("fute.paper.table3_step", settings={}) as step:
        step.json(Path("good.json"), {"a": 1})
    assert one_line(raised(KeyError("k")), ["--files", "x=good.json"]) is None


def test_an_error_beside_a_file_that_was_edited_names_it():
    with Step("fute.paper.table3_step", settings={}) as step:
        step.json(Path("results/good.json"), {"a": 1})
    Path("results/good.json").write_text('{"b": 1}')
    Path("lines").write_text("x=results/good.json")
    for arguments in (["results/good.json"], ["x=results/good.json"], ["@lines"], ["--f=results/good.json"]):
        told = one_line(raised(KeyError("a")), arguments)
        assert told.startswith("results/good.json: is not the file that its record describes")
        assert told.endswith("make it again: snakemake --cores 1 --force results/good.json")


def test_an_error_beside_a_file_without_a_record_names_both():
    told = one_line(raised(KeyError("index")), ["step", "pairs.jsonl"])
    assert told == (
        "cannot use what it was given (KeyError: 'index'): these files have no record, so they may hold something "
        "else: pairs.jsonl"
    )
    assert one_line(raised(RuntimeError("CUDA")), ["step", "pairs.jsonl"]) is None


def test_a_missing_artifact_says_what_makes_it():
    error = raised(FileNotFoundError(errno.ENOENT, "No such file or directory", "results/data/films/train.jsonl.gz"))
    assert one_line(error, []) == (
        "results/data/films/train.jsonl.gz: No such file or directory; make it: snakemake --cores 1 "
        "results/data/films/train.jsonl.gz"
    )


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.json", b"", "is empty"),
        ("a.json", b'{"a"', "is damaged"),
        ("a.json", b"[" * 100_000, "is damaged"),
        ("a.jsonl", b'{"a": 1}\n[]\n', "line 2 is no JSON object"),
        ("a.jsonl.gz", b"\x1f\x8b\x08", "is damaged"),
        ("a.csv", b"a,b\n\xff\n", "is damaged"),
        ("a.zip", b"PK\x03\x04", "is damaged"),
        ("a.safetensors", b"\xff" * 20, "is damaged"),
        ("a.json", b"{}", None),
        ("a.jsonl", '{"a": "one\u2028line"}\n'.encode(), None),
        ("a.csv", b'a,b\n"1\n2",3\n', None),
        ("a.bin", b"\xff", None),
    ],
)
def test_damage(name, data, problem):
    Path(name).write_bytes(data)
    told = damage(Path(name))
    assert told is None if problem is None else told.startswith(problem)


def test_cut_vectors_and_archives_are_damaged():
    assert damage(Path("a.safetensors")) is None
    Path("a.safetensors").write_bytes(Path("a.safetensors").read_bytes()[:-4])
    assert damage(Path("a.safetensors")) == "is cut"
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr("member", json.dumps({"a": "b" * 100}))
    data = bytearray(Path("a.zip").read_bytes())
    data[60] ^= 1
    assert damage(Path("a.zip")) is None
    Path("a.zip").write_bytes(bytes(data))
    assert damage(Path("a.zip")) == "its member member is damaged"


def test_a_reader_that_has_enough_is_no_error(monkeypatch, capsys):
    def enough(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(steps, "run", enough)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert run("table3") == 0 and not capsys.readouterr().err


def test_an_interrupt_is_no_traceback(monkeypatch, capsys):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "run", stop)
    assert run("table3") == 130 and capsys.readouterr().err == "fute: interrupted\n"


def test_an_error_from_inside_the_package_says_where():
    with pytest.raises(TypeError) as caught:
        csv_bytes(5)
    told = one_line(caught.value, ["step", "pairs.jsonl"])
    assert re.match(r"cannot use what it was given \(TypeError at fute/artifacts\.py:\d+: ", told)


def test_tidy_of_a_folder_that_is_not_there_is_an_error(capsys):
    assert run("tidy", "nofolder") == 2
    assert "'nofolder' does not exist" in capsys.readouterr().err
    assert run("tidy", "pairs.jsonl") == 2 and run("tidy", "results") == 0
