"""Receipts: a dated record of each audit, chained to the one before and to the manifest that was audited.

`results/audit/receipts/0001.json`, `0002.json` ...: an edited, exchanged or missing receipt breaks the chain. The chain
cannot show that its newest receipts were removed: publish the hash of the last one.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from fute import __version__
from fute.artifacts import atomic, canonical_json, content_key, sha256_file
from fute.audit.claims.check import ClaimReport, check_claims
from fute.audit.claims.file import read_claims
from fute.audit.claims.sources import Project
from fute.audit.findings import DRIFT, AuditError, Cause, Report, Verdict
from fute.audit.manifest import MANIFEST, Manifest, ManifestError, read_manifest
from fute.audit.paths import AUDIT, ResultsFolder
from fute.audit.sidecars import Sha256, Strict, strict_json
from fute.audit.verify import verify_manifest
from fute.code_hash import code_sha256

RECEIPTS = f"{AUDIT}/receipts"


class BrokenChain(AuditError):
    """A receipt that is damaged, edited, exchanged or missing: the chain proves nothing any more."""

    exit_code = DRIFT


class Audited(Strict):
    """Result of one command: exit code, and counts by verdict or, for claims, by kind and outcome."""

    command: str
    exit_code: Annotated[int, Field(ge=0, le=2)]
    counts: dict[str, Any]
    root: Sha256 | None = None


class Receipt(Strict):
    """One audit. manifest: sha256 of the manifest's file. previous: hash of the receipt before; None for the first."""

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
    """The part of a command's JSON report that a receipt keeps. Raises AuditError."""
    try:
        root = report.get("facts", {}).get("root")
        kept = {name: report[name] for name in ("command", "exit_code", "counts")} | {"root": root}
        content_key(kept)  # refuses what no receipt can hold
        return Audited.model_validate(kept)
    except (KeyError, AttributeError, ValueError):
        raise AuditError("is no report of fute audit; print one with --json") from None


def read_report(path: Path) -> Audited:
    """The result in a report's file. Raises AuditError."""
    try:
        return audited(strict_json(path.read_bytes()))
    except OSError as error:
        raise AuditError(f"{path}: {error.strerror}; give what another audit printed with --json") from None
    except (ValueError, RecursionError, AuditError):
        raise AuditError(f"{path}: is no report of fute audit; print one with --json") from None


def receipt_name(number: int) -> str:
    return f"{RECEIPTS}/{number:04}.json"


def receipt_numbers(results: ResultsFolder) -> list[int]:
    """Numbers of the existing receipts, sorted. Raises BrokenChain for a file that is no receipt."""
    numbers = []
    for path in sorted(results.path(RECEIPTS).glob("*.json")):
        if not path.stem.isdecimal() or path.name != Path(receipt_name(int(path.stem))).name:
            raise BrokenChain(f"{RECEIPTS}/{path.name}: is no name of a receipt; remove the file")
        numbers.append(int(path.stem))
    return sorted(numbers)


def read_receipt(results: ResultsFolder, number: int) -> Receipt:
    """Read a receipt; its own hash is checked. Raises BrokenChain."""
    name = receipt_name(number)
    try:
        body = strict_json(results.path(name).read_bytes())
        digest = body.pop("sha256")
        receipt = Receipt.model_validate(body)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise BrokenChain(f"{name}: is damaged, no receipt any more; bring it back from a copy") from None
    if content_key(body) != digest:
        raise BrokenChain(f"{name}: was edited: its sha256 is not that of its content; bring it back from a copy")
    return receipt


def read_receipts(results: ResultsFolder) -> list[Receipt]:
    """All receipts, from the first to the last. Raises BrokenChain."""
    return [read_receipt(results, number) for number in receipt_numbers(results)]


def write_receipt(results: ResultsFolder, manifest: Path, audits: Sequence[Audited]) -> tuple[Receipt, Path]:
    """Add a receipt to the chain. Raises BrokenChain; AuditError for a report of other results, or a clock that is
    behind the last receipt."""
    root = read_manifest(manifest).root
    for audit in audits:
        if audit.root is not None and audit.root != root:
            raise AuditError(
                f"the report of {audit.command} is of the root {audit.root[:12]}, not {root[:12]}; make it again"
            )
    broken = [finding.message for finding in check_receipts(results).findings if finding.verdict is Verdict.DRIFTED]
    if broken:
        raise BrokenChain(f"the chain is broken, so no receipt is added: {broken[0]}")
    chain, now = read_receipts(results), datetime.now(UTC).isoformat(timespec="seconds")
    if chain and now < chain[-1].time:
        raise AuditError(
            f"{receipt_name(len(chain))}: is of {chain[-1].time}, and it is {now} here, so no receipt is added, which "
            "would break the chain: set this machine's clock, or remove that receipt if another clock was wrong"
        )
    receipt = Receipt(
        schema=1,
        number=len(chain) + 1,
        time=now,
        root=root,
        manifest=sha256_file(manifest),
        audits=list(audits),
        versions={
            "fute": __version__,
            "python": platform.python_version(),
            "snakemake": metadata.version("snakemake"),
        },
        code_sha256=code_sha256("fute.audit.cli"),  # with all that it imports, which does the audits
        previous=chain[-1].sha256 if chain else None,
    )
    path = results.path(receipt_name(receipt.number))
    path.parent.mkdir(parents=True, exist_ok=True)
    body = receipt.model_dump(by_alias=True) | {"sha256": receipt.sha256}
    _write_once(path, canonical_json(body) + "\n")
    return receipt, path


