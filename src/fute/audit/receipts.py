"""Receipts: a dated record of every audit, each chained to the one before it and to the manifest that was audited.

`results/audit/receipts/0001.json`, `0002.json` ...: an edited, exchanged or missing receipt breaks the chain. What
the chain cannot show is that its newest receipts were taken away: publish the hash of the last one.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fute import __version__
from fute.artifacts import atomic, canonical_json, content_key, sha256_file
from fute.audit.manifest import MANIFEST, ManifestError, read_manifest
from fute.audit.paths import AUDIT, ResultsFolder
from fute.audit.records import Sha256
from fute.audit.verdicts import Cause, Report, Verdict
from fute.closure import code_sha256

RECEIPTS = f"{AUDIT}/receipts"
AUDITOR = "fute.audit.cli"
"""Module whose import closure is what audited."""


class ReceiptError(ValueError):
    """A receipt or a report that cannot be read."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Audited(_Strict):
    """What one command said: its exit code and counts, by verdict or, for claims, by kind and verdict."""

    command: str
    exit_code: Annotated[int, Field(ge=0, le=2)]
    counts: dict[str, Any]
    root: Sha256 | None = None


class Receipt(_Strict):
    """One audit. manifest: sha256 of its file. previous: hash of the receipt before, None for the first."""

    schema_version: Literal[1] = Field(1, alias="schema")
    number: Annotated[int, Field(ge=1)]
    time: str
    root: Sha256
    manifest: Sha256
    audits: list[Audited]
    versions: dict[str, str]
    code_sha256: Sha256
    previous: Sha256 | None

    @property
    def sha256(self) -> str:
        return content_key(self.model_dump(by_alias=True))


def audited(report: Mapping[str, Any]) -> Audited:
    """The part of a command's `--json` that a receipt keeps. Raises ReceiptError."""
    try:
        root = report.get("facts", {}).get("root")
        said = {name: report[name] for name in ("command", "exit_code", "counts")}
        return Audited.model_validate(said | {"root": root})
    except (KeyError, AttributeError, ValidationError):
        raise ReceiptError("is no report of fute audit; make it with --json") from None


def read_report(path: Path) -> Audited:
    """What a report in a file says. Raises ReceiptError."""
    try:
        return audited(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise ReceiptError(f"{path}: {error}") from None


def write_receipt(results: ResultsFolder, manifest: Path, audits: Sequence[Audited]) -> tuple[Receipt, Path]:
    """Add a receipt to the chain. Raises ReceiptError where the chain is broken or a report is of other results."""
    root = read_manifest(manifest).root
    for audit in audits:
        if audit.root is not None and audit.root != root:
            raise ReceiptError(f"the report of {audit.command} is of the root {audit.root[:12]}, not {root[:12]}")
    broken = [finding.message for finding in check_receipts(results).findings if finding.verdict is Verdict.DRIFTED]
    if broken:
        raise ReceiptError(f"the chain is broken, so nothing is added to it: {broken[0]}")
    chain = read_receipts(results)
    receipt = Receipt(
        schema=1,
        number=len(chain) + 1,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        root=root,
        manifest=sha256_file(manifest),
        audits=list(audits),
        versions={
            "fute": __version__,
            "python": platform.python_version(),
            "snakemake": metadata.version("snakemake"),
        },
        code_sha256=code_sha256(AUDITOR),
        previous=chain[-1].sha256 if chain else None,
    )
    path = results.path(_name(receipt.number))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        body = receipt.model_dump(by_alias=True) | {"sha256": receipt.sha256}
        temporary.write_text(canonical_json(body) + "\n", encoding="utf8")
    return receipt, path


def _name(number: int) -> str:
    return f"{RECEIPTS}/{number:04}.json"


def _numbers(results: ResultsFolder) -> list[int]:
    """Numbers of the receipts that are there."""
    found = []
    for path in sorted(results.path(RECEIPTS).glob("*.json")):
        if not path.stem.isdigit() or path.name != Path(_name(int(path.stem))).name:
            raise ReceiptError(f"{RECEIPTS}/{path.name}: is no name of a receipt; remove it")
        found.append(int(path.stem))
    return found


def read_receipt(results: ResultsFolder, number: int) -> Receipt:
    """One receipt, its own hash checked. Raises ReceiptError."""
    name = _name(number)
    try:
        body = json.loads(results.path(name).read_bytes())
        digest = body.pop("sha256")
        receipt = Receipt.model_validate(body)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise ReceiptError(f"{name}: is damaged, no receipt any more") from None
    if content_key(body) != digest:
        raise ReceiptError(f"{name}: was edited: its sha256 is not that of what it says")
    return receipt


def read_receipts(results: ResultsFolder) -> list[Receipt]:
    """All receipts, the first one first. Raises ReceiptError."""
    return [read_receipt(results, number) for number in _numbers(results)]


def check_receipts(results: ResultsFolder, manifest: Path | None = None) -> Report:
    """Follow the chain from the first receipt to the last; manifest: what the last one must be of."""
    numbers = _numbers(results)
    report = Report("receipt", checked=len(numbers))
    before: Receipt | None = None
    for expected, number in enumerate(numbers, start=1):
        name = _name(number)
        if expected not in numbers:
            report.add(name, Verdict.DRIFTED, Cause.RECORD, f"{_name(expected)}: is missing from the chain")
            break
        try:
            receipt = read_receipt(results, number)
        except ReceiptError as error:
            report.add(name, Verdict.DRIFTED, Cause.RECORD, str(error))
            before = None
            continue
        if problem := _link(receipt, number, before):
            report.add(name, Verdict.DRIFTED, Cause.RECORD, f"{name}: {problem}")
        before = receipt
    if before:
        report.facts = {"last": before.sha256, "time": before.time, "root": before.root}
    if manifest is not None:
        _newest(report, before, manifest)
    return report


def _link(receipt: Receipt, number: int, before: Receipt | None) -> str | None:
    """What is wrong between a receipt and the one before it."""
    if receipt.number != number:
        return f"is receipt {receipt.number}: it was exchanged"
    if number == 1:
        return None if receipt.previous is None else "is the first one and names one before it"
    if before is None:
        return None  # the one before is reported by itself
    if receipt.previous != before.sha256:
        return f"follows {str(receipt.previous)[:12]}, but the one before it is {before.sha256[:12]}"
    return "is older than the one before it" if receipt.time < before.time else None


def _newest(report: Report, last: Receipt | None, manifest: Path) -> None:
    """Whether the newest receipt is of the manifest that is there."""
    if not report.checked:
        report.checked = 1
        report.add(RECEIPTS, Verdict.UNVERIFIED, Cause.ABSENT, f"{RECEIPTS}: no receipt; make one: fute audit receipt")
        return
    try:
        root = read_manifest(manifest).root
    except ManifestError as error:
        report.add(MANIFEST, Verdict.UNVERIFIED, Cause.ABSENT, str(error))
        return
    if last is not None and (last.root, last.manifest) != (root, sha256_file(manifest)):
        problem = f"{MANIFEST}: is not the one of the last receipt, of {last.time}; audit it: fute audit receipt"
        report.add(MANIFEST, Verdict.UNVERIFIED, Cause.RECORD, problem)
