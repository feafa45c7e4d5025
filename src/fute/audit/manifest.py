"""The manifest: what a run should have made, what it made, and one root hash over it.

`results/audit/manifest.json` is canonical JSON. Equal results have equal root hashes, whoever made them, when and
where; the root leaves out what may differ between such runs (machine, times of sidecars).
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fute.artifacts import atomic, canonical_json, content_key
from fute.audit.findings import Cause, Verdict, cause_of
from fute.audit.paths import AUDIT, UnsafePath, checked_name
from fute.audit.sidecars import Input, Module, Sha256, Sidecar, first_problem, strict_json

MANIFEST = f"{AUDIT}/manifest.json"
DELETE_BATCH = (
    "delete the batch, its .keys, their records and its folder, if it has one; a run that needs it makes it again"
)


class ManifestError(ValueError):
    """A manifest that is missing, damaged or edited, or names files outside the results; `verdict` says which."""

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

    rule, wildcards: of the workflow; empty for a finished batch, which no rule makes again. step, module, more_code,
    code_sha256, image, seeds: of its record. params_sha256: hash of the record's params. files: for a lock, files of
    its folder -> sha256. sidecar_sha256, environment: of one run, so not in the root; environment is a key of
    `Manifest.environments`.
    """

    rule: str = ""
    wildcards: dict[str, str] = {}
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
    semantic_sha256: Sha256 | None = None
    record_sha256: Sha256
    step: str
    module: Module
    more_code: list[Module] = []
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
        """Hash of the content: of the decompressed bytes of a .gz, else of the file."""
        return self.semantic_sha256 or self.sha256


class ConfigIdentity(_Strict):
    """The configuration: its name, its file if that lies in the project, and one hash over all settings."""

    name: str
    file: str | None
    sha256: Sha256


class Manifest(_Strict):
    """Every artifact that the workflow's graph has for some targets of a configuration.

    entries: artifact -> what was recorded. missing: artifacts that the targets need and that do not exist. unrecorded:
    artifact without a good sidecar -> why. stale: artifact made with other settings, code or inputs than the
    configuration's -> why. surplus: files that no target needs. images: sha256 of each image used -> its lock entry.
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
        """One hash over all that a verdict rests on and that equal results have in common.

        That is the configuration, artifacts, records, weights, what is missing and what is stale.
        """
        entries = {
            name: [entry.rule, entry.sha256, entry.record_sha256, sorted(entry.files.items())]
            for name, entry in self.entries.items()
        }
        absent = [sorted(self.missing), sorted(self.unrecorded)]
        return content_key([self.config.name, self.config.sha256, entries, absent, self.lasting_stale])

    @property
    def lasting_stale(self) -> dict[str, list[Reason]]:
        """`stale` without an artifact's code and inputs: verification checks these, and both may be right again."""
        lasting = {}
        for name, reasons in self.stale.items():
            again = [f"{Cause.UPSTREAM}: "]
            if entry := self.entries.get(name):
                again += [f"{Cause.CODE}: {entry.module} ", *(f"{Cause.DATA}: {each.path} " for each in entry.inputs)]
            if kept := [why for why in reasons if not why.startswith(tuple(again))]:
                lasting[name] = kept
        return lasting

    def make_it(self, name: str) -> str:
        """What to do to have an artifact made: the name of what a rule makes is a target, that of a batch is not."""
        entry = self.entries.get(name)
        if entry and not entry.rule:
            return DELETE_BATCH
        return f"make it: snakemake --cores all {name} --configfile {self.config.file or 'YOUR.yaml'}"

    def downstream_order(self) -> list[str]:
        """All artifacts, each after everything it was made from."""
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
    """The manifest's entry for an artifact with this sidecar."""
    record = sidecar.record
    return Entry(
        rule=rule,
        wildcards=wildcards,
        sha256=record.sha256,
        size=record.size,
        semantic_sha256=record.semantic_sha256,
        record_sha256=sidecar.record_sha256,
        step=record.step,
        module=record.module,
        more_code=record.more_code,
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
    """The key in `Manifest.environments` for the machine and software of a run."""
    return content_key(sidecar.environment())[:12]


def manifest_json(manifest: Manifest) -> str:
    """The manifest as canonical JSON, with its root hash and a hash over everything, which shows damage."""
    body = manifest.model_dump(by_alias=True, exclude_defaults=True) | {"schema": 1, "root": manifest.root}
    return canonical_json(body | {"sha256": content_key(body)}) + "\n"


def write_manifest(manifest: Manifest, path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text(manifest_json(manifest), encoding="utf8")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; its hashes and all names in it are checked. Raises ManifestError."""
    try:
        body = strict_json(path.read_bytes())
        digest, root = body.pop("sha256"), body["root"]
        whole = content_key(body) == digest
        manifest = Manifest.model_validate({name: value for name, value in body.items() if name != "root"})
    except FileNotFoundError:
        raise ManifestError(f"{path}: there is no manifest; make it: fute audit manifest", Verdict.MISSING) from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}", Verdict.UNVERIFIED) from None
    except ValidationError as error:
        raise ManifestError(f"{path}: is damaged: {first_problem(error)}; make it again: fute audit manifest") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ManifestError(
            f"{path}: is damaged, not the JSON of a manifest; make it again: fute audit manifest"
        ) from None
    if not whole or manifest.root != root:
        raise ManifestError(
            f"{path}: was edited: its hashes are not those of its entries; make it again: fute audit manifest"
        )
    try:
        files = (name for entry in manifest.entries.values() for name in entry.files)
        listed = (manifest.entries, manifest.missing, manifest.unrecorded, manifest.stale, manifest.surplus, files)
        for name in chain.from_iterable(listed):
            checked_name(name)
    except UnsafePath as error:
        raise ManifestError(f"{path}: {error}", Verdict.REFUSED) from None
    return manifest