def _write_once(path: Path, text: str) -> None:
    """Write a new file, complete at once and never over another one. Raises AuditError."""
    written = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with atomic(written) as temporary:
            temporary.write_text(text, encoding="utf8")
        os.link(written, path)
    except FileExistsError:
        raise AuditError(f"{path}: another audit wrote it meanwhile; run the command again") from None
    finally:
        written.unlink(missing_ok=True)


def check_receipts(results: ResultsFolder, manifest: Path | None = None) -> Report:
    """Check the chain from the first receipt to the last. manifest: the one that the last receipt must be of."""
    numbers = receipt_numbers(results)
    report = Report("receipt", checked=len(numbers))
    before: Receipt | None = None
    for expected, number in enumerate(numbers, start=1):
        name = receipt_name(number)
        if expected not in numbers:
            report.add(
                name,
                Verdict.DRIFTED,
                Cause.RECORD,
                f"{receipt_name(expected)}: is missing from the chain; bring it back from a copy",
            )
            break
        try:
            receipt = read_receipt(results, number)
        except BrokenChain as error:
            report.add(name, Verdict.DRIFTED, Cause.RECORD, str(error))
            before = None
            continue
        if problem := _link_problem(receipt, number, before):
            report.add(name, Verdict.DRIFTED, Cause.RECORD, f"{name}: {problem}")
        before = receipt
    if before:
        report.facts = {"last": before.sha256, "time": before.time, "root": before.root}
    if manifest is not None:
        _check_newest(report, before, manifest)
    return report


def _link_problem(receipt: Receipt, number: int, before: Receipt | None) -> str | None:
    """What is wrong between a receipt and the one before it; None if nothing is."""
    if receipt.number != number:
        return f"is receipt {receipt.number}: files were exchanged"
    if number == 1:
        return None if receipt.previous is None else "is the first one and names a receipt before it"
    if before is None:
        return None  # the receipt before has a finding of its own
    if receipt.previous != before.sha256:
        return f"follows {str(receipt.previous)[:12]}, but the one before it is {before.sha256[:12]}"
    return "is older than the one before it" if receipt.time < before.time else None


def _check_newest(report: Report, last: Receipt | None, manifest: Path) -> None:
    """Report if the newest receipt is not of the current manifest."""
    if not report.checked:
        report.checked = 1
        report.add(
            RECEIPTS, Verdict.UNVERIFIED, Cause.ABSENT, f"{RECEIPTS}: there is no receipt; make one: fute audit receipt"
        )
        return
    try:
        root = read_manifest(manifest).root
    except ManifestError as error:
        report.checked += 1  # of the receipts none is at fault
        report.add(MANIFEST, Verdict.UNVERIFIED, Cause.ABSENT, str(error))
        return
    if last is not None and (last.root, last.manifest) != (root, sha256_file(manifest)):
        problem = f"{MANIFEST}: changed since the last receipt, of {last.time}; make a new one: fute audit receipt"
        report.checked += 1
        report.add(MANIFEST, Verdict.UNVERIFIED, Cause.RECORD, problem)


@dataclass(frozen=True)
class Audits:
    """A manifest, and the reports of verification and claims on its run."""

    manifest: Manifest
    verified: Report
    claims: ClaimReport

    def as_json(self) -> list[dict[str, Any]]:
        """Both reports as `--json` prints them."""
        return [self.verified.as_json(), self.claims.as_json()]


def run_audits(results: ResultsFolder, manifest: Path, claims: Path) -> Audits:
    """Verify a manifest and check all claims in the current checkout. Raises ManifestError, AuditError."""
    listed = read_manifest(manifest)
    verified = verify_manifest(listed, results)
    checked = check_claims(read_claims(claims).claims, Project(results, listed))
    return Audits(listed, verified, checked)
