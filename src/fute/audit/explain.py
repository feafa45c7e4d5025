"""What an artifact came from, what that cost, and what would run again for it today, all from the records.

Snakemake's own metadata are not read: a copy lacks them, and they hold no values to compare.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from fute.artifacts import content_key
from fute.audit.batches import changed_settings, is_batch
from fute.audit.collect import build_manifest
from fute.audit.findings import print_json
from fute.audit.manifest import Manifest
from fute.audit.paths import RESULTS, ResultsFolder
from fute.audit.planned_jobs import Graph, Job, read_graph
from fute.audit.sidecars import RecordError, Sidecar, read_sidecar
from fute.audit.staleness import changed_code
from fute.batching import KEYS
from fute.csv_files import benchmark_seconds
from fute.scrub import scrubbed
from fute.wording import listed

MOST_OUTPUTS = 3
MOST_REASONS = 5
WIDTH = 240
"""Columns where the output is no terminal: long names stay whole."""


@dataclass(frozen=True)
class Source:
    """One artifact in a chain: the step that made it, its hash, its inputs. problem: of its record, empty if none."""

    step: str = ""
    sha256: str = ""
    inputs: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Cost:
    """Seconds and memory of all processes of one step in a chain.

    peak_memory_mb: of the largest process. benchmark_s: seconds that Snakemake measured, None without a benchmark.
    """

    step: str
    processes: int
    wall_s: float
    cpu_s: float
    peak_memory_mb: int
    benchmark_s: float | None


@dataclass(frozen=True)
class Pending:
    """A job that would run again: its outputs, and why. because: its inputs that other pending jobs make first."""

    rule: str
    outputs: tuple[str, ...]
    reasons: tuple[str, ...]
    because: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """chain: name -> what it came from, nearest first. costs: the dearest step first. pending: in running order."""

    target: str
    chain: Mapping[str, Source]
    costs: tuple[Cost, ...]
    pending: tuple[Pending, ...] = ()


def explain(target: str, config: Path, *, settings: Mapping[str, Any] | None = None) -> Explanation:
    """Explain one artifact in the current checkout.

    Raises AuditError if no rule makes such a file with this configuration, UnsafePath for a name outside the results.
    """
    results = ResultsFolder(Path(RESULTS))
    sidecars, chain = _chain(target, results)
    costs = tuple(sorted(_costs(sidecars, results), key=lambda cost: -cost.wall_s))
    if is_batch(target) or target.endswith(KEYS):
        return Explanation(target, chain, costs)  # finished batches are in no plan: none runs again
    graph = read_graph(config, [target], settings=settings)
    manifest = build_manifest(graph, config, results)
    return Explanation(target, chain, costs, tuple(_pending(target, graph, manifest, sidecars)))


def _chain(target: str, results: ResultsFolder) -> tuple[dict[str, Sidecar], dict[str, Source]]:
    """Records of an artifact and of everything it came from, the nearest first."""
    sidecars: dict[str, Sidecar] = {}
    chain: dict[str, Source] = {}
    todo = [target]
    for name in todo:  # grows while it is read
        if name in chain:
            continue
        if not name.startswith(f"{RESULTS}/"):
            chain[name] = Source()
            continue
        try:
            sidecar, _ = read_sidecar(results, name)
        except RecordError as error:
            chain[name] = Source(problem=str(error))
            continue
        record = sidecar.record
        sidecars[name] = sidecar
        chain[name] = Source(record.step, record.sha256, tuple(source.path for source in record.inputs))
        todo += chain[name].inputs
    return sidecars, chain


def _costs(sidecars: Mapping[str, Sidecar], results: ResultsFolder) -> Iterator[Cost]:
    processes: dict[str, dict[str, dict[str, Any]]] = {}
    measured: dict[str, dict[Path, float]] = {}
    for name, sidecar in sidecars.items():
        step = sidecar.record.step
        # the outputs of one process have the same run block
        processes.setdefault(step, {})[content_key(sidecar.run)] = sidecar.run
        if is_batch(name):
            batch = name.rpartition("/")[2].split(".")[0]
            for path in results.folder.glob(f"benchmarks/*/*{batch}.tsv"):
                if not math.isnan(seconds := benchmark_seconds(path)):
                    measured.setdefault(step, {})[path] = seconds
    for step, runs in processes.items():
        total = {name: sum(float(run.get(name, 0)) for run in runs.values()) for name in ("wall_s", "cpu_s")}
        peak = max(int(run.get("peak_memory_mb", 0)) for run in runs.values())
        seconds = sum(measured[step].values()) if step in measured else None
        yield Cost(step, len(runs), total["wall_s"], total["cpu_s"], peak, seconds)


def _pending(target: str, graph: Graph, manifest: Manifest, sidecars: Mapping[str, Sidecar]) -> Iterator[Pending]:
    """Jobs that would run, in running order: stale ones, those that make their missing inputs, and what follows."""
    producers = graph.producers()
    missing = set(manifest.missing)
    own = {job: _reasons(job, manifest, missing) for job in graph.jobs}
    runs = {job for job in graph.jobs if any(name in manifest.stale for name in job.outputs)}
    runs |= {producers[target]} if target in missing else set()
    while True:
        needed = {producers[name] for job in runs for name in job.inputs if name in missing and name in producers}
        made = {name for job in runs | needed for name in job.outputs}
        following = {job for job in graph.jobs if not made.isdisjoint(job.inputs)}
        if needed | following <= runs:
            break
        runs |= needed | following
    for job in _in_order(runs, producers):
        because = tuple(name for name in job.inputs if name in made)
        reasons = [*own[job], *_new_batch(job, runs, manifest, sidecars)]
        yield Pending(job.rule, job.outputs, tuple(dict.fromkeys(reasons)), because)


def _reasons(job: Job, manifest: Manifest, missing: set[str]) -> list[str]:
    reasons = [f"{name} is missing" for name in job.outputs if name in missing]
    stale = [why for name in job.outputs for why in manifest.stale.get(name, ())]
    return reasons + [why for why in stale if not why.endswith(" is stale")]  # `because` says so


def _new_batch(job: Job, runs: set[Job], manifest: Manifest, sidecars: Mapping[str, Sidecar]) -> Iterator[str]:
    """Differences between a job that computes cells anew and the batches that held these cells before."""
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
            producer = producers.get(name)
            if producer in chosen and producer not in done:
                visit(producer)
        done[job] = None

    for job in sorted(chosen, key=lambda job: job.outputs):
        if job not in done:
            visit(job)
    return list(done)


# --- printing -------------------------------------------------------------------------------------------


def print_explanation(explanation: Explanation, *, json: bool) -> None:
    """Print an explanation: a tree, a table and a list for people; one JSON object for machines."""
    if json:
        print_json(asdict(explanation))
        return
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(_tree(explanation.target, explanation.chain))
    console.print(_cost_table(explanation.costs))
    if not explanation.pending:
        console.print(Text("nothing would run again for it", style="green"))
    for number, pending in enumerate(explanation.pending, start=1):
        console.print(_pending_text(number, pending))


def _tree(target: str, chain: Mapping[str, Source]) -> Tree:
    """What an artifact came from; the inputs of an artifact are shown at its first place only.

    Of several inputs that one step made the first is followed, the others are counted.
    """
    shown: set[str] = set()

    def add(parent: Tree | None, name: str) -> Tree:
        link = chain[name]
        again = name in shown and bool(link.inputs)
        text = Text.assemble(name, (f"  {link.step} {link.sha256[:12]}" if link.step else "", "dim"))
        if link.problem:
            text.append(f"  {link.problem}", style="red")
        text.append("  (above)" if again else "", style="dim")
        node = Tree(text) if parent is None else parent.add(text)
        if again:
            return node
        shown.add(name)
        alike: dict[str, list[str]] = defaultdict(list)
        for source in link.inputs:
            alike[chain[source].step or source].append(source)
        for step, (first, *others) in alike.items():
            add(node, first)
            if others:
                node.add(Text(f"and {len(others)} more of {step}", style="dim"))
        return node

    return add(None, target)


def _cost_table(costs: tuple[Cost, ...]) -> Table:
    table = Table(title="what it cost", title_justify="left")
    for name in ("step", "processes", "seconds", "CPU seconds", "peak MB", "measured by Snakemake, s"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for cost in costs:
        measured = "" if cost.benchmark_s is None else f"{cost.benchmark_s:.1f}"
        row = (str(cost.processes), f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}", str(cost.peak_memory_mb), measured)
        table.add_row(cost.step, *row)
    processes, wall, cpu = (sum(getattr(cost, name) for cost in costs) for name in ("processes", "wall_s", "cpu_s"))
    table.add_row("all", str(processes), f"{wall:.1f}", f"{cpu:.1f}", "", "", style="bold")
    return table


def _pending_text(number: int, pending: Pending) -> Text:
    names = ", ".join(pending.outputs[:MOST_OUTPUTS]) + (", ..." if len(pending.outputs) > MOST_OUTPUTS else "")
    text = Text.assemble(f"{number}. ", (f"{pending.rule} would run", "yellow"), f": {names}")
    for why in pending.reasons[:MOST_REASONS]:
        text.append(f"\n     {why}")
    if len(pending.reasons) > MOST_REASONS:
        text.append(f"\n     and {len(pending.reasons) - MOST_REASONS} more reasons; --json lists all")
    if pending.because:
        text.append(f"\n     after {listed(pending.because, 1)}", style="dim")
    return text
