"""Which jobs are done again: a seeded sample, spread over stages, models, prompts and datasets, within a budget."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fute.audit.batches import is_batch, keys_of
from fute.audit.findings import INCOMPLETE
from fute.audit.manifest import Manifest
from fute.audit.paths import ResultsFolder
from fute.audit.planned_jobs import Job
from fute.audit.sidecars import read_sidecar
from fute.audit.staleness import same_code

Stratum = tuple[str, str, str, str]


class UnknownArtifact(ValueError):
    """A name that is none of the run's artifacts."""

    exit_code = INCOMPLETE


class NothingDrawn(ValueError):
    """A sample without a job: nothing would be found out."""

    exit_code = INCOMPLETE


@dataclass(frozen=True)
class Sample:
    """Jobs to do again, and what they took the last time, in seconds. left_out: drawn, but over the budget."""

    jobs: tuple[Job, ...]
    seconds: float
    left_out: int


def candidates(jobs: Iterable[Job], manifest: Manifest) -> list[Job]:
    """Jobs of a graph all of whose artifacts are there with a good record."""
    return [job for job in jobs if job.outputs and all(name in manifest.entries for name in job.outputs)]


def named(jobs: Iterable[Job], names: Sequence[str]) -> list[Job]:
    """The jobs that made these artifacts. Raises UnknownArtifact."""
    makers = {name: job for job in jobs for name in job.outputs}
    for name in names:
        if name not in makers:
            raise UnknownArtifact(
                f"{name}: no rule of this configuration made it and left it with a record; give a file of results/ "
                "that `fute audit manifest` lists, not a batch"
            )
    return list({makers[name].outputs: makers[name] for name in names}.values())


def stratum(job: Job) -> Stratum:
    """Stage, model, prompt and dataset of a job; empty where it is about all of them."""
    of = job.wildcards
    model = of.get("model") or of.get("plugin") or of.get("surrogate", "")
    task = of.get("task") or of.get("method") or of.get("name", "")
    dataset = of.get("dataset") or of.get("target") or of.get("category", "")
    return job.rule, model, task, dataset


def draw(
    jobs: Sequence[Job], size: int, seed: int, budget: float, cost: Callable[[Job], float], first: Callable[[Job], bool]
) -> Sample:
    """Draw up to `size` jobs: each time one whose stage, model, prompt and dataset were drawn least.

    budget: most seconds that all may take together, by `cost`. first: jobs to draw before all others.
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
    """Whether the code that made a job's artifacts, or the cells in them, is not the checkout's any more."""
    entries = [manifest.entries[name] for name in job.outputs]
    batches = {source.path for entry in entries for source in entry.inputs if is_batch(source.path)}
    entries += [manifest.entries[name] for name in batches if name in manifest.entries]
    return not all(same_code(entry) for entry in entries)


def seconds_of(job: Job, manifest: Manifest, results: ResultsFolder) -> float:
    """What a job took, by its record; of a batch that it reads, its share. Raises RecordError."""
    first = job.outputs[0]
    own = float(read_sidecar(results.sidecar(first), first)[0].run.get("wall_s", 0))
    for source in manifest.entries[first].inputs:
        if is_batch(source.path) and source.path in manifest.entries:
            run = read_sidecar(results.sidecar(source.path), source.path)[0].run
            cells = results.path(keys_of(source.path)).read_text(encoding="utf8").count("\n")
            own += float(run.get("wall_s", 0)) / max(cells, 1)
    return own
