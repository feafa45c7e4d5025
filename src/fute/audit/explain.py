"""What an artifact came from, what that cost, and what would run again for it today: all from the records.

Snakemake's own metadata are not asked: they are not there after a copy, and hold no values to compare.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from fute.artifacts import content_key
from fute.audit.batches import changed_settings, is_batch
from fute.audit.collect import build_manifest
from fute.audit.manifest import Manifest
from fute.audit.paths import RESULTS, ResultsFolder
from fute.audit.planned_jobs import Graph, Job, read_graph
from fute.audit.sidecars import RecordError, Sidecar, read_sidecar
from fute.audit.staleness import changed_code
from fute.batching import KEYS
from fute.scrub import scrubbed


@dataclass(frozen=True)
class Link:
    """One artifact of a chain: the step that made it, its hash, and what it was made from. problem: of its record."""

    step: str = ""
    sha256: str = ""
    inputs: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Cost:
    """What all processes of one step in a chain took; peak_memory_mb of the largest. benchmark_s: by Snakemake."""

    step: str
    processes: int
    wall_s: float
    cpu_s: float
    peak_memory_mb: int
    benchmark_s: float | None


@dataclass(frozen=True)
class Pending:
    """A job that would run again: its outputs, and why; `because` names outputs of others that run before it."""

    rule: str
    outputs: tuple[str, ...]
    reasons: tuple[str, ...]
    because: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    target: str
    chain: Mapping[str, Link]
    costs: tuple[Cost, ...]
    pending: tuple[Pending, ...] = field(default=())


def explain(target: str, config: Path, *, settings: Mapping[str, Any] | None = None) -> Explanation:
    """Explain one artifact in the current checkout.

    Raises GraphError where the configuration makes no such file, UnsafePath for a name outside the results.
    """
    results = ResultsFolder(Path(RESULTS))
    sidecars, chain = _chain(target, results)
    costs = tuple(sorted(_costs(sidecars, results), key=lambda cost: -cost.wall_s))
    if is_batch(target) or target.endswith(KEYS):
        return Explanation(target, chain, costs)  # finished batches are in no plan: none runs again
    graph = read_graph(config, [target], settings=settings)
    manifest = build_manifest(graph, config, results)
    return Explanation(target, chain, costs, tuple(_pending(target, graph, manifest, sidecars)))


def _chain(target: str, results: ResultsFolder) -> tuple[dict[str, Sidecar], dict[str, Link]]:
    """Records of an artifact and of everything it came from, the nearest first."""
    sidecars: dict[str, Sidecar] = {}
    chain: dict[str, Link] = {}
    todo = [target]
    for name in todo:  # grows while it is gone through
        if name in chain:
            continue
        if not name.startswith(f"{RESULTS}/"):
            chain[name] = Link()
            continue
        try:
            sidecar, _ = read_sidecar(results.sidecar(name), name)
        except RecordError as error:
            chain[name] = Link(problem=str(error))
            continue
        record = sidecar.record
        sidecars[name] = sidecar
        chain[name] = Link(record.rule, record.sha256, tuple(source.path for source in record.inputs))
        todo += chain[name].inputs
    return sidecars, chain


def _costs(sidecars: Mapping[str, Sidecar], results: ResultsFolder) -> Iterator[Cost]:
    processes: dict[str, dict[str, dict[str, Any]]] = {}
    measured: dict[str, dict[Path, float]] = {}
    for name, sidecar in sidecars.items():
        step = sidecar.record.rule
        # the outputs of one process have one run block
        processes.setdefault(step, {})[content_key(sidecar.run)] = sidecar.run
        if is_batch(name):
            batch = name.rpartition("/")[2].split(".")[0]
            for path in results.folder.glob(f"benchmarks/*/*{batch}.tsv"):
                measured.setdefault(step, {})[path] = float(pd.read_csv(path, sep="\t")["s"].sum())
    for step, runs in processes.items():
        total = {name: sum(float(run.get(name, 0)) for run in runs.values()) for name in ("wall_s", "cpu_s")}
        peak = max(int(run.get("peak_memory_mb", 0)) for run in runs.values())
        seconds = sum(measured[step].values()) if step in measured else None
        yield Cost(step, len(runs), total["wall_s"], total["cpu_s"], peak, seconds)


def _pending(target: str, graph: Graph, manifest: Manifest, sidecars: Mapping[str, Sidecar]) -> Iterator[Pending]:
    """Jobs that would run, in the order in which they would: stale ones, what they lack, and what follows."""
    producers = graph.producers()
    absent = set(manifest.missing)
    own = {job: _reasons(job, manifest, absent) for job in graph.jobs}
    runs = {job for job in graph.jobs if any(name in manifest.stale for name in job.outputs)}
    runs |= {producers[target]} if target in absent else set()
    while True:
        needed = {producers[name] for job in runs for name in job.inputs if name in absent and name in producers}
        made = {name for job in runs | needed for name in job.outputs}
        following = {job for job in graph.jobs if not made.isdisjoint(job.inputs)}
        if needed | following <= runs:
            break
        runs |= needed | following
    for job in _in_order(runs, producers):
        because = tuple(name for name in job.inputs if name in made)
        reasons = [*own[job], *_new_batch(job, runs, manifest, sidecars)]
        yield Pending(job.rule, job.outputs, tuple(dict.fromkeys(reasons)), because)


def _reasons(job: Job, manifest: Manifest, absent: set[str]) -> list[str]:
    found = [f"{name} is missing" for name in job.outputs if name in absent]
    stale = [why for name in job.outputs for why in manifest.stale.get(name, ())]
    return found + [why for why in stale if not why.endswith(" is stale")]  # `because` says so


def _new_batch(job: Job, runs: set[Job], manifest: Manifest, sidecars: Mapping[str, Sidecar]) -> Iterator[str]:
    """Of a job that computes cells anew: what about them is other than in the batches they were taken from before."""
    if "spec" not in job.params:
        return
    spec = scrubbed(json.loads(job.params["spec"]))
    taken = {name for each in runs for name in each.inputs if name in job.outputs for name in each.outputs}
    before = {
        source.path
        for name in taken & manifest.entries.keys()
        for source in manifest.entries[name].inputs
        if is_batch(source.path) and source.path in sidecars
    }
    for name in sorted(before):
        for change in changed_settings(sidecars[name].record.params, spec):
            yield f"params: {change} (since {name})"
        yield from changed_code(sidecars[name].record)


def _in_order(jobs: Iterable[Job], producers: Mapping[str, Job]) -> list[Job]:
    """Jobs, each after those that make its inputs."""
    done: dict[Job, None] = {}
    chosen = set(jobs)

    def visit(job: Job) -> None:
        for name in job.inputs:
            source = producers.get(name)
            if source in chosen and source not in done:
                visit(source)
        done[job] = None

    for job in sorted(chosen, key=lambda job: job.outputs):
        if job not in done:
            visit(job)
    return list(done)
