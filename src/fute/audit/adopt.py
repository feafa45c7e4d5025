"""Telling Snakemake how copied results were made, from their records.

Snakemake keeps what it knows of a run in `.snakemake/metadata`, which a copy of the results lacks. By file times alone
it makes good files again, and does not notice an edited setting. `adopt` verifies every artifact, writes the metadata
of the good ones as Snakemake would have, and marks the others as unfinished, so that the next run makes them again.

The Snakefile asks `unadopted` whenever it is read: what is slow to import, only `adopt` imports.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fute.artifacts import SIDECAR
from fute.audit.findings import OK, AuditError, Finding, Report
from fute.audit.paths import RESULTS, ResultsFolder
from fute.paths import BATCHES

if TYPE_CHECKING:
    from snakemake.workflow import Workflow as SnakemakeWorkflow

    from fute.audit.manifest import Entry, Manifest

METADATA = Path(".snakemake/metadata")


def unadopted(results: Path) -> str | None:
    """A warning if there are artifacts and no metadata of Snakemake; None otherwise."""
    if METADATA.is_dir():
        with os.scandir(METADATA) as entries:  # reads the first entry only, of possibly many thousands
            if any(entries):
                return None
    if not any(results.rglob(f"*{SIDECAR}")):
        return None
    return (
        f"WARNING: {results}/ holds results, but Snakemake's metadata ({METADATA}) are missing, as after copying "
        "results. Snakemake may make good files again and may keep files that an edited setting made stale. First "
        "verify the results and tell Snakemake about them: fute audit adopt --config YOUR.yaml"
    )


def adopt(config: Path, targets: Sequence[str], *, settings: Mapping[str, Any] | None, threads: int | None) -> Report:
    """Verify the results in the current checkout and write Snakemake's metadata for the good ones.

    targets: files or phases of the workflow; none: its default ones. settings: as for `read_graph`. threads: as for
    `verify_manifest`. Raises AuditError if the workflow cannot be planned, or Snakemake has locked the folder.
    """
    from fute.audit.collect import build_manifest
    from fute.audit.planned_jobs import graph_of, planned
    from fute.audit.verify import verify_manifest

    with planned(config, targets, settings=settings) as workflow:
        if workflow.persistence.locked:
            raise AuditError("Snakemake runs in this folder; wait until it ends. If it was killed: snakemake --unlock")
        results = ResultsFolder(Path(RESULTS))
        manifest = build_manifest(graph_of(workflow, targets), config, results)
        verified = verify_manifest(manifest, results, threads=threads)
        return _adopt_good(workflow, manifest, _bad_artifacts(verified, manifest))


def _adopt_good(workflow: SnakemakeWorkflow, manifest: Manifest, bad: Mapping[str, list[Finding]]) -> Report:
    """Write metadata of the jobs whose artifacts are all good, mark the others. bad: artifact -> its findings."""
    from snakemake.settings.types import ExecutionSettings

    from fute.audit.manifest import DELETE_BATCH

    # Snakemake reads this when it writes metadata
    workflow.execution_settings = ExecutionSettings()
    jobs = [(job, [str(name) for name in job.output if not str(name).endswith(SIDECAR)]) for job in workflow.dag.jobs]
    outputs = {name for _, names in jobs for name in names}
    # no rule makes a finished batch: it is good, or it is in `bad`
    leaves = bad.keys() - outputs
    missing = set(manifest.missing)
    report = Report("adopt", checked=len((outputs | leaves) - missing))
    adopted = 0
    for job, names in jobs:
        if not names or not missing.isdisjoint(names):
            continue
        if bad.keys().isdisjoint(names):
            _write_metadata(workflow, job, manifest.entries[names[0]])
            adopted += len(names)
        else:
            workflow.persistence.started(job)  # marks the outputs as unfinished
    for name in sorted(bad):
        by_hand = DELETE_BATCH if BATCHES in name else "put it right, then adopt again"
        next_step = "the next run makes it again" if name in outputs else by_hand
        for finding in bad[name]:
            report.add(name, finding.verdict, finding.cause, f"{finding.message}; not adopted: {next_step}")
    report.facts = {"adopted": adopted, "missing": len(missing)}
    return report


def _write_metadata(workflow: SnakemakeWorkflow, job: Any, entry: Entry) -> None:
    """Snakemake's metadata of a job, with the hashes that its inputs had when it ran."""
    recorded = {source.path: f"sha256:{source.sha256}" for source in entry.inputs}
    for name in job.input:
        workflow.iocache.checksum[name] = recorded[str(name)]
    asyncio.run(workflow.persistence.finished(job))


def _bad_artifacts(verified: Report, manifest: Manifest) -> dict[str, list[Finding]]:
    """Artifact -> findings about it or about a file that it is the lock of; missing artifacts are left to the run."""
    lock_of = {file: name for name, entry in manifest.entries.items() for file in entry.files}
    bad: dict[str, list[Finding]] = {}
    for finding in verified.findings:
        name = lock_of.get(finding.artifact, finding.artifact)
        if finding.verdict.exit_code != OK and name not in manifest.missing:
            bad.setdefault(name, []).append(finding)
    return bad
