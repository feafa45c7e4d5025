"""How much repeats of one job differ: the noise on which tolerances should rest.

`results/audit/noise.json` holds the largest distances between any two repeats, for each kind of artifact. If the file
exists, `rerun` takes its tolerances from it instead of the defaults.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fute.artifacts import atomic, semantic_sha256, sidecar_path
from fute.audit.findings import AuditError, Cause, Report, Verdict
from fute.audit.paths import AUDIT
from fute.audit.planned_jobs import Job
from fute.audit.rerun.compare import DEFAULTS, UNLIKE, Tolerances, distances, kind_of
from fute.audit.rerun.redo_job import CANNOT, Rerunner
from fute.audit.sidecars import read_sidecar_file, strict_json
from fute.progress import Track

NOISE = f"{AUDIT}/noise.json"
SCHEMA = 1
MARGIN = 2
"""Factor from the largest distance to the tolerance: few repeats seldom show the largest possible one."""


def measure(rerunner: Rerunner, jobs: Sequence[Job], repeats: int) -> tuple[dict[str, Any], Report]:
    """Do every job `repeats` times; returns the content of noise.json, and a report.

    Findings are jobs that could not be done, and artifacts with other bytes whose kind must be equal byte for byte.
    """
    report = Report("noise", checked=sum(len(job.outputs) for job in jobs))
    floor: dict[str, dict[str, float]] = {}
    counted: dict[str, int] = {}
    environments: list[dict[str, Any]] = []
    with Track("repeating", len(jobs) * repeats, "runs") as track:
        for job in jobs:
            runs = []
            try:
                for _ in range(repeats):
                    runs.append(rerunner.redo(job).made)
                    track.advance()
            except CANNOT as error:
                for name in job.outputs:
                    report.add(name, Verdict.NOT_RERUNNABLE, Cause.ABSENT, f"{name}: {error}")
                continue
            for name in job.outputs:
                _raise_floor(name, [made[name] for made in runs], floor, counted, report)
            environment = read_sidecar_file(sidecar_path(runs[0][job.outputs[0]]))[0].environment()
            if environment not in environments:
                environments.append(environment)
    value = {
        "schema": SCHEMA,
        "repeats": repeats,
        "jobs": sorted(job.outputs[0] for job in jobs),
        "floor": {kind: {"artifacts": counted[kind], "distances": floor.get(kind, {})} for kind in sorted(counted)},
        "environments": environments,
    }
    report.facts = {"repeats": repeats, "floor": dict(sorted(floor.items()))}
    return value, report


def _raise_floor(name: str, files: Sequence[Path], floor: dict, counted: dict, report: Report) -> None:
    """Raise the floor of an artifact's kind to the distances of its repeats."""
    kind = kind_of(name)
    counted[kind] = counted.get(kind, 0) + 1
    differ = len({semantic_sha256(path) for path in files}) > 1
    if kind not in DEFAULTS:
        if differ:
            report.add(name, Verdict.DRIFTED, Cause.NONDETERMINISM, f"{name}: repeats have different bytes")
        return
    own = floor.setdefault(kind, dict.fromkeys(DEFAULTS[kind], 0.0))
    for pair in itertools.combinations(files, 2) if differ else ():
        apart = distances(name, *pair)
        if UNLIKE in apart.values():
            report.add(
                name,
                Verdict.DRIFTED,
                Cause.NONDETERMINISM,
                f"{name}: repeats have different shapes, so they cannot be compared",
            )
            return
        for measure_name, distance in apart.items():
            own[measure_name] = max(own[measure_name], distance)


def write_noise(value: Mapping[str, Any], path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n", encoding="utf8")


def read_tolerances(path: Path) -> Tolerances:
    """Tolerances from a noise file, with defaults for kinds that it lacks; only defaults without a file.

    Raises AuditError.
    """
    if not path.is_file():
        return Tolerances(DEFAULTS, "the defaults; measure them with: fute audit noise")
    try:
        value = strict_json(path.read_bytes())
        repeats = value["repeats"]
        measured = {kind: each["distances"] for kind, each in value["floor"].items() if each["distances"]}
        own = {kind: {name: MARGIN * float(most) for name, most in of.items()} for kind, of in measured.items()}
        if value["schema"] != SCHEMA or any(of.keys() != DEFAULTS[kind].keys() for kind, of in own.items()):
            raise ValueError("it has other kinds or measures than this version")
        if not all(0 <= most < UNLIKE for of in own.values() for most in of.values()):
            raise ValueError("a distance is negative or infinite")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise AuditError(f"{path}: is damaged ({error}); measure again with: fute audit noise") from None
    source = f"{MARGIN} times the noise of {repeats} repeats ({path}: {', '.join(sorted(own)) or 'no kind'})"
    # the file comes with the results, perhaps from whoever wants them to pass
    wider = [
        f"{kind} {name} {most:.3g} for {DEFAULTS[kind][name]:.3g}"
        for kind, of in own.items() for name, most in of.items() if most > DEFAULTS[kind][name]
    ]  # fmt: skip
    source += f"; wider than the defaults: {', '.join(wider)}" if wider else ""
    return Tolerances({**DEFAULTS, **own}, source)
