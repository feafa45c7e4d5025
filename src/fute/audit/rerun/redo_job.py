"""Doing one job of a finished run again, from its recorded inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fute.artifacts import sha256_file, sidecar_path
from fute.audit.batches import changed_settings, is_batch
from fute.audit.manifest import Manifest
from fute.audit.paths import RESULTS, ResultsFolder, UnsafePath
from fute.audit.planned_jobs import Graph, Job
from fute.audit.rerun.sandbox import FailedRun, Machine, Scratch
from fute.audit.sidecars import Record, RecordError, read_sidecar
from fute.audit.staleness import changed_inputs, changed_params, moved_inputs, same_code


class NotRerunnable(RuntimeError):
    """A job that cannot be done again here, or not from what it was made from; says why."""


CANNOT = (NotRerunnable, RecordError, UnsafePath)
"""All that keeps one job from being done again; other jobs go on."""


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
        self._check_inputs(record)
        scratch.link(name for name in _artifacts(record) if name not in batches)
        for batch in map(self.record, batches):
            # what other cells of the batch were made from may be there no more; this one's is checked when it is read
            scratch.link(name for name in _artifacts(batch) if self._unchanged(name, batch))
        scratch.declare_finished(job)
        scratch.copy_benchmarks()
        try:
            scratch.run(job, self.machine, record.image)
        except FailedRun as error:
            raise NotRerunnable(f"ended with an error: {error}") from None
        new = scratch.new_batches()
        for path in new:
            self._check_batch(path, batches)
        made = {name: scratch.folder / name for name in job.outputs}
        return Again(job, made, tuple((path, batch) for path in new for batch in batches))

    def record(self, name: str) -> Record:
        """The record beside a real artifact. Raises RecordError."""
        return read_sidecar(self.results.sidecar(name), name)[0].record

    def _check(self, job: Job, record: Record, batches: Sequence[str]) -> None:
        for name in job.outputs:
            if self.sha256(name) != self.manifest.entries[name].sha256:
                raise NotRerunnable(f"{name} itself is not what was recorded; fute audit verify says more")
        changed = [*moved_inputs(record, {}), *changed_inputs(record, job), *changed_params(record, job)]
        if batches and any(not same_code(self.record(name)) for name in batches):
            # the key of a cell, and so the name of its batch, follow the code that computes it
            changed = [why for why in changed if "/batches/" not in why and "params: key" not in why]
        if changed:
            raise NotRerunnable(f"the configuration is not that of the run: {'; '.join(changed[:3])}")
        gpus = [read_sidecar(self.results.sidecar(name), name)[0].run.get("gpu") for name in (job.outputs[0], *batches)]
        if any(gpus) and not any(Path("/dev").glob("nvidia[0-9]*")):
            raise NotRerunnable(f"was made on {', '.join(next(filter(None, gpus)))}; there is no such device here")

    def _check_inputs(self, record: Record) -> None:
        for name in _artifacts(record):
            if not self.results.path(name).is_file():
                raise NotRerunnable(f"its input {name} is missing")
            if not self._unchanged(name, record):
                raise NotRerunnable(f"its input {name} is not the one it was made from")

    def _unchanged(self, name: str, record: Record) -> bool:
        """Whether an input of an artifact has the bytes that it was made from."""
        there = self.results.path(name).is_file()
        return there and self.sha256(name) == next(s.sha256 for s in record.inputs if s.path == name)

    def _check_batch(self, new: Path, batches: Sequence[str]) -> None:
        """Whether a cell was computed again with the settings and from the inputs of a recorded batch."""
        now = read_sidecar(sidecar_path(new))[0].record
        for name in batches:
            was = self.record(name)
            if changed := list(changed_settings(was.params, now.params)):
                raise NotRerunnable(f"{name} was made with other settings: {'; '.join(changed[:3])}")
        known = {(source.path, source.sha256) for name in batches for source in self.record(name).inputs}
        if other := [source.path for source in now.inputs if (source.path, source.sha256) not in known]:
            raise NotRerunnable(f"{batches[0]} was made from another {other[0]} than there is")


def _artifacts(record: Record) -> list[str]:
    """The inputs of an artifact that are artifacts themselves."""
    return [source.path for source in record.inputs if source.path.startswith(f"{RESULTS}/")]
