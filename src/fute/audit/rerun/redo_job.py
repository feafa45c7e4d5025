"""Doing one job of a finished run again, from its recorded inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fute.artifacts import sha256_file, sidecar_path
from fute.audit.batches import changed_settings, is_batch
from fute.audit.collect import build_manifest
from fute.audit.manifest import Manifest
from fute.audit.paths import RESULTS, ResultsFolder, UnsafePath
from fute.audit.planned_jobs import Graph, Job, read_graph
from fute.audit.rerun.sandbox import FailedRun, Sandbox, checked_scratch
from fute.audit.sidecars import Record, RecordError, read_sidecar, read_sidecar_file
from fute.audit.staleness import changed_inputs, changed_params, moved_inputs, same_code
from fute.embeddings.extract_embedding_step import learned_from
from fute.paths import BATCHES


class NotRerunnable(RuntimeError):
    """A job that cannot be done again here, or not from its recorded inputs; says why."""


LABELS = f"{RESULTS}/labels/"
CANNOT = (NotRerunnable, RecordError, UnsafePath)
"""Errors that concern one job; other jobs are still done."""


@dataclass(frozen=True)
class RedoneJob:
    """What a job made when it was done again.

    made: artifact -> new file. batches: pairs of a batch that was computed for it and a recorded batch.
    """

    job: Job
    made: Mapping[str, Path]
    batches: tuple[tuple[Path, str], ...]


class Rerunner:
    """Does jobs of the finished run in the current folder again.

    folder: each job gets a folder of its own in it. cores: for Snakemake, None for all. profile: of Snakemake.
    """

    def __init__(self, graph: Graph, manifest: Manifest, folder: Path, cores: int | None, profile: Path | None) -> None:
        self.graph, self.manifest = graph, manifest
        self.folder, self.cores, self.profile = folder, cores, profile
        self.results = ResultsFolder(Path(RESULTS))
        self.sha256 = lru_cache(lambda name: sha256_file(self.results.path(name)))
        self._runs = 0

    def redo(self, job: Job) -> RedoneJob:
        """Do one job. Raises NotRerunnable, RecordError, UnsafePath."""
        record = self.record(job.outputs[0])
        batches = [source.path for source in record.inputs if is_batch(source.path)]
        self._check(job, record, batches)
        self._runs += 1
        sandbox = Sandbox(self.folder / f"{self._runs:03d}-{job.rule}", self.graph)
        self._check_inputs(record)
        sandbox.link(name for name in record.artifacts if name not in batches)
        for batch in map(self.record, batches):
            # inputs of other cells may have changed; the inputs of this cell are checked when its batch is read
            sandbox.link(name for name in batch.artifacts if self._unchanged(name, batch))
        sandbox.declare_finished(job)
        try:
            sandbox.run(job, record.image, self.cores, self.profile)
        except FailedRun as error:
            raise NotRerunnable(f"ended with an error: {error}") from None
        new = sandbox.new_batches()
        for path in new:
            self._check_batch(path, batches)
        made = {name: sandbox.folder / name for name in job.outputs}
        return RedoneJob(job, made, tuple((path, batch) for path in new for batch in batches))

    def record(self, name: str) -> Record:
        """The record beside an artifact of the run. Raises RecordError."""
        return read_sidecar(self.results, name)[0].record

    def _check(self, job: Job, record: Record, batches: Sequence[str]) -> None:
        for name in job.outputs:
            if self.sha256(name) != self.manifest.entries[name].sha256:
                raise NotRerunnable(f"{name} itself is not what was recorded; for details run: fute audit verify")
        changed = [*moved_inputs(record, {}), *changed_inputs(record, job), *changed_params(record, job)]
        if batches and any(not same_code(self.record(name)) for name in batches):
            # edited code gives a cell another key, and its batch another name
            changed = [why for why in changed if BATCHES not in why and "params: key" not in why]
        if changed:
            raise NotRerunnable(f"the configuration is not that of the run: {'; '.join(changed[:3])}")
        gpus = [read_sidecar(self.results, name)[0].run.get("gpu") for name in (job.outputs[0], *batches)]
        if any(gpus) and not any(Path("/dev").glob("nvidia[0-9]*")):
            raise NotRerunnable(f"was made on {', '.join(next(filter(None, gpus)))}; this machine has no such device")

    def _check_inputs(self, record: Record) -> None:
        for name in record.artifacts:
            if not self.results.path(name).is_file():
                raise NotRerunnable(f"its input {name} is missing; copy it, or {self.manifest.make_it(name)}")
            if not self._unchanged(name, record):
                raise NotRerunnable(
                    f"its input {name} is not the one it was made from; for details run: fute audit verify"
                )

    def _unchanged(self, name: str, record: Record) -> bool:
        """Whether an input has the bytes that an artifact was made from."""
        return self.results.path(name).is_file() and self.sha256(name) == next(
            s.sha256 for s in record.inputs if s.path == name
        )

    def _says_the_same(self, name: str, batches: Sequence[str]) -> bool:
        """Whether labels say what labels that a batch was made from say: prompts of the same words share a vector."""
        if not name.startswith(LABELS):
            return False
        records = map(self.record, batches)
        read = [s.path for r in records for s in r.inputs if s.path.startswith(LABELS) and self._unchanged(s.path, r)]
        said = learned_from("soft_labels", self.results.path(name))
        return any(learned_from("soft_labels", self.results.path(path)) == said for path in read)

    def _check_batch(self, new: Path, batches: Sequence[str]) -> None:
        """Check that a cell was computed with the settings and inputs of its recorded batch. Raises NotRerunnable."""
        now = read_sidecar_file(sidecar_path(new))[0].record
        for name in batches:
            was = self.record(name)
            if changed := list(changed_settings(was.params, now.params)):
                raise NotRerunnable(f"{name} was made with other settings: {'; '.join(changed[:3])}")
        known = {(source.path, source.sha256) for name in batches for source in self.record(name).inputs}
        other = [source.path for source in now.inputs if (source.path, source.sha256) not in known]
        if other := [path for path in other if not self._says_the_same(path, batches)]:
            raise NotRerunnable(f"{batches[0]} was made from another {other[0]} than the one in the results")


@contextmanager
def checkout_rerunner(
    config: Path, settings: Mapping[str, Any] | None, scratch: Path | None, threads: int | None, profile: Path | None
) -> Iterator[Rerunner]:
    """A Rerunner for the run in the current folder.

    scratch: an empty or new folder, kept; None: a temporary one. threads, profile: for Snakemake, as `Rerunner` has
    them. Raises AuditError.
    """
    kept = checked_scratch(scratch) if scratch else None
    graph = read_graph(config, settings=settings)
    manifest = build_manifest(graph, config, ResultsFolder(Path(RESULTS)))
    with tempfile.TemporaryDirectory(prefix="fute-rerun-") as temporary:
        yield Rerunner(graph, manifest, kept or Path(temporary), threads, profile)
