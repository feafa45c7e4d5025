"""Doing a sample of a run's jobs again, each from its recorded inputs, and comparing the results.

A job starts from inputs with the recorded hashes. So what differs was made different by that job, or by the computation
of the cell that it reads from a batch: every drift is reported where it began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fute.artifacts import sidecar_path
from fute.audit.batches import cell_content, is_batch, keys_read, planned_keys
from fute.audit.findings import Cause, Report, Verdict
from fute.audit.lineage import ancestors
from fute.audit.planned_jobs import Job
from fute.audit.rerun.compare import Tolerances, compare
from fute.audit.rerun.redo_job import CANNOT, RedoneJob, Rerunner
from fute.audit.rerun.sandbox import in_image
from fute.audit.sidecars import Record, read_sidecar_file
from fute.audit.staleness import changed_machine, same_code
from fute.progress import Track


def rerun(rerunner: Rerunner, jobs: Sequence[Job], tolerances: Tolerances) -> Report:
    """Do jobs again and compare their artifacts with the recorded ones; where a drift begins comes first."""
    report = Report("rerun", checked=sum(len(job.outputs) for job in jobs))
    drifted: list[tuple[str, str, Cause, str]] = []
    with Track("doing again", len(jobs), "jobs") as track:
        for job in jobs:
            try:
                redone = rerunner.redo(job)
            except CANNOT as error:
                for name in job.outputs:
                    report.add(name, Verdict.NOT_RERUNNABLE, Cause.ABSENT, f"{name}: {error}")
            else:
                _judge(rerunner, redone, tolerances, report, drifted)
            track.advance()
    begun = {origin for _, origin, _, _ in drifted}
    # those that were not made from another one
    origins = {name for name in begun if (ancestors(rerunner.manifest, [name]) & begun) == {name}}
    for name, origin, cause, why in sorted(drifted, key=lambda each: each[1] not in origins):
        above = sorted(ancestors(rerunner.manifest, [name]) & origins) or [origin]
        report.add(name, Verdict.DRIFTED, cause, f"{name}: {why}; first divergent: {', '.join(above)}")
    images = {record.image for job in jobs if (record := rerunner.record(job.outputs[0])).image}
    report.facts = {
        "jobs": len(jobs),
        "stages": dict(sorted(Counter(job.rule for job in jobs).items())),
        "first divergent": sorted(origins),
        "tolerances": tolerances.source,
        **({"without image": left} if (left := sorted(i for i in images if not in_image(i))) else {}),
    }
    return report


def _judge(
    rerunner: Rerunner,
    redone: RedoneJob,
    tolerances: Tolerances,
    report: Report,
    drifted: list[tuple[str, str, Cause, str]],
) -> None:
    for name, made in redone.made.items():
        result = compare(name, rerunner.results.path(name), made, tolerances)
        if result.verdict is Verdict.IDENTICAL:
            continue
        origin = _origin(rerunner, redone, name)
        cause, why = _cause(rerunner, redone, name, origin)
        if result.verdict is Verdict.DRIFTED:
            step = rerunner.manifest.entries[origin].step
            drifted.append((name, origin, cause, f"{result.words}; {step}: {why}"))
        else:
            report.add(name, result.verdict, cause, f"{name}: {result.words}; {why}")


def _origin(rerunner: Rerunner, redone: RedoneJob, name: str) -> str:
    """Where the drift of an artifact began: in the batch that it was read from, or in itself."""
    recorded, planned = _keys(rerunner.record(name), redone.job)
    for new, batch in redone.batches:
        for was, now in zip(recorded, planned, strict=True):
            content = cell_content(new, now)
            known = cell_content(rerunner.results.path(batch), was)
            if None not in (content, known) and content != known:
                return batch
    return name


def _cause(rerunner: Rerunner, redone: RedoneJob, name: str, origin: str) -> tuple[Cause, str]:
    """Why an artifact came out different, as far as the records tell."""
    entry = rerunner.manifest.entries[origin]
    made = next((path for path, batch in redone.batches if batch == origin), redone.made[name])
    if not same_code(entry):
        return Cause.CODE, f"the code of {entry.module} is not that of the run"
    now = read_sidecar_file(sidecar_path(made))[0].environment()
    was = rerunner.manifest.environments[entry.environment]
    for cause, changed in changed_machine(was, now):
        return cause, f"made on another machine: {'; '.join(changed[:3])}"
    return Cause.NONDETERMINISM, "the same code, inputs and machine"


def _keys(record: Record, job: Job) -> tuple[list[str], list[str]]:
    """Keys of the cells that an artifact's record read, and that the planned job reads; empty without batches."""
    if not any(is_batch(source.path) for source in record.inputs):
        return [], []
    return keys_read(record.params), planned_keys(job)
