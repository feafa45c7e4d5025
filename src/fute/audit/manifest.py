"""The manifest: what a run should have made, what it made, and one hash over it.

`results/audit/manifest.json` is canonical JSON: the same results give the same root hash, whoever made them, whenever
and wherever. What may differ between two such runs (machines, sidecars' times) is kept apart from the root.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fute.artifacts import atomic, canonical_json, content_key
from fute.audit.findings import Verdict, cause_of
from fute.audit.paths import AUDIT, UnsafePath, checked_name
from fute.audit.sidecars import Input, Module, Sha256, Sidecar, strict_json

MANIFEST = f"{AUDIT}/manifest.json"


class ManifestError(ValueError):
    """A manifest that is missing, damaged, edited, or names files outside the results; `verdict` says which."""

    def __init__(self, message: str, verdict: Verdict = Verdict.DRIFTED) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.exit_code = verdict.exit_code


def _with_cause(reason: str) -> str:
    cause_of(reason)
    return reason


Reason = Annotated[str, AfterValidator(_with_cause)]
"""Why an artifact is stale: `cause: words`."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Entry(_Strict):
    """One artifact.

    rule: of the workflow, with its wildcards; both empty for a finished batch, which no rule makes again. step, module,
    code_sha256, image, seeds: of its record; params_sha256: hash of the record's params, which stand in the sidecar.
    files: of a lock, its folder's files -> sha256. sidecar_sha256, environment: of this one run, not in the root;
    environment is a key of `Manifest.environments`.
    """

    rule: str = ""
    wildcards: dict[str, str] = {}
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
    semantic_sha256: Sha256 | None = None
    record_sha256: Sha256
    step: str
    module: Module
    params_sha256: Sha256
    code_sha256: Sha256
    seeds: dict[str, int] = {}
    image: Sha256 | None = None
    inputs: list[Input] = []
    files: dict[str, Sha256] = {}
    sidecar_sha256: Sha256
    environment: str

    @property
    def content_sha256(self) -> str:
        """Hash of what the artifact says: decompressed bytes of a .gz, else its bytes."""
        return self.semantic_sha256 or self.sha256


class ConfigIdentity(_Strict):
    """The configuration: its name, its file where it lies in the project, and one hash over all settings."""

    name: str
    file: str | None
    sha256: Sha256


class Manifest(_Strict):
    """Every artifact of some targets of a configuration, found by the workflow's graph.

    entries: artifact -> what was recorded. missing: targets and what they need that are not there. unrecorded: there
    without a good sidecar -> why. stale: made with other settings, code or inputs than the configuration's -> why.
    surplus: files that nothing asked for belongs to. images: sha256 of each image that was used -> what its lock says.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    config: ConfigIdentity
    targets: list[str]
    entries: dict[str, Entry]
    missing: list[str] = []
    unrecorded: dict[str, str] = {}
    stale: dict[str, list[Reason]] = {}
    surplus: list[str] = []
    images: dict[str, dict[str, Any]] = {}
    environments: dict[str, dict[str, Any]] = {}

    @property
    def root(self) -> str:
        """One hash over configuration, artifacts, records, folders of weights, and what is missing."""
        made = {
            name: [entry.sha256, entry.record_sha256, sorted(entry.files.items())]
            for name, entry in self.entries.items()
        }
        absent = [sorted(self.missing), sorted(self.unrecorded)]
        return content_key([self.config.sha256, made, absent])

    def downstream_order(self) -> list[str]:
        """Artifacts, each after everything it was made from."""
        done: dict[str, None] = {}
        todo = [(name, False) for name in sorted(self.entries, reverse=True)]
        waiting: set[str] = set()
        while todo:
            name, ready = todo.pop()
            if ready:
                done[name] = None
            elif name not in waiting:
                waiting.add(name)
                todo.append((name, True))
                paths = (source.path for source in self.entries[name].inputs)
                todo += [(path, False) for path in paths if path in self.entries]
        return list(done)


def entry_of(
    sidecar: Sidecar, sidecar_sha256: str, *, files: dict[str, str], rule: str = "", wildcards: dict[str, str]
) -> Entry:
    """The line of a manifest for an artifact with this sidecar."""
    record = sidecar.record
    return Entry(
        rule=rule,
        wildcards=wildcards,
        sha256=record.sha256,
        size=record.size,
        semantic_sha256=record.semantic_sha256,
        record_sha256=sidecar.record_sha256,
        step=record.rule,
        module=record.module,
        params_sha256=content_key(record.params),
        code_sha256=record.code_sha256,
        seeds=record.seeds,
        image=record.image,
        inputs=record.inputs,
        files=files,
        sidecar_sha256=sidecar_sha256,
        environment=environment_key(sidecar),
    )


def environment_key(sidecar: Sidecar) -> str:
    """What a manifest calls the machine and software of a run."""
    return content_key(sidecar.environment())[:12]


def manifest_json(manifest: Manifest) -> str:
    """The manifest as canonical JSON, with its root hash, and a hash of all of it by which damage is noticed."""
    body = manifest.model_dump(by_alias=True, exclude_defaults=True) | {"schema": 1, "root": manifest.root}
    return canonical_json(body | {"sha256": content_key(body)}) + "\n"


def write_manifest(manifest: Manifest, path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text(manifest_json(manifest), encoding="utf8")


def read_manifest(path: Path) -> Manifest:
    """A manifest from a file, its hashes and every name in it checked. Raises ManifestError."""
    try:
        body = strict_json(path.read_bytes())
        digest, root = body.pop("sha256"), body["root"]
        whole = content_key(body) == digest
        found = Manifest.model_validate({name: value for name, value in body.items() if name != "root"})
    except FileNotFoundError:
        problem = f"{path}: there is no manifest; make it with: fute audit manifest"
        raise ManifestError(problem, Verdict.MISSING) from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}", Verdict.UNVERIFIED) from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ManifestError(f"{path}: is damaged: {field}: {first['msg']}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ManifestError(f"{path}: is damaged, not the JSON of a manifest; make it again") from None
    if not whole or found.root != root:
        raise ManifestError(f"{path}: was edited: its hashes are not those of its entries; make it again")
    try:
        files = (name for entry in found.entries.values() for name in entry.files)
        for name in (*found.entries, *found.missing, *found.unrecorded, *found.stale, *found.surplus, *files):
            checked_name(name)
    except UnsafePath as error:
        raise ManifestError(f"{path}: {error}", Verdict.REFUSED) from None
    return found
