"""Printing an audit report: for people a line a finding and the counts, for machines one JSON object."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from fute.audit.findings import DRIFT, OK, Finding, Report

STYLE = {OK: "green", DRIFT: "red"}
MOST_LINES = 200


def print_report(report: Report, *, json: bool, console: Console | None = None) -> None:
    """Write a report to standard output; of very many findings the first ones, the rest counted."""
    console = console or Console(soft_wrap=True, highlight=False)
    if json:
        console.out(report.to_json(), highlight=False)
        return
    shown = sorted(report.findings, key=lambda finding: finding.verdict.exit_code != DRIFT)
    for finding in shown[:MOST_LINES]:
        console.print(_line(finding))
    if len(shown) > MOST_LINES:
        console.print(f"and {len(shown) - MOST_LINES} more; --json lists all")
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report.counts().items()) or "nothing to check"
    facts = "".join(f"; {name} {value}" for name, value in report.facts.items())
    console.print(Text(f"{report.command}: {counts}{facts}", style=STYLE.get(report.exit_code, "yellow")))


def _line(finding: Finding) -> Text:
    style = STYLE.get(finding.verdict.exit_code, "yellow")
    return Text.assemble((f"{finding.verdict} ({finding.cause})", style), f"  {finding.message}")
