"""`fute run` is Snakemake: the command that it prints is the one that it becomes."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest
from support.own_runs import write_data

from fute import cli, paths
from fute.front import run
from fute.front.new import new_run
from fute.front.places import PROJECT
from fute.front.run import command
from fute.front.table import FrontError
from fute.front.wanted import Wanted


@pytest.fixture
def mine(here: Path) -> Path:
    Path("mine").mkdir()
    Path("mine/run.yaml").write_text("llm: {}\nlm: null\n")
    return here / "mine" / "run.yaml"


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
    monkeypatch.setattr(run, "cost", lambda path, targets: f"to do: {path.name} for {targets}")
    monkeypatch.setattr(os, "execvp", lambda *words: became.append((*words, Path.cwd())))
    monkeypatch.setenv("PATH", "/bin")
    given = ["-n", "--config", "a=b c", "--", "paper", "--help"]
    monkeypatch.setattr(sys, "argv", ["fute", "run", "mine", *given])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    words = ["snakemake", "--configfile", str(mine), "--cores", "all", *given]
    assert became == [("snakemake", words, PROJECT)]
    assert capsys.readouterr().out == f"to do: run.yaml for ['paper', '--help']\ncd {PROJECT} && {shlex.join(words)}\n"


def test_a_folder_that_is_no_run_is_named():
    for name in ("nowhere", "."):
        with pytest.raises(FrontError, match=r"has no run\.yaml; make the run with `fute new"):
            command(name, [])
    Path("run.yaml").touch()
    with pytest.raises(FrontError, match=r"^run\.yaml: is a file; name the folder of a run, which has a run\.yaml$"):
        command("run.yaml", [])


def test_it_says_what_takes_a_model():
    write_data(["Yes? {text}", "{text} Yes?"])
    new_run(Wanted(Path("mine"), Path("d.csv"), prompts=Path("p.yaml"), model="smollm2-135m"))
    new_run(Wanted(Path("start"), Path("d.csv"), models=("minilm-l6", "gpt2"), unlabelled=Path("d.csv")))
    for name in ("resources", "config"):
        Path(name).symlink_to(PROJECT / name)
    # two prompts on 384 texts of U and at most 100 rows; two vectors of prompts, one of the data, three permuted each
    assert run.cost(Path("mine/run.yaml"), ()) == "to do: at most 968 answers of smollm2-135m, 21 vectors"
    assert run.cost(Path("start/run.yaml"), [paths.PLANTED]) == "to do: 2 trainings, 80 labels by them, 3 vectors"
    for box in ("minilm-l6/start", "gpt2/start"):
        for name in (paths.finetuned(*box.split("/")), paths.labels(*box.split("/"), "lm")):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()  # files of before a change of the data, say
    assert run.cost(Path("start/run.yaml"), [paths.PLANTED]) == "to do: 2 trainings, 80 labels by them, 3 vectors"
