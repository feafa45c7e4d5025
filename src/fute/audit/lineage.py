"""What artifacts came from, by a manifest: ancestors, the chain of rules above them, and the runs of steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fute.artifacts import SIDECAR, content_key
from fute.audit.manifest import Entry, Manifest
from fute.audit.paths import ResultsFolder
from fute.audit.sidecars import RecordError, Sidecar, read_sidecar

OUTSIDE = "outside the workflow"


def ancestors(manifest: Manifest, names: Iterable[str]) -> set[str]:
    """Artifacts that these were made from, and these themselves."""
    todo, known = list(names), set()
    while todo:
        name = todo.pop()
        if name in known or name not in manifest.entries:
            continue
        known.add(name)
        todo += [source.path for source in manifest.entries[name].inputs]
    return known


@dataclass(frozen=True)
class RuleInChain:
    """All artifacts of one rule in a chain. hash: of the artifact, or one over the sorted hashes of several."""

    rule: str
    artifacts: int
    hash: str
    made_from: tuple[str, ...]


def chain(manifest: Manifest, names: Iterable[str], order: list[str]) -> list[RuleInChain]:
    """The rules that led to some artifacts, their own first. order: of `Manifest.downstream_order`."""
    known = ancestors(manifest, names)
    artifacts: dict[str, list[str]] = {}
    for name in reversed(order):
        if name in known:
            artifacts.setdefault(rule_of(manifest, name), []).append(name)
    return [
        RuleInChain(rule, len(members), _hash(manifest, members), _made_from(manifest, members))
        for rule, members in artifacts.items()
    ]


def rule_of(manifest: Manifest, name: str) -> str:
    """The rule that makes an artifact; the step's name for a finished batch."""
    if name not in manifest.entries:
        return OUTSIDE
    entry = manifest.entries[name]
    return entry.rule or entry.step


def _made_from(manifest: Manifest, members: list[str]) -> tuple[str, ...]:
    rules = {rule_of(manifest, source.path) for name in members for source in manifest.entries[name].inputs}
    return tuple(sorted(rules))


def _hash(manifest: Manifest, members: list[str]) -> str:
    hashes = sorted(manifest.entries[name].sha256 for name in members)
    return hashes[0] if len(hashes) == 1 else content_key(hashes)


# --- runs of steps --------------------------------------------------------------------------------------


class RecordMoved(RuntimeError):
    """A sidecar that is not the one that the manifest lists."""


@dataclass(frozen=True)
class Execution:
    """One run of a step, with all files that it wrote together.

    id: hash of what it did; equal manifests give equal ids. rule: of the workflow; the step's name for a finished
    batch, which no rule makes again. entry: of its first output. params: of the record. run: time and cost of the
    process that wrote that output. outputs: artifacts, sorted.
    """

    id: str
    rule: str
    entry: Entry
    params: Any
    run: dict[str, Any]
    outputs: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Rule and wildcards for people: `mte method=tupate, model=...`."""
        wildcards = ", ".join(f"{name}={value}" for name, value in self.entry.wildcards.items())
        return f"{self.rule} {wildcards}".strip()


def executions(manifest: Manifest, results: ResultsFolder) -> list[Execution]:
    """All runs of steps, each after those that made its inputs. Raises RecordMoved."""
    known: dict[str, Execution] = {}
    for name in manifest.downstream_order():
        entry = manifest.entries[name]
        sidecar = _listed_sidecar(manifest, results, name)
        inputs = [source.model_dump() for source in entry.inputs]
        done = [entry.rule, entry.wildcards, entry.step, entry.params_sha256, entry.seeds, inputs]
        # a finished batch has no wildcards: its name tells it from another batch with the same inputs
        batch = "" if entry.rule else name.rpartition("/")[2].split(".")[0]
        key = content_key([*done, batch])[:16]
        if key not in known:
            known[key] = Execution(key, rule_of(manifest, name), entry, sidecar.record.params, sidecar.run)
        known[key].outputs.append(name)
    for execution in known.values():
        execution.outputs.sort()
    return list(known.values())


def _listed_sidecar(manifest: Manifest, results: ResultsFolder, name: str) -> Sidecar:
    try:
        sidecar, digest = read_sidecar(results, name)
    except RecordError as error:
        raise RecordMoved(f"{error}; for details run: fute audit verify") from None
    if digest != manifest.entries[name].sidecar_sha256:
        raise RecordMoved(
            f"{name}{SIDECAR}: is not the sidecar that the manifest lists; make the manifest again: fute audit manifest"
        )
    return sidecar
