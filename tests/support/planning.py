"""Dry runs to be measured: the paper's run with any number of LLMs, and a bare workflow of as many jobs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from fute.data.crossfit_tasks import LM_EXCLUDED, SCRIPTS
from support.checkouts import Checkout, copy_project, say

PAPER = "config/paper.yaml"
# three rules, each with an input, an output, a log, a parameter and a command
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


@dataclass(frozen=True)
class DryRun:
    """seconds: of the processor, which other work on the machine hardly changes. mib: most memory it held."""

    seconds: float
    mib: float
    said: str

    @property
    def jobs(self) -> int:
        """How many are planned; none where everything is there or nothing was asked for."""
        return int((re.findall(r"^total +(\d+)$", self.said, re.MULTILINE) or [0])[-1])


@dataclass(frozen=True)
class Plan:
    """Where Snakemake is run, and what it is asked to plan."""

    folder: Path
    arguments: tuple[str, ...] = ()

    def run(self) -> DryRun:
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "snakemake", "-n", *self.arguments, "--quiet", "rules"],
                cwd=self.folder, env=Checkout(self.folder).environment(), stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            said = output.read()
        assert process.returncode == 0, said[-4000:]
        return DryRun(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, said)

    def finish(self) -> int:
        """Make all files of the plan, empty, with Snakemake's metadata; returns how many jobs the plan then has."""
        line = [sys.executable, str(Path(__file__).with_name("finished_plan.py")), *self.arguments[1:]]
        environment = Checkout(self.folder).environment()
        done = subprocess.run(line, cwd=self.folder, env=environment, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr[-4000:]
        return int(done.stdout.split()[-1])


def paper(folder: Path, llms: int | None = None) -> Plan:
    """The paper's run in a copy of the project, with small files in the place of CrossFit's.

    llms: how many LLMs it has, all of one size; None: its own three.
    """
    made = copy_project(folder)
    (made / "texts/crossfit").mkdir(parents=True)
    scripts = [name for name in SCRIPTS if name not in LM_EXCLUDED]
    assert len(scripts) == 109
    for name in scripts:
        (made / f"texts/crossfit/{name}.tsv").write_text(f"a text of {name}\tan answer\n")
    settings = yaml.safe_load((made / PAPER).read_text())
    settings["data"]["root"] = str(made / "texts")
    if llms:
        models = yaml.safe_load((made / "config/models.yaml").read_text())
        entries = {f"llm-{n}": models["llama-2-13b"] | {"repo": f"an/llm-{n}"} for n in range(llms)}
        (made / "config/models.yaml").write_text(yaml.safe_dump(models | entries))
        settings["llm"]["models"] = list(entries)
    (made / PAPER).write_text(yaml.safe_dump(settings))
    return Plan(made.folder, ("--configfile", PAPER))


def bare(folder: Path, jobs: int) -> Plan:
    """A bare workflow of so many jobs, its target among them."""
    n, rest = divmod(jobs - 1, 3)
    folder.mkdir()
    (folder / "Snakefile").write_text(BARE.format(n=n, rest=rest))
    return Plan(folder)


def alternating(rounds: int, ours: Plan, other: Plan, jobs: int) -> list[DryRun]:
    """The quickest dry run of each, measured in turn: other work on the machine only ever adds.

    jobs: how many each must plan.
    """
    runs = [(ours.run(), other.run()) for _ in range(rounds)]
    assert {run.jobs for pair in runs for run in pair} == {jobs}
    return [min(column, key=lambda run: run.seconds) for column in zip(*runs, strict=True)]


def ratio(bound: float, ours: Plan, other: Plan, jobs: int, least: int = 2, most: int = 5) -> float:
    """Processor time of our dry run over that of another as large, the quickest of each counting.

    They are measured `least` times, and up to `most` times until the ratio is within the bound.
    """
    left, right = alternating(least, ours, other, jobs)
    quickest, others, done = left.seconds, right.seconds, least
    while quickest > bound * others and done < most:
        left, right = alternating(1, ours, other, jobs)
        quickest, others, done = min(quickest, left.seconds), min(others, right.seconds), done + 1
    say(f"{quickest:.2f} s, the other {others:.2f} s, ratio {quickest / others:.2f} after {done} rounds")
    return quickest / others
