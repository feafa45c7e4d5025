"""The root hash of a manifest: what nobody can change behind it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.large_run import MODULE, write_run

from fute.audit.manifest import MANIFEST, Manifest, read_manifest
from fute.audit.sidecars import Input


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    write_run(tmp_path, [10, 20])
    manifest = read_manifest(tmp_path / MANIFEST)
    name = next(iter(manifest.entries))
    return manifest.model_copy(update={"stale": {name: ["params: limit 12, then 13"]}})


def test_the_root_has_what_a_verdict_rests_on(manifest: Manifest):
    name, entry = next(iter(manifest.entries.items()))
    # a batch, which no rule makes, may have inputs that changed
    as_made_by_a_rule = manifest.entries | {name: entry.model_copy(update={"rule": "mte"})}
    for change in (
        {"stale": {}},
        {"stale": {name: ["params: limit 12, then 14"]}},
        {"entries": as_made_by_a_rule},
        # the lock of a run and the claims about it are found by its name
        {"config": manifest.config.model_copy(update={"name": "another"})},
        {"missing": ["results/x"]},
    ):
        assert manifest.model_copy(update=change).root != manifest.root, change


def test_the_root_has_nothing_that_verification_checks_itself(manifest: Manifest):
    name, entry = next(iter(manifest.entries.items()))
    again = [f"code: {MODULE} or what it imports was edited", "upstream: results/data/0/1.bin was 1, is 2"]
    # a file of the project that was edited and brought back
    entry = entry.model_copy(update={"inputs": [Input(path="resources/a.csv", sha256="0" * 64)]})
    again.append("data: resources/a.csv was 000000000000, is 111111111111")
    manifest = manifest.model_copy(update={"entries": manifest.entries | {name: entry}})
    for change in (
        {"stale": {name: [*manifest.stale[name], *again]}},
        {"entries": manifest.entries | {name: entry.model_copy(update={"environment": "other"})}},
        {"surplus": ["results/x"]},
    ):
        assert manifest.model_copy(update=change).root == manifest.root, change
