"""Why two runs differ: for every artifact that does, the first thing in its making that was not the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fute.audit.manifest import MANIFEST, Entry, read_manifest
from fute.audit.paths import ResultsFolder
from fute.audit.records import RecordError, read_sidecar
from fute.audit.values import differences
from fute.audit.verdicts import Cause, Report, Verdict

MOST_VALUES = 5
FETCH = "fetch_model"
"""Step whose artifact is a model, as it was fetched."""


class Side:
    """One of the two runs: its manifest, and its results where they are at hand."""

    def __init__(self, given: Path) -> None:
        """given: a manifest, or a folder of results with one. Raises ManifestError."""
        folder = given if given.is_dir() else None
        if folder is None and given.parent.name == "audit":
            folder = given.parent.parent  # a manifest where the audit writes it: the results lie around it
        self.manifest = read_manifest(given / Path(MANIFEST).relative_to("results") if given.is_dir() else given)
        self.results = ResultsFolder(folder) if folder else None

    def params(self, name: str) -> Any:
        """An artifact's recorded params; None where the sidecar is not at hand or not the manifest's."""
        if self.results is None:
            return None
        try:
            sidecar, _ = read_sidecar(self.results.sidecar(name), name)
        except (RecordError, ValueError):
            return None
        return sidecar.record.params if sidecar.record_sha256 == self.manifest.entries[name].record_sha256 else None


def diff(first: Side, second: Side) -> Report:
    """Every artifact that is not the same in both, with why, and the first divergent ancestors of all first.

    An artifact whose bytes are equal but whose record is not counts as `upstream re-derived`; one whose bytes differ
    and whose content is equal as `equivalent`.
    """
    a, b = first.manifest.entries, second.manifest.entries
    report = Report("diff", checked=len({*a, *b}))
    for name in sorted({*a} ^ {*b}):
        where = "first" if name in a else "second"
        report.add(name, Verdict.DRIFTED, Cause.ABSENT, f"{name}: only in the {where}")
    origins: dict[str, tuple[str, ...]] = {}
    causes: dict[str, list[tuple[Cause, str]]] = {}
    order = second.manifest.downstream_order()
    for name in (name for name in order if name in a):
        if a[name].sha256 == b[name].sha256 and a[name].files == b[name].files:
            continue
        above = sorted({root for source in b[name].inputs for root in origins.get(source.path, ())})
        causes[name] = _causes(name, first, second, a[name], b[name])
        own = [each for each in causes[name] if each[0] is not Cause.UPSTREAM]
        origins[name] = tuple(above) if above and not own else (name, *above)
    roots = [name for name in causes if name in origins[name]]
    for name in (*roots, *(name for name in causes if name not in roots)):
        same = a[name].content_sha256 == b[name].content_sha256 and a[name].files == b[name].files
        verdict = Verdict.EQUIVALENT if same else Verdict.DRIFTED
        for cause, why in causes[name]:
            traced = "" if name in roots else f"; first divergent: {', '.join(origins[name])}"
            report.add(name, verdict, cause, f"{name}: {why}{traced}")
    for name in (name for name in order if name in a and name not in causes):
        if a[name].record_sha256 != b[name].record_sha256:
            changed = ", ".join(str(cause) for cause, _ in _causes(name, first, second, a[name], b[name]))
            problem = f"{name}: same bytes, made otherwise ({changed})"
            report.add(name, Verdict.UPSTREAM_REDERIVED, Cause.RECORD, problem)
    report.facts = {"first divergent": roots}
    return report


def _causes(name: str, first: Side, second: Side, a: Entry, b: Entry) -> list[tuple[Cause, str]]:
    """What in the making of an artifact differs. Where its records agree, what the machines say; else chance."""
    found = list(_recorded(name, first, second, a, b))
    if found:
        return found
    one, two = (side.manifest.environments.get(entry.environment, {}) for side, entry in ((first, a), (second, b)))
    for cause, keys in (
        (Cause.HARDWARE, ("cpu", "gpu", "threads")),
        (Cause.SOFTWARE, ("packages", "platform", "python")),
    ):
        changed = [key for key in keys if one.get(key) != two.get(key)]
        if changed:
            was = "; ".join(differences({key: one.get(key) for key in changed}, {key: two.get(key) for key in changed}))
            found.append((cause, f"made the same way on another machine: {was}"))
    return found or [(Cause.NONDETERMINISM, "made the same way from the same inputs on the same kind of machine")]


def _recorded(name: str, first: Side, second: Side, a: Entry, b: Entry) -> Iterator[tuple[Cause, str]]:
    fetched = a.step == FETCH
    if fetched and a.files != b.files:
        changed = sorted(file for file in {*a.files, *b.files} if a.files.get(file) != b.files.get(file))
        yield Cause.MODEL, f"other files: {', '.join(changed[:MOST_VALUES])}"
    if a.params_sha256 != b.params_sha256:
        values = list(differences(first.params(name), second.params(name)))[:MOST_VALUES]
        said = "; ".join(values) or "differ (give result folders for the values)"
        yield Cause.MODEL if fetched else Cause.PARAMS, f"params: {said}"
    if a.seeds != b.seeds:
        yield Cause.SEEDS, f"seeds: {'; '.join(differences(a.seeds, b.seeds))}"
    if a.code_sha256 != b.code_sha256:
        yield Cause.CODE, f"code of {a.module}: {a.code_sha256[:12]}, then {b.code_sha256[:12]}"
    if a.image != b.image:
        yield Cause.IMAGE, f"image: {a.image}, then {b.image}"
    before = {source.path: source.sha256 for source in a.inputs}
    after = {source.path: source.sha256 for source in b.inputs}
    moved = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    data = [path for path in moved if not path.startswith("results/")]
    made = [path for path in moved if path.startswith("results/")]
    if data:
        yield Cause.DATA, f"other data: {', '.join(data[:MOST_VALUES])}"
    if made:
        more = f" and {len(made) - MOST_VALUES} more" if len(made) > MOST_VALUES else ""
        yield Cause.UPSTREAM, f"other inputs: {', '.join(made[:MOST_VALUES])}{more}"
