"""Choosing the jobs to do again: a seeded sample over stages, models, prompts and datasets, within a budget."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fute.audit.batches import is_batch, keys_read
from fute.audit.findings import AuditError
from fute.audit.manifest import Manifest
from fute.audit.paths import ResultsFolder
from fute.audit.planned_jobs import Job
from fute.audit.rerun.redo_job import Rerunner
from fute.audit.sidecars import read_sidecar
from fute.audit.staleness import same_code
from fute.paths import batch_index


@dataclass(frozen=True)
class Sample:
    """Jobs to do again. seconds: that they took in the run. left_out: number of jobs that were over the budget."""

    jobs: tuple[Job, ...]
    seconds: float
    left_out: int


def choose(
    rerunner: Rerunner, names: Sequence[str], *, size: int, seed: int, budget: float
) -> tuple[list[Job], dict[str, Any]]:
    """The jobs that made some artifacts, or without names a sample; and facts of the sample for the report.

    Only jobs whose artifacts all have a good record are done again. Raises AuditError.
    """
    manifest, results = rerunner.manifest, rerunner.results
    recorded = [job for job in rerunner.graph.jobs if all(name in manifest.entries for name in job.outputs)]
    if names:
        return named(recorded, names), {}
    if not recorded:
        raise AuditError("no job has all its artifacts with a record; run the workflow first")
    sample = draw(
        recorded, size, seed, budget,
        cost=lambda job: seconds_of(job, manifest, results), first=lambda job: edited(job, manifest),
    )  # fmt: skip
    if not sample.jobs:
        raise AuditError(
            f"{sample.left_out} of {len(recorded)} jobs are over the budget of {budget:g} s; raise --budget"
        )
    facts = {"of": len(recorded), "seed": seed, "recorded seconds": round(sample.seconds, 1)}
    return list(sample.jobs), facts | ({"over the budget": sample.left_out} if sample.left_out else {})


def named(jobs: Iterable[Job], names: Sequence[str]) -> list[Job]:
    """The jobs that made these artifacts. Raises AuditError."""
    makers = {name: job for job in jobs for name in job.outputs}
    for name in names:
        if name not in makers:
            raise AuditError(
                f"{name}: no rule of this configuration made it with a record; give a file that the manifest lists "
                "(results/audit/manifest.json, made by: fute audit manifest), not a batch"
            )
    return list({makers[name].outputs: makers[name] for name in names}.values())


def stratum(job: Job) -> tuple[str, str, str, str]:
    """Stage, model, prompt and dataset of a job; empty for what it has none of."""
    of = job.wildcards
    model = of.get("model") or of.get("plugin") or of.get("surrogate", "")
    task = of.get("task") or of.get("method") or of.get("name", "")
    dataset = of.get("dataset") or of.get("target") or of.get("category", "")
    return job.rule, model, task, dataset


def draw(
    jobs: Sequence[Job], size: int, seed: int, budget: float, cost: Callable[[Job], float], first: Callable[[Job], bool]
) -> Sample:
    """Draw up to `size` jobs, each time one whose stage, model, prompt and dataset were drawn least.

    budget: most seconds for all together. cost: seconds of a job. first: whether to draw a job before others.
    """
    remaining = sorted(jobs, key=lambda job: job.outputs)
    random.Random(seed).shuffle(remaining)
    seen: tuple[Counter[str], ...] = tuple(Counter() for _ in range(4))
    drawn: list[Job] = []
    spent, left_out = 0.0, 0

    def order(job: Job) -> tuple[bool, list[int]]:
        return not first(job), [counter[value] for counter, value in zip(seen, stratum(job), strict=True)]

    while remaining and len(drawn) < size:
        job = min(remaining, key=order)
        remaining.remove(job)
        seconds = cost(job)
        if spent + seconds > budget:
            left_out += 1
            continue
        drawn.append(job)
        spent += seconds
        for counter, value in zip(seen, stratum(job), strict=True):
            counter[value] += 1
    return Sample(tuple(drawn), spent, left_out)


def edited(job: Job, manifest: Manifest) -> bool:
    """Whether the code that made a job's artifacts, or the cells in them, was edited since."""
    entries = [manifest.entries[name] for name in job.outputs]
    batches = {source.path for entry in entries for source in entry.inputs if is_batch(source.path)}
    entries += [manifest.entries[name] for name in batches if name in manifest.entries]
    return not all(same_code(entry) for entry in entries)


def seconds_of(job: Job, manifest: Manifest, results: ResultsFolder) -> float:
    """Seconds of a job, by its record, with its share of the batches that it reads. Raises RecordError."""
    first = job.outputs[0]
    sidecar = read_sidecar(results, first)[0]
    own = float(sidecar.run.get("wall_s", 0))
    for source in manifest.entries[first].inputs:
        if is_batch(source.path) and source.path in manifest.entries:
            run = read_sidecar(results, source.path)[0].run
            lines = results.path(batch_index(source.path)).read_text(encoding="utf8").splitlines()
            cells, read = {line.partition("\t")[0] for line in lines}, keys_read(sidecar.record.params)
            own += float(run.get("wall_s", 0)) * len(cells.intersection(read)) / max(len(cells), 1)
    return own
