"""Every step of a finished run, with each of its inputs broken in turn."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from support.broken_files import KINDS, Broken
from support.checkouts import Checkout


class StepCall(NamedTuple):
    """The command `python -m fute ...` of one job, and its inputs among the results."""

    rule: str
    command: list[str]
    inputs: list[str]


def step_calls(checkout: Checkout) -> Iterator[StepCall]:
    """The first job of every rule that runs a step."""
    said = checkout.dry_run("--forceall", "--printshellcmds")
    rules = set()
    for job in said.split("\n\n"):
        rule = re.search(r"^(?:local)?rule (\w+):", job, re.MULTILINE)
        shell = re.search(r"^Shell command: .*?(python -m fute(?:\.launch)? .*?) (?:&?>|\|)", job, re.MULTILINE)
        inputs = re.search(r"^    input: (.*)$", job, re.MULTILINE)
        if rule and shell and inputs and rule[1] not in rules and " audit " not in shell[1]:
            rules.add(rule[1])
            # one command line: `fute.launch -- STEP` runs the same step
            command = shlex.split(re.sub(r"-m fute\.launch .*?-- ", "-m fute ", shell[1]))
            yield StepCall(rule[1], command, inputs[1].split(", "))


def forget_batches(checkout: Checkout) -> None:
    """Remove finished batches, so that a dry run plans them."""
    for folder in sorted((checkout / "results").rglob("batches")):
        shutil.rmtree(folder)


def silent_or_noisy(checkout: Checkout, calls: Iterable[StepCall]) -> list[str]:
    """What was not told on one line with exit code 1 or 2: `rule, input, kind: what was said`.

    Of a step's inputs, each kind breaks another one.
    """
    wrong = []
    for call in calls:
        for number, kind in enumerate(KINDS):
            # what a model's lock says is no step's business: it stands for the weights by its hash
            read = [name for name in call.inputs if kind != "another kind" or not name.endswith(".lock.json")]
            name = read[number % len(read)]
            record = checkout / f"{name}.prov.json"
            kept = record.read_bytes() if record.is_file() else None
            with Broken(checkout / name, kind):
                if kind == "another kind":  # a file that no step of the workflow made
                    record.unlink(missing_ok=True)
                done = subprocess.run(
                    call.command, cwd=checkout.folder, env=checkout.environment(), text=True, capture_output=True
                )
            if kept is not None:
                record.write_bytes(kept)
            told = [
                line for line in done.stderr.splitlines() if line.startswith(("fute: ", f"fute {call.command[3]}: "))
            ]
            if done.returncode not in (1, 2) or len(told) != 1 or "Traceback" in done.stderr:
                wrong.append(f"{call.rule}, {name}, {kind}: exit {done.returncode}: {done.stderr[-600:]}")
    return wrong
