"""Giving Snakemake back what it knew of a run, from the records: after a clone with copied results, say.

Without its own metadata Snakemake takes a copy's file times for facts: it makes again what is whole, and after an edit
of a setting it finds nothing to do. The records know better. Every verified artifact gets the metadata that Snakemake
would have written; every other one is marked as unfinished, so that the next run makes it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake.settings.types import ExecutionSettings

from fute.artifacts import SIDECAR
from fute.audit.collect import build_manifest
from fute.audit.findings import INCOMPLETE, OK, Finding, Report, Verdict
from fute.audit.manifest import Entry, Manifest
from fute.audit.paths import RESULTS, ResultsFolder
from fute.audit.planned_jobs import graph_of, planned
from fute.audit.verify import verify_manifest

if TYPE_CHECKING:
    from snakemake.workflow import Workflow as SnakemakeWorkflow


class RunningWorkflow(RuntimeError):
    """The workflow runs in this folder, or was killed there."""

    exit_code = INCOMPLETE


def adopt(
    config: Path, targets: Sequence[str] = (), *, settings: Mapping[str, Any] | None = None, threads: int = 1
) -> Report:
    """Verify the results in the current checkout and write Snakemake's metadata for what is good.

    targets: files or phases of the workflow; none: its default ones. settings: as of `read_graph`. Raises GraphError
    where the workflow cannot be planned, RunningWorkflow where it holds the folder.
    """
    with planned(config, targets, settings=settings) as workflow:
        if workflow.persistence.locked:
            raise RunningWorkflow("Snakemake runs in this folder; wait until it ends. After a kill: snakemake --unlock")
        results = ResultsFolder(Path(RESULTS))
        manifest = build_manifest(graph_of(workflow, targets), config, results)
        verified = verify_manifest(manifest, results, threads=threads)
        return _Adoption(workflow, manifest, verified).report()


class _Adoption:
    def __init__(self, workflow: SnakemakeWorkflow, manifest: Manifest, verified: Report) -> None:
        self.workflow, self.manifest = workflow, manifest
        self.bad = {name: list(found) for name, found in _by_artifact(verified, manifest)}
        # Snakemake asks this of whoever writes its metadata
        workflow.execution_settings = ExecutionSettings()

    def report(self) -> Report:
        jobs = [job for job in self.workflow.dag.jobs if job.output]
        outputs = {str(name) for job in jobs for name in job.output if not str(name).endswith(SIDECAR)}
        # of a batch no rule is left; it is whole or it is named here
        leaves = {name for name in self.bad if name not in outputs}
        absent = set(self.manifest.missing)
        report = Report("adopt", checked=len((outputs | leaves) - absent), passed=Verdict.IDENTICAL)
        adopted = 0
        for job in jobs:
            own = [str(name) for name in job.output if not str(name).endswith(SIDECAR)]
            if not absent.isdisjoint(own):
                continue
            if any(name in self.bad for name in own):
                self.workflow.persistence.started(job)  # marks the outputs as unfinished
            else:
                self._write(job, self.manifest.entries[own[0]])
                adopted += len(own)
        for name in sorted(self.bad):
            todo = "the next run makes it again" if name in outputs else _by_hand(name)
            for found in self.bad[name]:
                report.add(name, found.verdict, found.cause, f"{found.message}; not adopted: {todo}")
        report.facts = {"adopted": adopted, "missing": len(absent)}
        return report

    def _write(self, job: Any, entry: Entry) -> None:
        """Snakemake's metadata of a job, with the hashes that its inputs had when it was made."""
        known = {source.path: f"sha256:{source.sha256}" for source in entry.inputs}
        cache = self.workflow.iocache
        for name in job.input:
            cache.checksum[name] = known[str(name)]
        persistence = self.workflow.persistence
        asyncio.run(persistence.finished(job))


def _by_artifact(verified: Report, manifest: Manifest) -> Iterator[tuple[str, list[Finding]]]:
    """Artifact -> what is wrong with it or with a file that it speaks for. Missing artifacts are left to the run."""
    owner: Mapping[str, str] = {file: name for name, entry in manifest.entries.items() for file in entry.files}
    found: dict[str, list[Finding]] = {}
    for finding in verified.findings:
        name = owner.get(finding.artifact, finding.artifact)
        if finding.verdict.exit_code != OK and name not in manifest.missing:
            found.setdefault(name, []).append(finding)
    yield from found.items()


def _by_hand(name: str) -> str:
    if "/batches/" in name:
        return "delete the batch, its .keys and their records; a run that needs it makes it again"
    return "put it right, then adopt again"
