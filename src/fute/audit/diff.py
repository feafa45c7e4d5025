"""Why artifacts differ between two runs: the first thing in their making that was not the same."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fute.artifacts import semantic_sha256
from fute.audit.findings import Cause, Report, Verdict
from fute.audit.manifest import Entry, read_manifest
from fute.audit.paths import ResultsFolder, UnsafePath
from fute.audit.sidecars import RecordError, read_sidecar
from fute.audit.staleness import changed_machine, differences
from fute.paths import BATCHES
from fute.wording import listed

MOST_VALUES = 5
FETCH = "fetch_model"
"""The step whose artifact is a fetched model."""


class Side:
    """One of the two runs: its manifest, and its results if they are there."""

    def __init__(self, given: Path) -> None:
        """given: a manifest, or a folder of results with one. Raises ManifestError."""
        file = given / "audit" / "manifest.json" if given.is_dir() else given
        self.manifest = read_manifest(file)
        # a manifest in its usual place lies in the results
        self.results = ResultsFolder(file.parent.parent) if file.parent.name == "audit" else None

    def params(self, name: str) -> Any:
        """An artifact's recorded params; None if its sidecar is missing or is not the one of the manifest."""
        if self.results is None:
            return None
        try:
            sidecar, _ = read_sidecar(self.results, name)
        except (RecordError, UnsafePath):
            return None
        return sidecar.record.params if sidecar.record_sha256 == self.manifest.entries[name].record_sha256 else None

    def has_recorded_content(self, name: str) -> bool:
        """Whether an artifact's content is as recorded; True if the results are not there. Verification reads bytes."""
        if self.results is None:
            return True
        try:
            return semantic_sha256(self.results.path(name)) == self.manifest.entries[name].content_sha256
        except (OSError, EOFError, zlib.error, UnsafePath):
            return False


def diff(first: Side, second: Side) -> Report:
    """A finding with the reason for every artifact that is not the same in both runs.

    Artifacts where a difference begins come first. An artifact with equal bytes and another record is `upstream
    re-derived`; one with other bytes and equal content is `equivalent`.
    """
    a, b = first.manifest.entries, second.manifest.entries
    batches = _paired_batches(a, b)
    report = Report("diff", checked=len({*a, *b}))
    # the name of a batch is a hash of what it holds: another name alone means nothing
    for name in sorted(name for name in {*a} ^ {*b} if BATCHES not in name):
        where, other = ("first", second) if name in a else ("second", first)
        lost = "; in the other its record is missing or damaged" if name in other.manifest.unrecorded else ""
        report.add(name, Verdict.DRIFTED, Cause.ABSENT, f"{name}: only in the {where} run{lost}")
    former = {name: name if name in a else batches[name] for name in second.manifest.downstream_order()
              if name in a or name in batches}  # fmt: skip
    origins: dict[str, list[str]] = {}
    causes: dict[str, list[tuple[Cause, str]]] = {}
    for name, was in former.items():
        if (a[was].sha256, a[was].files) == (b[name].sha256, b[name].files):
            continue
        above = sorted({root for source in b[name].inputs for root in origins.get(source.path, ())})
        causes[name] = _causes(first, second, was, name)
        own = [cause for cause, _ in causes[name] if cause is not Cause.UPSTREAM]
        origins[name] = above if above and not own else [name, *above]
    roots = [name for name in causes if name in origins[name]]
    for name in (*roots, *(name for name in causes if name not in roots)):
        same_content = name in a and a[name].content_sha256 == b[name].content_sha256
        believed = same_content and first.has_recorded_content(name) and second.has_recorded_content(name)
        verdict = Verdict.EQUIVALENT if believed else Verdict.DRIFTED
        for cause, why in causes[name]:
            traced = "" if name in roots else f"; first divergent: {', '.join(origins[name])}"
            report.add(name, verdict, cause, f"{name}: {why}{traced}")
    for name, was in former.items():
        if name not in causes and a[was].record_sha256 != b[name].record_sha256:
            changed = ", ".join(cause for cause, _ in _causes(first, second, was, name))
            problem = f"{name}: same bytes, made in another way ({changed})"
            report.add(name, Verdict.UPSTREAM_REDERIVED, Cause.RECORD, problem)
    report.facts = {"first divergent": roots}
    return report


def _paired_batches(a: Mapping[str, Entry], b: Mapping[str, Entry]) -> dict[str, str]:
    """Batch of the second run -> the first run's batch from which the same artifact was extracted.

    Batches that have the same name in both runs are left out.
    """
    pairs: dict[str, str] = {}
    for name in sorted({*a} & {*b}):
        old, new = ([s.path for s in run[name].inputs if BATCHES in s.path] for run in (a, b))
        for was, now in zip(old, new, strict=False):
            if now not in a and now in b and was in a:
                pairs.setdefault(now, was)
    return pairs


def _causes(first: Side, second: Side, was: str, name: str) -> list[tuple[Cause, str]]:
    """What differs in the making of an artifact: its records, else the machines, else chance.

    was: its name in the first run; only a batch may have another one.
    """
    a, b = first.manifest.entries[was], second.manifest.entries[name]
    if recorded := list(_recorded(first, second, was, name)):
        return recorded
    if was != name:
        return [(Cause.PARAMS, f"holds other cells than {was}")]
    one, two = (side.manifest.environments.get(entry.environment, {}) for side, entry in ((first, a), (second, b)))
    machines = [
        (cause, f"made the same way on another machine: {'; '.join(changed)}")
        for cause, changed in changed_machine(one, two)
    ]
    return machines or [(Cause.NONDETERMINISM, "made the same way from the same inputs on the same kind of machine")]


def _recorded(first: Side, second: Side, was: str, name: str) -> Iterator[tuple[Cause, str]]:
    a, b = first.manifest.entries[was], second.manifest.entries[name]
    fetched = a.step == FETCH
    if fetched and a.files != b.files:
        changed = sorted(file for file in {*a.files, *b.files} if a.files.get(file) != b.files.get(file))
        yield Cause.MODEL, f"other files: {listed(changed, MOST_VALUES)}"
    if a.params_sha256 != b.params_sha256:
        old, new = first.params(was), second.params(name)
        if isinstance(old, dict) and isinstance(new, dict):
            # a cell's key only shows that something else differs; for two batches, what both hold is compared
            old, new = ({key: value for key, value in params.items() if key != "key"} for params in (old, new))
            values = list(differences(old, new, keys="all" if was == name else "common"))
        else:
            values = ["differ (give result folders for the values)"]
        if values:
            yield Cause.MODEL if fetched else Cause.PARAMS, f"params: {'; '.join(values[:MOST_VALUES])}"
    if a.seeds != b.seeds:
        yield Cause.SEEDS, f"seeds: {'; '.join(differences(a.seeds, b.seeds))}"
    if a.code_sha256 != b.code_sha256:
        yield Cause.CODE, f"code of {a.module}: {a.code_sha256[:12]}, then {b.code_sha256[:12]}"
    if a.image != b.image:
        yield Cause.IMAGE, f"image: {a.image}, then {b.image}"
    before = {source.path: source.sha256 for source in a.inputs}
    after = {source.path: source.sha256 for source in b.inputs}
    compared = {*before, *after} if was == name else {*before} & {*after}
    moved = sorted(path for path in compared if before.get(path) != after.get(path))
    data = [path for path in moved if not path.startswith("results/")]
    made = [path for path in moved if path.startswith("results/")]
    if data:
        yield Cause.DATA, f"other data: {listed(data, MOST_VALUES)}"
    if made:
        yield Cause.UPSTREAM, f"other inputs: {listed(made, MOST_VALUES)}"
