"""What an artifact came from, step by step: its chain in the manifest, from data and models to itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fute.artifacts import content_key
from fute.audit.manifest import Manifest

OUTSIDE = "outside the workflow"


@dataclass(frozen=True)
class Link:
    """All artifacts of one rule in a chain. hash: of the artifact, or one over the sorted hashes of several."""

    rule: str
    artifacts: int
    hash: str
    made_from: tuple[str, ...]


def ancestors(manifest: Manifest, names: Iterable[str]) -> set[str]:
    """Artifacts that these were made from, themselves among them."""
    todo, found = list(names), set()
    while todo:
        name = todo.pop()
        if name in found or name not in manifest.entries:
            continue
        found.add(name)
        todo += [source.path for source in manifest.entries[name].inputs]
    return found


def chain(manifest: Manifest, names: Iterable[str], order: list[str]) -> list[Link]:
    """The chain of some artifacts, by rule, from them upwards. order: of `Manifest.downstream_order`."""
    known = ancestors(manifest, names)
    rules: dict[str, list[str]] = {}
    for name in reversed(order):
        if name in known:
            rules.setdefault(rule_of(manifest, name), []).append(name)
    return [
        Link(rule, len(members), _hash(manifest, members), _made_from(manifest, members))
        for rule, members in rules.items()
    ]


def rule_of(manifest: Manifest, name: str) -> str:
    """The rule that makes an artifact; the step's name for a finished batch."""
    if name not in manifest.entries:
        return OUTSIDE
    entry = manifest.entries[name]
    return entry.rule or entry.step


def _made_from(manifest: Manifest, members: list[str]) -> tuple[str, ...]:
    found = {rule_of(manifest, source.path) for name in members for source in manifest.entries[name].inputs}
    return tuple(sorted(found))


def _hash(manifest: Manifest, members: list[str]) -> str:
    hashes = sorted(manifest.entries[name].sha256 for name in members)
    return hashes[0] if len(hashes) == 1 else content_key(hashes)
