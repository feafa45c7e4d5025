"""Receipts: a dated record of every audit, each chained to the one before it and to the manifest that was audited.

`results/audit/receipts/0001.json`, `0002.json` ...: an edited, exchanged or missing receipt breaks the chain. What
the chain cannot show is that its newest receipts were taken away: publish the hash of the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fute.artifacts import content_key
from fute.audit.findings import DRIFT, INCOMPLETE
from fute.audit.paths import AUDIT, ResultsFolder
from fute.audit.sidecars import Sha256, strict_json

RECEIPTS = f"{AUDIT}/receipts"


class ReceiptError(ValueError):
    """A report that cannot be taken into a receipt, or a receipt that cannot be written."""

    exit_code = INCOMPLETE


class BrokenChain(ReceiptError):
    """A receipt that is damaged, edited, exchanged or gone: the chain says nothing any more."""

    exit_code = DRIFT


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
        said = {name: report[name] for name in ("command", "exit_code", "counts")} | {"root": root}
        content_key(said)  # refuses what no receipt can hold
        return Audited.model_validate(said)
    except (KeyError, AttributeError, ValueError):
        raise ReceiptError("is no report of fute audit; make it with --json") from None


def read_report(path: Path) -> Audited:
    """What a report in a file says. Raises ReceiptError."""
    try:
        return audited(strict_json(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise ReceiptError(f"{path}: {error}") from None


def receipt_name(number: int) -> str:
    return f"{RECEIPTS}/{number:04}.json"


def receipt_numbers(results: ResultsFolder) -> list[int]:
    """Numbers of the receipts that are there, sorted. Raises BrokenChain for a file that is none."""
    found = []
    for path in sorted(results.path(RECEIPTS).glob("*.json")):
        if not path.stem.isdecimal() or path.name != Path(receipt_name(int(path.stem))).name:
            raise BrokenChain(f"{RECEIPTS}/{path.name}: is no name of a receipt; remove it")
        found.append(int(path.stem))
    return sorted(found)


def read_receipt(results: ResultsFolder, number: int) -> Receipt:
    """One receipt, its own hash checked. Raises BrokenChain."""
    name = receipt_name(number)
    try:
        body = strict_json(results.path(name).read_bytes())
        digest = body.pop("sha256")
        receipt = Receipt.model_validate(body)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise BrokenChain(f"{name}: is damaged, no receipt any more") from None
    if content_key(body) != digest:
        raise BrokenChain(f"{name}: was edited: its sha256 is not that of what it says")
    return receipt


def read_receipts(results: ResultsFolder) -> list[Receipt]:
    """All receipts, the first one first. Raises BrokenChain."""
    return [read_receipt(results, number) for number in receipt_numbers(results)]
