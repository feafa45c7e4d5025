"""Run the workflow with a run's settings: Snakemake, and nothing else (`fute run`)."""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from fute import paths
from fute.artifacts import read_jsonl
from fute.cluster.job_needs import JobNeeds
from fute.config.run import load_run, read_yaml
from fute.front.places import OWN_TEXTS, run_file, snakefile_folder
from fute.llm.label_batch_step import SELF_SELECT
from fute.plan import Plan

CORES = ("--cores", "--jobs", "--profile", "--workflow-profile", "--executor", "--unlock")
SHORT_CORES = ("-c", "-j", "-e")
"""Arguments that say how many jobs run, or that none does; a value may follow after `=`, or after a short one."""


def command(name: str, arguments: Sequence[str]) -> list[str]:
    """The command of a run. arguments: of Snakemake, which stand last. Raises FrontError, ConfigError."""
    path = run_file(name)
    given = any(each.partition("=")[0] in CORES or each.startswith(SHORT_CORES) for each in arguments)
    cores = [] if given else ["--cores", "all"]
    values = read_yaml(path)
    # the rest of a comparison's experiment is the paper's
    targets = [paths.PLANTED] if isinstance(values, dict) and values.get("lm") and "--" not in arguments else []
    return ["snakemake", "--configfile", str(path), *cores, *arguments, *(["--", *targets] if targets else [])]


def cost(path: Path, targets: Sequence[str]) -> str:
    """Say in one line what a run has still to do that takes a model. targets: of Snakemake; none: all of the run.

    In the project's folder. Raises ConfigError.
    """
    plan = Plan(load_run(path), targets)
    needs = JobNeeds(plan)
    new: defaultdict[str, list[str]] = defaultdict(list)
    for step in plan.step_batches():
        new[step.rule] += [cell for cells in step.new.values() for cell in cells]
    asked = [corpus for task, corpus in (cell.split("/") for cell in new["label_batch"]) if task != SELF_SELECT]
    own = path.with_name(OWN_TEXTS)  # the U of the run, of which there may be fewer than the limit
    of_u = min(needs.texts(plan.config.corpora[0]), len(read_jsonl(own)) if own.is_file() else math.inf)
    answers = sum(of_u if corpus in plan.config.corpora else needs.texts(corpus) for corpus in asked)
    trained, labelled, vectors = new["finetune_model"], new["label_language_model"], new["embed_batch"]
    parts = [f"at most {answers} answers of {', '.join(plan.config.llm.models)}"] if asked else []
    parts += [f"{len(trained)} trainings"] if trained else []
    parts += [f"{len(labelled) * of_u} labels by them"] if labelled else []
    parts += [f"{len(vectors)} vectors"] if vectors else []
    return f"to do: {', '.join(parts) or 'nothing that takes a model'}"


def run_snakemake(name: str, arguments: Sequence[str]) -> None:
    """Print what a run will take and its command, then become it in the project's folder.

    Raises FrontError, ConfigError.
    """
    words, folder = command(name, arguments), snakefile_folder()
    path = run_file(name)
    os.chdir(folder)
    print(cost(path, words[words.index("--") + 1 :] if "--" in words else ()))
    print(f"cd {shlex.quote(str(folder))} && {shlex.join(words)}", flush=True)
    # the steps call `python`, which must be that of this environment
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.execvp(words[0], words)
