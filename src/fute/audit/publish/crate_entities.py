"""What a crate speaks of: files with their hashes, values, container images; each once."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rocrate.model import ContextEntity, File
from rocrate.rocrate import ROCrate

from fute.artifacts import SIDECAR, canonical_json, content_key, sha256_file
from fute.audit.findings import DRIFT, INCOMPLETE
from fute.audit.manifest import Manifest
from fute.audit.paths import ResultsFolder

TERMS = "https://w3id.org/ro/terms/workflow-run"
MEDIA = {".smk": "text/x-python", ".jsonl": "application/x-ndjson", ".keys": "text/plain", ".yaml": "application/yaml"}


class ExportError(RuntimeError):
    """A run that cannot be exported, or not to where it was asked to go."""

    exit_code = INCOMPLETE


class MovedArtifact(ExportError):
    """An artifact that is not the one of the manifest."""

    exit_code = DRIFT


class Entities:
    """The entities of one crate, made when they are first asked for."""

    def __init__(self, manifest: Manifest, results: ResultsFolder) -> None:
        self.manifest, self.results = manifest, results
        self.crate = ROCrate(version="1.1")
        self.crate.metadata.extra_contexts.append(f"{TERMS}/context")

    def entity(self, key: str, kind: str, **properties: Any) -> ContextEntity:
        """The contextual entity with this id, made where it is not there yet."""
        known = self.crate.get(key)
        return known or self.crate.add(ContextEntity(self.crate, key, {"@type": kind, **properties}))

    def value(self, name: str, value: Any, **properties: Any) -> ContextEntity:
        """A PropertyValue, one for equal ones."""
        text = value if isinstance(value, str | int | float) else canonical_json(value)
        key = f"#{name.replace(' ', '-')}-{content_key([text, properties])[:16]}"
        return self.entity(key, "PropertyValue", name=name, value=text, **properties)

    def artifact(self, name: str) -> File:
        """The file of an artifact, its bytes checked, and its record beside it."""
        if known := self.crate.get(name):
            return known
        entry = self.manifest.entries[name]
        path = self.results.path(name)
        if not path.is_file():
            raise ExportError(f"{name}: is missing; copy it again, or run the workflow")
        if sha256_file(path) != entry.sha256:
            raise MovedArtifact(f"{name}: its bytes are not those of the manifest; see fute audit verify")
        facts = {"name": name.rpartition("/")[2], "sha256": entry.sha256, "contentSize": str(entry.size)}
        record = self.file(name + SIDECAR, self.results.sidecar(name), sha256=entry.sidecar_sha256)
        record["about"] = {"@id": name}
        return self.file(name, path, **facts)

    def file(self, key: str, path: Path, **facts: Any) -> File:
        return self.crate.add_file(path, key, properties={"encodingFormat": media_type(key), **facts})

    def input(self, path: str, sha256: str) -> ContextEntity | File:
        """An input: an artifact of the run, or what lay outside it, known by its hash."""
        if path in self.manifest.entries:
            return self.artifact(path)
        return self.value(path, sha256, propertyID="https://w3id.org/ro/terms/workflow-run#sha256")

    def image(self, sha256: str) -> ContextEntity:
        """The container image of an execution, with what the lock of images said of it."""
        locked = self.manifest.images.get(sha256, {})
        name = str(locked.get("name", f"image {sha256[:12]}"))
        kind = {"@id": f"{TERMS}#SIFImage"}
        facts = {"description": canonical_json(locked)} if locked else {}
        return self.entity(
            f"#image-{sha256[:16]}", "ContainerImage", name=name, sha256=sha256, additionalType=kind, **facts
        )

    @staticmethod
    def ref(entity: ContextEntity | File) -> dict[str, str]:
        return {"@id": entity.id}

    @staticmethod
    def refs(entities: Iterable[ContextEntity | File]) -> list[dict[str, str]] | dict[str, str]:
        """References, each once; a single one stands by itself, as JSON-LD of crates has it."""
        found = [{"@id": key} for key in dict.fromkeys(entity.id for entity in entities)]
        return found[0] if len(found) == 1 else found


def media_type(name: str) -> str:
    """MIME type by a file's ending."""
    found = MEDIA.get(Path(name).suffix) or mimetypes.guess_type(name, strict=False)[0]
    return "application/gzip" if name.endswith(".gz") else found or "application/octet-stream"
