"""Cost of a run before it starts: jobs by rule, GPU-hours, tokens, disk.

A dry run of Snakemake lists the jobs, and `fute.cluster.job_needs` estimates the cost of the heavy ones. If a rule
has finished jobs, their mean time replaces the estimate.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from fute import paths
from fute.artifacts import SIDECAR
from fute.batching import KEYS
from fute.cluster.job_needs import JobNeeds
from fute.cluster.resources import INFERENCE_BYTES, Need, width
from fute.cluster.storage import existing
from fute.config.settings import Config
from fute.config.unsup import LM
from fute.csv_files import benchmark_seconds
from fute.plan import Plan

GB = 1e9
LABEL_BYTES = 120
"""Bytes per text in compressed label files: its line in the batch and the same line in the extract."""


class RuleCost(NamedTuple):
    """Cost of the jobs of one rule. measured: number of finished jobs whose mean time is used; 0: it is an estimate."""

    rule: str
    jobs: int
    gpus: int = 0
    gpu_hours: float = 0.0
    minutes: float | None = None
    tokens: int = 0
    measured: int = 0


def planned_jobs(arguments: tuple[str, ...]) -> dict[str, int]:
    """Number of jobs by rule, from a dry run. arguments: of Snakemake, which name the settings of the run.

    Raises RuntimeError if it cannot be planned, with Snakemake's output.
    """
    line = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules"]
    dry_run = subprocess.run([*line, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if dry_run.returncode != 0:
        raise RuntimeError(f"the run cannot be planned:\n{dry_run.stdout.strip()[-2000:]}")
    table = dry_run.stdout.split("Job stats:")[-1].split("\n\n")[0]
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
    return {name: count for name, count in jobs.items() if name not in ("total", "all")}


def heavy_jobs(plan: Plan, needs: JobNeeds) -> Iterator[tuple[str, Need]]:
    """Yield rule and need of every job of the run's heavy rules whose output does not exist yet."""
    for model in plan.run.tuned:
        if not Path(paths.model_lock(model)).is_file():
            yield "tune_llm", needs.tune_llm(model)
    if any(plan.vectors.shares_states(method) for method in plan.config.methods):
        for corpus in plan.config.corpora:
            if not Path(paths.encoder_states(plan.vectors.surrogate, corpus)).is_file():
                yield "encoder_states", needs.encoder_states(corpus)
    for step in plan.step_batches():
        need = getattr(needs, step.rule)
        yield from ((step.rule, need(step.of, batch)) for batch in step.new)


def rule_costs(jobs: dict[str, int], heavy: list[tuple[str, Need]], results: Path) -> list[RuleCost]:
    """Costs by rule, the most expensive first. results: folder with what finished jobs made, and their times."""
    records = results.glob(f"**/batches/*{KEYS}{SIDECAR}")
    # what is measured of these batches is their last process alone
    resumed = {path.name.split(".")[0] for path in records if json.loads(path.read_bytes())["run"].get("resumed")}
    costs = []
    for rule, count in jobs.items():
        needs = [need for name, need in heavy if name == rule]
        if not needs:
            costs.append(RuleCost(rule, count))
            continue
        minutes, gpu_hours, seconds = 0.0, 0.0, []
        for method in {need.method: None for need in needs}:
            own = [n for n in needs if n.method == method]
            done = measured_seconds(results / "benchmarks" / rule, method, resumed)
            # one method takes as long as its own finished jobs, whatever another one takes
            for need in own:
                each = sum(done) / len(done) / 60 if done else need.estimate
                minutes, gpu_hours = minutes + each, gpu_hours + need.gpus * each / 60
            seconds += done
        gpus, tokens = max(need.gpus for need in needs), sum(need.tokens for need in needs)
        costs.append(RuleCost(rule, count, gpus, gpu_hours, minutes, tokens, len(seconds)))
    return sorted(costs, key=lambda cost: (-cost.gpu_hours, -(cost.minutes or 0), cost.rule))


def measured_seconds(folder: Path, method: str = "", besides: Container[str] = ()) -> list[float]:
    """Seconds of the finished jobs of a rule, from Snakemake's benchmark files; an empty one is of no finished job.

    method: of files named `{model}-{method}-{batch}.tsv` only those of this method; "" for all files. besides: names of
    batches that are left out.
    """
    named = re.compile(rf".+-{re.escape(method)}-\w+\.tsv" if method else ".+")
    files = [path for path in sorted(folder.glob("*.tsv")) if named.fullmatch(path.name)]
    files = [path for path in files if path.stem.rpartition("-")[2] not in besides]
    return [seconds for path in files if not math.isnan(seconds := benchmark_seconds(path))]


