"""Checking claims: what is said against what the artifacts show."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from fute.audit.claims.file import Claim
from fute.audit.claims.sources import Changed, Inconclusive, NotApplicable, Project
from fute.audit.claims.statements import Statement, statements
from fute.audit.findings import DRIFT, INCOMPLETE, OK, worst

ALMOST = 1e-8
"""Share of a number by which it may differ besides: files hold nine digits."""


class Outcome(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"  # the artifact is not in this run
    NOT_APPLICABLE = "NOT APPLICABLE"  # cannot be compared: other models, or no artifact holds such a number

    @property
    def exit_code(self) -> int:
        return {Outcome.FAIL: DRIFT, Outcome.INCONCLUSIVE: INCOMPLETE}.get(self, OK)


@dataclass(frozen=True)
class Answer:
    """One statement, or (statement None) a whole claim whose numbers are not in this run."""

    claim: str
    kind: str
    where: str
    outcome: Outcome
    said: str = ""
    found: str = ""
    why: str = ""
    source: str = ""


@dataclass
class ClaimReport:
    """All answers, by what they say of: our run of itself, our run and the publication."""

    run: str
    root: str
    answers: list[Answer] = field(default_factory=list)

    def counts(self, kind: str) -> dict[str, int]:
        found = Counter(answer.outcome for answer in self.answers if answer.kind == kind)
        return {str(outcome): found[outcome] for outcome in Outcome if found[outcome]}

    @property
    def exit_code(self) -> int:
        return worst(answer.outcome.exit_code for answer in self.answers)

    def to_json(self) -> str:
        value = {
            "command": "claims",
            "run": self.run,
            "exit_code": self.exit_code,
            "counts": {kind: self.counts(kind) for kind in KINDS},
            "answers": [asdict(answer) for answer in self.answers],
            "facts": {"root": self.root},
        }
        return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)


KINDS = {"reproduction": "our run reproduces itself", "publication": "our run agrees with the publication"}


def check_claims(claims: Iterable[Claim], project: Project) -> ClaimReport:
    """Answer every statement of every claim. Raises ClaimsError where a claim fits nothing in its table or text."""
    report = ClaimReport(project.run, project.manifest.root)
    for claim in claims:
        report.answers += _answers(claim, project)
    return report


def _answers(claim: Claim, project: Project) -> Iterator[Answer]:
    said = claim.said
    try:
        path = None if said.file is None else project.path(said.file)
    except (Inconclusive, Changed) as error:
        outcome = Outcome.FAIL if isinstance(error, Changed) else Outcome.INCONCLUSIVE
        yield Answer(claim.id, claim.kind, said.file or "", outcome, why=str(error))
        return
    said_here = statements(claim, path)
    if not said_here:
        why = f"{said.file} has no row that is meant"
        yield Answer(claim.id, claim.kind, said.file or "", Outcome.INCONCLUSIVE, why=why)
    for statement in said_here:
        outcome, found, why = _outcome(claim, statement, project)
        source = claim.shown.file if claim.shown else ""
        yield Answer(claim.id, claim.kind, statement.where, outcome, statement.text, found, why, source)


def _outcome(claim: Claim, statement: Statement, project: Project) -> tuple[Outcome, str, str]:
    if claim.not_comparable is not None:
        return Outcome.NOT_APPLICABLE, "", claim.not_comparable
    if claim.suspects and statement.fields["heading"] in statement.fields[claim.suspects].split("|"):
        return Outcome.NOT_APPLICABLE, "", "cannot be right as printed"
    if claim.runs and project.run not in claim.runs:
        of_the_paper = claim.kind == "publication"
        why = f"is of the run {', '.join(claim.runs)}; these results are of {project.run}"
        return Outcome.NOT_APPLICABLE if of_the_paper else Outcome.INCONCLUSIVE, "", why
    try:
        found = project.find(claim, statement)
    except NotApplicable as error:
        return Outcome.NOT_APPLICABLE, "", str(error)
    except Inconclusive as error:
        return Outcome.INCONCLUSIVE, "", str(error)
    except Changed as error:
        return Outcome.FAIL, "", str(error)
    return (Outcome.PASS if _agree(claim, statement.text, found) else Outcome.FAIL), " to ".join(found), ""


def _agree(claim: Claim, said: str, found: list[str]) -> bool:
    assert claim.shown is not None
    printed, values = _number(said), [_number(value) for value in found]
    if printed is None or None in values:
        return [_no_number(said)] == [_no_number(value) for value in found]
    numbers = [float(value) * claim.shown.scale for value in values if value is not None]
    low, high = min(numbers), max(numbers)
    allowed = max(_half_a_digit(printed), claim.tolerance, claim.relative * abs(float(printed)))
    allowed += ALMOST * max(abs(low), abs(high))
    return low - allowed <= float(printed) <= high + allowed


def _no_number(text: str) -> str:
    """Text as it is compared; a table's `-` or `–` is an empty cell."""
    return "" if text in ("-", "–") else text


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
    return number if math.isfinite(number) else None


def _half_a_digit(printed: Decimal) -> float:
    """Half a unit of the last printed digit: what rounding may change."""
    return 0.5 * 10.0 ** int(printed.as_tuple().exponent)
