"""Results of any size, written quickly: for what an audit costs, not for what it finds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from fute.artifacts import SCHEMA, content_key
from fute.audit.manifest import ConfigIdentity, Manifest, entry_of, environment_key, manifest_json
from fute.audit.sidecars import Sidecar, parse_sidecar
from fute.code_hash import code_sha256

MODULE = "fute.display_names"


def write_artifact(project: Path, name: str, data: bytes, like: Path | None = None) -> tuple[Sidecar, str]:
    """An artifact with a true sidecar, without the care of a real step; returns what `read_sidecar` does.

    like: a file that holds these bytes, of which the artifact becomes another name.
    """
    record = {
        "schema": SCHEMA, "artifact": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data),
        "step": "made", "module": MODULE, "params": {}, "code_sha256": code_sha256(MODULE), "seeds": {}, "inputs": [],
    }  # fmt: skip
    side = json.dumps({"record": record, "record_sha256": content_key(record), "run": {"wall_s": 1}}).encode()
    path = project / name
    if like:
        os.link(like, path)
    else:
        path.write_bytes(data)
    path.with_name(f"{path.name}.prov.json").write_bytes(side)
    return parse_sidecar(side, name), hashlib.sha256(side).hexdigest()


def write_run(project: Path, sizes: Iterable[int], *, files_a_folder: int = 1000, linked: bool = False) -> list[str]:
    """Results with files of these sizes, and their manifest; returns the names. linked: equal ones
    in a folder are one file."""
    entries, environments = {}, {}
    data, like = b"", None
    for index, size in enumerate(sizes):
        folder = f"results/data/{index // files_a_folder}"
        name = f"{folder}/{index}.bin"
        if index % files_a_folder == 0:
            (project / folder).mkdir(parents=True)
            data, like = b"", None
        if len(data) != size:
            data, like = os.urandom(size), None
        elif linked:
            like = like or project / folder / f"{index - 1}.bin"
        sidecar, digest = write_artifact(project, name, data, like)
        entries[name] = entry_of(sidecar, digest, files={}, wildcards={})
        environments[environment_key(sidecar)] = sidecar.environment()
    config = ConfigIdentity(name="large", file=None, sha256="0" * 64)
    manifest = Manifest(schema=1, config=config, targets=[], entries=entries, environments=environments)
    (project / "results/audit").mkdir()
    (project / "results/audit/manifest.json").write_text(manifest_json(manifest))
    return list(entries)
