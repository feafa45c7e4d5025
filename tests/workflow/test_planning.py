"""Planning is quick: the paper's run plans about as fast as a bare workflow of as many jobs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkouts import Checkout, copy_project

from fute.data.crossfit_tasks import EXCLUDED, SCRIPTS

pytestmark = pytest.mark.workflow

RATIO = 1.4
"""Planning the paper's run, whose jobs have up to five inputs, over a bare workflow of as many with one each."""
PARSING_S = 1.0
"""What reading our Snakefile may add to reading an empty one."""
ROUNDS = 5

# as many jobs in three rules, each with an input, an output, a log, a parameter and a command
BARE = """
N, REST = {n}, {rest}
rule all:
    input: [f"c/{{i}}.txt" for i in range(N)], [f"a/{{N + i}}.txt" for i in range(REST)]
rule a:
    output: "a/{{i}}.txt"
    log: "log/a/{{i}}.log"
    params: word="x"
    shell: "echo {{params.word}} > {{output}} 2> {{log}}"
rule b:
    input: "a/{{i}}.txt"
    output: "b/{{i}}.txt"
    log: "log/b/{{i}}.log"
    params: word="x"
    shell: "cat {{input}} > {{output}} 2> {{log}}"
rule c:
    input: "b/{{i}}.txt"
    output: "c/{{i}}.txt"
    log: "log/c/{{i}}.log"
    params: word="x"
    shell: "cat {{input}} > {{output}} 2> {{log}}"
"""


def snakemake(folder: Path, *arguments: str) -> tuple[float, str]:
    """Seconds of one dry run, and what it printed."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", *arguments],
        cwd=folder, env=Checkout(folder).environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return time.monotonic() - started, done.stdout


def alternating(*calls: tuple[Path, tuple[str, ...]]) -> list[float]:
    """Least seconds of each call, measured in turn: other work on the machine only ever adds."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for found, (folder, arguments) in zip(seconds, calls, strict=True):
            found.append(snakemake(folder, *arguments)[0])
    return [min(found) for found in seconds]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("planning") / "project").folder


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Arguments that plan the paper's run, with small files in the place of CrossFit's."""
    root = tmp_path_factory.mktemp("data")
    (root / "crossfit").mkdir()
    scripts = [name for name in SCRIPTS if name not in EXCLUDED["lm"]]
    assert len(scripts) == 109
    for name in scripts:
        (root / "crossfit" / f"{name}.tsv").write_text(f"a text of {name}\tan answer\n")
    return "--configfile", "config/paper.yaml", "--config", f"data={{root: {root}}}"


def test_planning_the_papers_run(project, paper, tmp_path):
    _, plan = snakemake(project, *paper)
    jobs = int(re.findall(r"^total +(\d+)$", plan, re.MULTILINE)[-1])
    # three LLMs, 26 prompts: labels on U and three datasets each, two vectors and the controls
    assert jobs > 3 * 26 * (4 + 2 + 4)
    n, rest = divmod(jobs - 1, 3)
    (tmp_path / "Snakefile").write_text(BARE.format(n=n, rest=rest))
    assert int(re.findall(r"^total +(\d+)$", snakemake(tmp_path)[1], re.MULTILINE)[-1]) == jobs
    ours, bare = alternating((project, ("--quiet", *paper)), (tmp_path, ("--quiet",)))
    print(f"\n{jobs} jobs: planned in {ours:.2f} s, a bare workflow in {bare:.2f} s, ratio {ours / bare:.2f}")
    assert ours <= RATIO * bare


def test_reading_the_snakefile(project, paper, tmp_path):
    (tmp_path / "Snakefile").write_text("")
    ours, empty = alternating((project, ("--list-rules", *paper)), (tmp_path, ("--list-rules",)))
    print(f"\nread in {ours:.2f} s, an empty Snakefile in {empty:.2f} s, {ours - empty:.2f} s more")
    assert ours - empty <= PARSING_S
