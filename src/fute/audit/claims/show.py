"""Printing answers to claims: every FAIL by itself, all else by claim and reason, and the counts of both kinds."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from fute.audit.claims.check import KINDS, Answer, ClaimReport, Outcome
from fute.audit.findings import DRIFT, OK, worst

STYLE = {OK: "green", DRIFT: "red"}


def print_claims(report: ClaimReport, *, json: bool, console: Console | None = None) -> None:
    """Write a report of claims to standard output."""
    console = console or Console(soft_wrap=True, highlight=False)
    if json:
        console.out(report.to_json(), highlight=False)
        return
    for (claim, outcome, why), count in grouped(report.answers).items():
        if outcome not in (Outcome.PASS, Outcome.FAIL):
            console.print(_line(outcome, f"{claim}: {count} numbers" if count > 1 else claim, why))
    for answer in report.answers:
        if answer.outcome is Outcome.FAIL:
            console.print(_line(answer.outcome, answer.claim, failure(answer)))
    for kind, title in KINDS.items():
        counts = report.counts(kind)
        style = STYLE.get(worst(Outcome(name).exit_code for name in counts), "yellow")
        said = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing to check"
        console.print(Text(f"{title}: {said}", style=style))


def failure(answer: Answer) -> str:
    """What is said, where, and what the artifact has instead."""
    return answer.why or f"{answer.where}: says {answer.said}, {answer.source} has {answer.found}"


def grouped(answers: list[Answer]) -> Counter[tuple[str, Outcome, str]]:
    """(claim, outcome, why) -> number of statements, in order."""
    return Counter((answer.claim, answer.outcome, answer.why) for answer in answers)


def _line(outcome: Outcome, what: str, why: str) -> Text:
    return Text.assemble((str(outcome), STYLE.get(outcome.exit_code, "yellow")), f"  {what}: {why}")
