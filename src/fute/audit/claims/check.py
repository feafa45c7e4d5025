"""Checking claims: each printed number is compared with its artifact."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from rich.text import Text

from fute.audit.claims.file import Claim
from fute.audit.claims.sources import Changed, Inconclusive, NotApplicable, Project
from fute.audit.claims.statements import Statement, statements
from fute.audit.findings import DRIFT, INCOMPLETE, OK, STYLES, print_json, stdout_console, styled_line, worst

ALMOST = 1e-8
"""Further share by which numbers may differ: files hold nine digits."""


class Outcome(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"  # this run does not have the artifact
    NOT_APPLICABLE = "NOT APPLICABLE"  # cannot be compared: other models, or no artifact holds such a number

    @property
    def exit_code(self) -> int:
        return {Outcome.FAIL: DRIFT, Outcome.INCONCLUSIVE: INCOMPLETE}.get(self, OK)


@dataclass(frozen=True)
class Answer:
    """The outcome for one number; for a whole claim if this run has none of its numbers."""

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
    """All answers about one run, of two kinds (`KINDS`)."""

    run: str
    root: str
    answers: list[Answer] = field(default_factory=list)

    def counts(self, kind: str) -> dict[str, int]:
        counts = Counter(answer.outcome for answer in self.answers if answer.kind == kind)
        return {str(outcome): counts[outcome] for outcome in Outcome if counts[outcome]}

    @property
    def exit_code(self) -> int:
        return worst(answer.outcome.exit_code for answer in self.answers)

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {
            "command": "claims",
            "run": self.run,
            "exit_code": self.exit_code,
            "counts": {kind: self.counts(kind) for kind in KINDS},
            "answers": [asdict(answer) for answer in self.answers],
            "facts": {"root": self.root},
        }


KINDS = {"reproduction": "our run reproduces itself", "publication": "our run agrees with the publication"}


def check_claims(claims: Iterable[Claim], project: Project) -> ClaimReport:
    """Check every number of every claim. Raises AuditError if a claim matches nothing in its table or text."""
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
    numbers = statements(claim, path)
    if not numbers:
        why = f"{said.file} has no matching row"
        yield Answer(claim.id, claim.kind, said.file or "", Outcome.INCONCLUSIVE, why=why)
    for statement in numbers:
        outcome, value, why = _outcome(claim, statement, project)
        source = claim.shown.file if claim.shown else ""
        yield Answer(claim.id, claim.kind, statement.where, outcome, statement.text, value, why, source)


def _outcome(claim: Claim, statement: Statement, project: Project) -> tuple[Outcome, str, str]:
    if claim.not_comparable is not None:
        return Outcome.NOT_APPLICABLE, "", claim.not_comparable
    if claim.suspects and statement.fields["heading"] in statement.fields[claim.suspects].split("|"):
        return Outcome.NOT_APPLICABLE, "", "cannot be right as printed"
    if claim.runs and project.run not in claim.runs:
        of_the_paper = claim.kind == "publication"
        why = f"is about the run {', '.join(claim.runs)}; these results are of {project.run}"
        return Outcome.NOT_APPLICABLE if of_the_paper else Outcome.INCONCLUSIVE, "", why
    try:
        values = project.find(claim, statement)
    except NotApplicable as error:
        return Outcome.NOT_APPLICABLE, "", str(error)
    except Inconclusive as error:
        return Outcome.INCONCLUSIVE, "", str(error)
    except Changed as error:
        return Outcome.FAIL, "", str(error)
    return (Outcome.PASS if _agree(claim, statement.text, values) else Outcome.FAIL), " to ".join(values), ""


def _agree(claim: Claim, said: str, values: list[str]) -> bool:
    assert claim.shown is not None
    printed, own = _number(said), [_number(value) for value in values]
    if printed is None or None in own:
        return [_no_number(said)] == [_no_number(value) for value in values]
    numbers = [float(value) * claim.shown.scale for value in own if value is not None]
    low, high = min(numbers), max(numbers)
    half_a_digit = 0.5 * 10.0 ** int(printed.as_tuple().exponent)  # the most that rounding changes
    allowed = max(half_a_digit, claim.relative * abs(float(printed)))
    allowed += ALMOST * max(abs(low), abs(high))
    return low - allowed <= float(printed) <= high + allowed


def _no_number(text: str) -> str:
    """Text for comparison: `-` or `–` in a table is an empty cell."""
    return "" if text in ("-", "–") else text


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
    return number if math.isfinite(number) else None


# --- printing -------------------------------------------------------------------------------------------


def print_claims(report: ClaimReport, *, json: bool) -> None:
    """Print a report of claims: every FAIL by itself, other outcomes by claim and reason, and the counts."""
    if json:
        print_json(report.as_json())
        return
    console = stdout_console()
    for (claim, outcome, why), count in not_compared(report.answers).items():
        about = f"{claim}: {count} numbers" if count > 1 else claim
        console.print(styled_line(str(outcome), outcome.exit_code, f"{about}: {why}"))
    for answer in report.answers:
        if answer.outcome is Outcome.FAIL:
            message = f"{answer.claim}: {failure(answer)}"
            console.print(styled_line(str(answer.outcome), answer.outcome.exit_code, message))
    for kind, title in KINDS.items():
        counts = report.counts(kind)
        style = STYLES[worst(Outcome(name).exit_code for name in counts)]
        said = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing to check"
        console.print(Text(f"{title}: {said}", style=style))


def failure(answer: Answer) -> str:
    """Place and value of a wrong number, and the artifact's value."""
    return answer.why or f"{answer.where}: says {answer.said}, {answer.source} has {answer.found}"


def not_compared(answers: list[Answer]) -> Counter[tuple[str, Outcome, str]]:
    """(claim, outcome, why) -> number of answers that are neither PASS nor FAIL, in order."""
    others = (answer for answer in answers if answer.outcome not in (Outcome.PASS, Outcome.FAIL))
    return Counter((answer.claim, answer.outcome, answer.why) for answer in others)
