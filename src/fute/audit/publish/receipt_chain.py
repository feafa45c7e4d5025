"""The chain of receipts: following it from the first to the last, and adding to it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from fute import __version__
from fute.artifacts import atomic, canonical_json, sha256_file
from fute.audit.findings import Cause, Report, Verdict
from fute.audit.manifest import MANIFEST, ManifestError, read_manifest
from fute.audit.paths import ResultsFolder
from fute.audit.publish.receipts import (
    RECEIPTS,
    Audited,
    BrokenChain,
    Receipt,
    ReceiptError,
    read_receipt,
    read_receipts,
    receipt_name,
    receipt_numbers,
)
from fute.code_hash import code_sha256

AUDITOR = "fute.audit.cli"
"""Module whose import closure is what audited."""


def write_receipt(results: ResultsFolder, manifest: Path, audits: Sequence[Audited]) -> tuple[Receipt, Path]:
    """Add a receipt to the chain. Raises BrokenChain, and ReceiptError for a report of other results."""
    root = read_manifest(manifest).root
    for audit in audits:
        if audit.root is not None and audit.root != root:
            raise ReceiptError(f"the report of {audit.command} is of the root {audit.root[:12]}, not {root[:12]}")
    broken = [finding.message for finding in check_receipts(results).findings if finding.verdict is Verdict.DRIFTED]
    if broken:
        raise BrokenChain(f"the chain is broken, so nothing is added to it: {broken[0]}")
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
    path = results.path(receipt_name(receipt.number))
    path.parent.mkdir(parents=True, exist_ok=True)
    body = receipt.model_dump(by_alias=True) | {"sha256": receipt.sha256}
    _write_once(path, canonical_json(body) + "\n")
    return receipt, path


def _write_once(path: Path, text: str) -> None:
    """Write a file that is not there yet: whole, and never over another. Raises ReceiptError."""
    written = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with atomic(written) as temporary:
            temporary.write_text(text, encoding="utf8")
        os.link(written, path)
    except FileExistsError:
        raise ReceiptError(f"{path}: another audit wrote it meanwhile; make the receipt again") from None
    finally:
        written.unlink(missing_ok=True)


def check_receipts(results: ResultsFolder, manifest: Path | None = None) -> Report:
    """Follow the chain from the first receipt to the last; manifest: what the last one must be of."""
    numbers = receipt_numbers(results)
    report = Report("receipt", checked=len(numbers))
    before: Receipt | None = None
    for expected, number in enumerate(numbers, start=1):
        name = receipt_name(number)
        if expected not in numbers:
            report.add(name, Verdict.DRIFTED, Cause.RECORD, f"{receipt_name(expected)}: is missing from the chain")
            break
        try:
            receipt = read_receipt(results, number)
        except BrokenChain as error:
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
