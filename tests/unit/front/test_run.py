"""`fute run` is Snakemake: the command that it prints is the one that it becomes."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from fute import cli
from fute.front.places import PROJECT, NoRun
from fute.front.run import command


@pytest.fixture
def mine(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    Path("mine/run.yaml").write_text("llm: {}\nlm: null\n")
    return tmp_path / "mine" / "run.yaml"


@pytest.mark.parametrize(
    ("given", "rest"),
    [
        ([], ["--cores", "all"]),
        (["-n"], ["--cores", "all", "-n"]),
        (["--cores", "2"], ["--cores", "2"]),
        (["--cores=2", "-n"], ["--cores=2", "-n"]),
        (["-c2"], ["-c2"]),
        (["-j", "4", "evaluation"], ["-j", "4", "evaluation"]),
        (["--profile", "profiles/slurm"], ["--profile", "profiles/slurm"]),
        (["--config", "threads=1"], ["--cores", "all", "--config", "threads=1"]),
    ],
)
def test_arguments_go_through(mine, given, rest):
    assert command("mine", given) == ["snakemake", "--configfile", str(mine), *rest]


def test_a_run_of_models_asks_for_their_ranking_alone(mine):
    mine.write_text("llm: null\nlm: {models: [a, b]}\n")
    front = ["snakemake", "--configfile", str(mine), "--cores", "all"]
    assert command("mine/", ["-n"]) == [*front, "-n", "--", "results/evaluation/planted.csv"]
    assert command("mine", ["--", "paper"]) == [*front, "--", "paper"]


def test_it_prints_the_command_and_becomes_it(mine, monkeypatch, capsys):
    became = []
    monkeypatch.setattr(os, "execvp", lambda *words: became.append((*words, Path.cwd())))
    monkeypatch.setenv("PATH", "/bin")
    given = ["-n", "--config", "a=b c", "--", "paper", "--help"]
    monkeypatch.setattr(sys, "argv", ["fute", "run", "mine", *given])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    words = ["snakemake", "--configfile", str(mine), "--cores", "all", *given]
    assert became == [("snakemake", words, PROJECT)]
    assert capsys.readouterr().out == f"cd {PROJECT} && {shlex.join(words)}\n"


def test_a_folder_that_is_no_run_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("nowhere", "."):
        with pytest.raises(NoRun, match=r"has no run\.yaml; make the run with `fute new"):
            command(name, [])
