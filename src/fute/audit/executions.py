"""The runs of steps behind a manifest's artifacts: one for all files that a step wrote together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fute.artifacts import content_key
from fute.audit.manifest import Entry, Manifest
from fute.audit.paths import ResultsFolder
from fute.audit.sidecars import Input, RecordError, Sidecar, read_sidecar


class RecordMoved(RuntimeError):
    """A sidecar that is not the one the manifest lists."""


@dataclass(frozen=True)
class Execution:
    """One run of a step.

    id: hash of what it did, the same for the same manifest. rule: of the workflow; the step's name for a finished
    batch, which no rule makes again. outputs: artifacts, sorted. params: of the record. run: time and cost of the
    process that wrote the last output.
    """

    id: str
    rule: str
    wildcards: dict[str, str]
    entry: Entry
    params: Any
    run: dict[str, Any]
    outputs: list[str] = field(default_factory=list)

    @property
    def inputs(self) -> list[Input]:
        return self.entry.inputs

    @property
    def name(self) -> str:
        """`mte method=tupate, model=...` for people."""
        wildcards = ", ".join(f"{name}={value}" for name, value in self.wildcards.items())
        return f"{self.rule} {wildcards}".strip()

    @property
    def stage(self) -> str:
        """Folder of the results that it wrote to: `labels`, `embeddings`, `evaluation` ..."""
        return self.outputs[0].split("/")[1]


def executions(manifest: Manifest, results: ResultsFolder) -> list[Execution]:
    """All executions, each after those that made its inputs. Raises RecordMoved."""
    found: dict[str, Execution] = {}
    for name, entry, sidecar in _records(manifest, results):
        inputs = [source.model_dump() for source in entry.inputs]
        said = [entry.rule, entry.wildcards, entry.step, entry.params_sha256, entry.seeds, inputs]
        # a finished batch has no wildcards: its name tells it from another with the same inputs
        batch = "" if entry.rule else name.rpartition("/")[2].split(".")[0]
        key = content_key([*said, batch])[:16]
        if key not in found:
            rule = entry.rule or entry.step
            found[key] = Execution(key, rule, entry.wildcards, entry, sidecar.record.params, sidecar.run)
        found[key].outputs.append(name)
    for execution in found.values():
        execution.outputs.sort()
    return list(found.values())


def _records(manifest: Manifest, results: ResultsFolder) -> Iterator[tuple[str, Entry, Sidecar]]:
    for name in manifest.downstream_order():
        entry = manifest.entries[name]
        try:
            sidecar, digest = read_sidecar(results.sidecar(name), f"{name}.prov.json")
        except RecordError as error:
            raise RecordMoved(f"{error}; see fute audit verify") from None
        if digest != entry.sidecar_sha256:
            raise RecordMoved(f"{name}.prov.json: is not the one of the manifest; see fute audit verify")
        yield name, entry, sidecar
