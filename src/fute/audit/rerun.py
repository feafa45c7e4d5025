"""Doing a sample of a run's jobs again, each from its recorded inputs, and comparing what comes out.

A job starts from inputs with the recorded hashes, so whatever differs was made different by that job, or by the
computation of the cell that it takes out of a batch: every drift that is found is where it began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fute.artifacts import sha256_file, sidecar_path
from fute.audit.cells import cell_content, changed_settings, is_batch, keys_read, planned_keys
from fute.audit.comparators import Tolerances, compare
from fute.audit.graph import Graph, Job
from fute.audit.manifest import Entry, Manifest
from fute.audit.paths import RESULTS, ResultsFolder
from fute.audit.records import Record, read_sidecar
from fute.audit.scratch import FailedRun, Machine, Scratch, in_image
from fute.audit.stale import changed_inputs, changed_params, same_code
from fute.audit.values import differences
from fute.audit.verdicts import Cause, Report, Verdict
from fute.progress import Track


class NotRerunnable(RuntimeError):
    """A job that cannot be done again here, or not from what it was made from; says why."""


@dataclass(frozen=True)
class Again:
    """What a job made when it was done again. batches: pairs of a batch that was computed for it and a recorded one."""

    job: Job
    made: Mapping[str, Path]
    batches: tuple[tuple[Path, str], ...]


class Rerunner:
    """Does jobs of a finished run again. folder: in which each gets one of its own; project: the checkout."""

    def __init__(
        self, graph: Graph, manifest: Manifest, folder: Path, machine: Machine, project: Path = Path()
    ) -> None:
        self.graph, self.manifest, self.project = graph, manifest, project
        self.folder, self.machine = folder, machine
        self.results = ResultsFolder(project / RESULTS)
        self.sha256 = lru_cache(lambda name: sha256_file(self.results.path(name)))
        self._runs = 0

    def again(self, job: Job) -> Again:
        """Do one job. Raises NotRerunnable, RecordError, UnsafePath."""
        record = self.record(job.outputs[0])
        batches = [source.path for source in record.inputs if is_batch(source.path)]
        self._check(job, record, batches)
        self._runs += 1
        scratch = Scratch(self.folder / f"{self._runs:03d}-{job.rule}", self.project, self.graph)
        for part in (record, *map(self.record, batches)):
            names = [source.path for source in part.inputs if source.path.startswith(f"{RESULTS}/")]
            self._check_inputs(part, names)
            scratch.link(name for name in names if name not in batches)
        scratch.declare_finished(job)
        scratch.copy_benchmarks()
        try:
            scratch.run(job, self.machine, record.image)
        except FailedRun as error:
            raise NotRerunnable(f"ended with an error: {error}") from None
        new = scratch.new_batches()
        for path in new:
            self._check_settings(path, batches)
        return Again(
            job,
            {name: scratch.folder / name for name in job.outputs},
            {path: batch for path in new for batch in batches},
        )

    def record(self, name: str) -> Record:
        """The record beside a real artifact. Raises RecordError."""
        return read_sidecar(self.results.sidecar(name), name)[0].record

    def _check(self, job: Job, record: Record, batches: Sequence[str]) -> None:
        for name in job.outputs:
            if self.sha256(name) != self.manifest.entries[name].sha256:
                raise NotRerunnable(f"{name} itself is not what was recorded; fute audit verify says more")
        changed = [*changed_inputs(record, job), *changed_params(record, job)]
        if batches and any(not same_code(self.record(name)) for name in batches):
            # the key of a cell, and so the name of its batch, follow the code that computes it
            changed = [why for why in changed if "/batches/" not in why and "params: key" not in why]
        if changed:
            raise NotRerunnable(f"the configuration is not that of the run: {'; '.join(changed[:3])}")
        gpus = [read_sidecar(self.results.sidecar(name), name)[0].run.get("gpu") for name in (job.outputs[0], *batches)]
        if any(gpus) and not any(Path("/dev").glob("nvidia[0-9]*")):
            raise NotRerunnable(f"was made on {', '.join(next(filter(None, gpus)))}; there is no such device here")

    def _check_inputs(self, record: Record, names: Sequence[str]) -> None:
        recorded = {source.path: source.sha256 for source in record.inputs}
        for name in names:
            if not self.results.path(name).is_file():
                raise NotRerunnable(f"its input {name} is missing")
            if self.sha256(name) != recorded[name]:
                raise NotRerunnable(f"its input {name} is not the one it was made from")

    def _check_settings(self, new: Path, batches: Sequence[str]) -> None:
        now = read_sidecar(sidecar_path(new))[0].record.params
        for name in batches:
            if changed := list(changed_settings(self.record(name).params, now)):
                raise NotRerunnable(f"{name} was made with other settings: {'; '.join(changed[:3])}")

    # --- comparing --------------------------------------------------------------------------------------

    def origin(self, again: Again, name: str) -> str:
        """Where a drift of an artifact began: in a batch that it is taken from, or in itself."""
        recorded, planned = keys_of_pair(self.record(name), again.job)
        for new, batch in again.batches:
            for was, now in zip(recorded, planned, strict=True):
                content = cell_content(new, now)
                known = cell_content(self.results.path(batch), was)
                if None not in (content, known) and content != known:
                    return batch
        return name

    def cause(self, again: Again, name: str, origin: str) -> tuple[Cause, str]:
        """Why something came out otherwise, as far as records tell, in words."""
        entry = self.manifest.entries[origin]
        made = next((path for path, batch in again.batches if batch == origin), again.made[name])
        if not same_code(entry):
            return Cause.CODE, f"the code of {entry.module} is not that of the run"
        now = read_sidecar(sidecar_path(made))[0].environment()
        was = self.manifest.environments[entry.environment]
        for cause, keys in ((Cause.HARDWARE, ("cpu", "gpu", "threads")), (Cause.SOFTWARE, ("packages", "python"))):
            if changed := list(differences({k: was.get(k) for k in keys}, {k: now.get(k) for k in keys})):
                return cause, f"made elsewhere: {'; '.join(changed[:3])}"
        return Cause.NONDETERMINISM, "the same code, inputs and machine"


def keys_of_pair(record: Record, job: Job) -> tuple[list[str], list[str]]:
    """Keys that an artifact's record read from batches, and those the planned job reads; both empty without batches."""
    if not any(is_batch(source.path) for source in record.inputs):
        return [], []
    return keys_read(record.params), planned_keys(job)