def disk_bytes(plan: Plan, needs: JobNeeds, *, missing: bool = False) -> dict[str, float]:
    """Estimated bytes of the files that a run keeps, by kind. missing: only of those that are not there yet; the small
    labels are counted as a whole.
    """

    def counts(path: str) -> bool:
        return not (missing and Path(path).is_file())

    config, llm, lm = plan.config, plan.llm, plan.lm
    with_files = [name for name in plan.models if not plan.run.models[name].server] + list(plan.run.tuned)
    with_files = [name for name in with_files if counts(paths.model_lock(name))]
    finetuned = (
        [model for model, dataset in lm.finetune.models if counts(paths.finetuned(model, dataset))] if lm else []
    )
    surrogate = needs.parameters(config.surrogate.name)
    shared = any(plan.vectors.shares_states(method) for method in config.methods)
    cells = [corpus for _, _, corpus in llm.labels.cells] if llm else []
    cells += [LM] * len(lm.black_boxes) if lm else []
    methods = map(paths.method_of, filter(counts, plan.vector_batches.items))
    encoded = [c for c in config.corpora if shared and counts(paths.encoder_states(config.surrogate.name, c))]
    return {
        "models": sum(INFERENCE_BYTES * needs.parameters(name) for name in with_files),
        "fine-tuned models": sum(4 * needs.parameters(model) for model in finetuned),
        "labels": sum(LABEL_BYTES * needs.texts(corpus) for corpus in cells),
        "embeddings": sum(2 * _vector_bytes(config, method, surrogate) for method in methods),
        "encoder states": sum(needs.state_bytes(needs.encoded_tokens(corpus)) for corpus in encoded),
    }


def _vector_bytes(config: Config, method: str, surrogate: float) -> float:
    """Estimated bytes of a vector of a method. surrogate: its parameters."""
    if method != "taskemb":
        return 4 * 2 * 16 * 24 * width(surrogate)  # of these the largest is a prefix over all layers
    fisher = config.taskemb.mte
    # a block of width d has about 12 d^2 weights
    entries = surrogate if fisher.layers is None else min(surrogate, 12 * width(surrogate) ** 2 * fisher.layers)
    numbers = {"none": entries, "rows": entries / width(surrogate), "tensors": 25_000}[fisher.reduce]
    return (2 if fisher.store == "float16" else 4) * numbers


def print_costs(plan: Plan, costs: list[RuleCost], disk: dict[str, float], missing: dict[str, float]) -> None:
    """Print the costs, and if the disk has room for the files that are missing.

    disk, missing: `disk_bytes` of all files that the run keeps, and of those that are missing.
    """
    console = Console(width=110)
    table = Table("rule", "jobs", "GPUs per job", "GPU-hours", "hours", "tokens (millions)", "time is", title="Jobs")
    for cost in costs:
        hours = "" if cost.minutes is None else f"{cost.minutes / 60:.1f}"
        time = "" if cost.minutes is None else f"mean of {cost.measured}" if cost.measured else "estimated"
        gpu = (str(cost.gpus), f"{cost.gpu_hours:.1f}") if cost.gpus else ("", "")
        tokens = f"{cost.tokens / 1e6:.1f}" if cost.tokens else ""
        table.add_row(cost.rule, str(cost.jobs), *gpu, hours, tokens, time)
    console.print(table)
    total = sum(cost.gpu_hours for cost in costs)
    console.print(f"{sum(cost.jobs for cost in costs)} jobs, {total:.0f} GPU-hours")
    needed = sum(disk.values()) / GB
    parts = ", ".join(f"{name} {size / GB:.1f}" for name, size in disk.items() if size)
    console.print(f"disk of a whole run: {needed:.1f} GB ({parts})")
    left, free = sum(missing.values()) / GB, shutil.disk_usage(existing(plan.results)).free / GB
    short = "" if free >= left else ": TOO LITTLE; free some, or put results/ elsewhere (a symbolic link)"
    console.print(f"free where results/ lies, for {left:.1f} GB that are not there yet: {free:.0f} GB{short}")
