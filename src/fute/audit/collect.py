"""Building the manifest: the workflow's graph says what should exist, the sidecars say what does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fute.artifacts import SIDECAR
from fute.audit.batches import is_batch
from fute.audit.config_and_locks import config_identity, lock_files, read_images
from fute.audit.findings import Cause, Report, Verdict, cause_of, printable
from fute.audit.manifest import Entry, Manifest, entry_of, environment_key
from fute.audit.paths import RESULTS, ResultsFolder
from fute.audit.planned_jobs import Graph
from fute.audit.sidecars import RecordError, Sidecar, read_sidecar
from fute.audit.staleness import reasons
from fute.batching import LOCK
from fute.paths import batch_index


def build_manifest(graph: Graph, config: Path, results: ResultsFolder) -> Manifest:
    """The manifest of a graph's targets. Hashes no artifact: `verify` does.

    config: the file that the graph was planned from. Raises UnsafePath if a link leads outside the results.
    """
    return _Collector(graph, results).manifest(config)


def manifest_report(manifest: Manifest) -> Report:
    """Findings that a manifest holds by itself: artifacts missing, without a record, stale or surplus."""
    listed = {*manifest.entries, *manifest.missing, *manifest.unrecorded, *manifest.surplus}
    facts = {"run": manifest.config.name, "root": manifest.root}
    report = Report("manifest", checked=len(listed), passed=Verdict.RECORDED, facts=facts)
    for name in manifest.missing:
        report.add(name, Verdict.MISSING, Cause.ABSENT, f"{name}: is missing; {manifest.make_it(name)}")
    for name, why in manifest.unrecorded.items():
        report.add(name, Verdict.UNVERIFIED, Cause.RECORD, why)
    for name, stale in manifest.stale.items():
        for why in stale:
            problem = f"{name}: is stale: {why}; {manifest.make_it(name)}"
            report.add(name, Verdict.DRIFTED, cause_of(why), problem)
    for name in manifest.surplus:
        report.add(name, Verdict.SURPLUS, Cause.PATH, f"{name}: no target needs it; keep it or delete it")
    return report


class _Collector:
    def __init__(self, graph: Graph, results: ResultsFolder) -> None:
        self.graph, self.results = graph, results
        self.producers = graph.producers()
        self.sidecars: dict[str, Sidecar] = {}
        self.entries: dict[str, Entry] = {}
        self.missing: set[str] = set()
        self.unrecorded: dict[str, str] = {}
        self.environments: dict[str, dict[str, Any]] = {}

    def manifest(self, config: Path) -> Manifest:
        todo = [*self.producers, *(name for name in self.graph.leaves() if name.startswith(f"{RESULTS}/"))]
        seen = set(todo)
        while todo:
            # what made a finished batch is in no graph; the records lead there
            for name in self._add(todo.pop()):
                if name not in seen:
                    seen.add(name)
                    todo.append(name)
        known = seen | {name for entry in self.entries.values() for name in entry.files}
        used = {entry.image for entry in self.entries.values()}
        manifest = Manifest(
            schema=1,
            config=config_identity(self.graph.plan.run, config),
            targets=sorted(self.graph.targets),
            entries=dict(sorted(self.entries.items())),
            missing=sorted(self.missing),
            unrecorded=dict(sorted(self.unrecorded.items())),
            # such files may have any name; a manifest takes only names that an artifact may have
            surplus=[printable(name).replace("\\", "?") for name in self.results.names() if name not in known],
            images={sha256: entry for sha256, entry in read_images().items() if sha256 in used},
            environments=dict(sorted(self.environments.items())),
        )
        return manifest.model_copy(update={"stale": self._stale(manifest)})

    def _add(self, name: str) -> list[str]:
        """Take up one artifact; returns the artifacts to which its record and its name lead."""
        if not self.results.path(name).is_file():
            self.missing.add(name)
            return []
        try:
            sidecar, digest = read_sidecar(self.results, name)
            if sidecar.record.artifact != name:
                raise RecordError(f"{name}{SIDECAR}: is the record of {sidecar.record.artifact}: files were exchanged")
            self.entries[name] = self._entry(name, sidecar, digest)
        except RecordError as error:
            self.unrecorded[name] = str(error)
            return []
        self.sidecars[name] = sidecar
        return [*sidecar.record.artifacts, *([batch_index(name)] if is_batch(name) else [])]

    def _entry(self, name: str, sidecar: Sidecar, digest: str) -> Entry:
        job = self.producers.get(name)
        self.environments[environment_key(sidecar)] = sidecar.environment()
        files = lock_files(name, self.results) if name.endswith(LOCK) else {}
        rule, wildcards = (job.rule, job.wildcards) if job else ("", {})
        return entry_of(sidecar, digest, files=files, rule=rule, wildcards=wildcards)

    def _stale(self, manifest: Manifest) -> dict[str, list[str]]:
        stale: dict[str, list[str]] = {}
        for name in manifest.downstream_order():
            record, job = self.sidecars[name].record, self.producers.get(name)
            why = reasons(record, job, self.entries)
            if job:
                why += [f"upstream: {each.path} is stale" for each in record.inputs if each.path in stale]
            if why:
                stale[name] = why
        return dict(sorted(stale.items()))