def rerun(rerunner: Rerunner, jobs: Sequence[Job], tolerances: Tolerances) -> Report:
    """Do jobs again and say of each of their artifacts what became of it; the first divergent ones come first."""
    report = Report("rerun", checked=sum(len(job.outputs) for job in jobs))
    drifted: list[tuple[str, str, Cause, str]] = []
    with Track("doing again", len(jobs), "jobs") as track:
        for job in jobs:
            try:
                again = rerunner.again(job)
            except (NotRerunnable, ValueError) as error:
                for name in job.outputs:
                    report.add(name, Verdict.NOT_RERUNNABLE, Cause.ABSENT, f"{name}: {error}")
            else:
                _judge(rerunner, again, tolerances, report, drifted)
            track.advance()
    origins = _first(rerunner.manifest.entries, {origin for _, origin, _, _ in drifted})
    for name, origin, cause, why in sorted(drifted, key=lambda each: each[1] not in origins):
        above = sorted(_ancestors(rerunner.manifest.entries, name) & origins) or [origin]
        report.add(name, Verdict.DRIFTED, cause, f"{name}: {why}; first divergent: {', '.join(above)}")
    images = {record.image for job in jobs if (record := rerunner.record(job.outputs[0])).image}
    report.facts = {
        "jobs": len(jobs),
        "stages": dict(sorted(Counter(job.rule for job in jobs).items())),
        "first divergent": sorted(origins),
        "tolerances": tolerances.source,
        **({"without image": left} if (left := sorted(i for i in images if not in_image(i, rerunner.project))) else {}),
    }
    return report


def _judge(
    rerunner: Rerunner,
    again: Again,
    tolerances: Tolerances,
    report: Report,
    drifted: list[tuple[str, str, Cause, str]],
) -> None:
    for name, made in again.made.items():
        result = compare(name, rerunner.results.path(name), made, tolerances)
        if result.verdict is Verdict.IDENTICAL:
            continue
        origin = rerunner.origin(again, name)
        cause, why = rerunner.cause(again, name, origin)
        if result.verdict is Verdict.DRIFTED:
            step = rerunner.manifest.entries[origin].step
            drifted.append((name, origin, cause, f"{result.said}; {step}: {why}"))
        else:
            report.add(name, result.verdict, cause, f"{name}: {result.said}; {why}")


def _ancestors(entries: Mapping[str, Entry], name: str) -> set[str]:
    """An artifact and everything it was made from."""
    found, todo = {name}, [name]
    while todo:
        for source in entries[todo.pop()].inputs:
            if source.path in entries and source.path not in found:
                found.add(source.path)
                todo.append(source.path)
    return found


def _first(entries: Mapping[str, Entry], origins: set[str]) -> set[str]:
    """Those that were not made from any other of them."""
    return {name for name in origins if (_ancestors(entries, name) & origins) == {name}}
