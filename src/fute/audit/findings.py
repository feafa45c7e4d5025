"""Findings of an audit: verdict, cause, message, exit code, and how a report of them is printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from json import dumps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

OK, DRIFT, INCOMPLETE = 0, 1, 2
WORDS = {OK: "good", DRIFT: "drifted", INCOMPLETE: "incomplete"}
STYLES = {OK: "green", DRIFT: "red", INCOMPLETE: "yellow"}
MOST_FINDINGS = 200
"""Findings that people are shown; `--json` prints all."""


class AuditError(RuntimeError):
    """An audit that cannot be done, so that nothing was checked; says why, and what to do."""

    exit_code = INCOMPLETE


class Verdict(StrEnum):
    """What an audit concludes about one artifact, from the best to the worst."""

    IDENTICAL = "identical"  # the same bytes
    EQUIVALENT = "equivalent"  # other bytes with the same content
    WITHIN_TOLERANCE = "within tolerance"  # differs by no more than its kind may
    RECORDED = "recorded"  # has a good record; its bytes were not read
    SURPLUS = "surplus"  # no target needs it
    UPSTREAM_REDERIVED = "upstream re-derived"  # an input has a new record and the same bytes
    NOT_RERUNNABLE = "not rerunnable here"  # needs hardware, an image or files that are not on this machine
    UNVERIFIED = "unverified"  # has no record to compare it with
    MISSING = "missing"
    DRIFTED = "drifted"
    REFUSED = "refused"  # its name or a link leads outside the results

    @property
    def exit_code(self) -> int:
        """0 good, 1 drifted, 2 incomplete."""
        if self in (Verdict.DRIFTED, Verdict.REFUSED):
            return DRIFT
        return INCOMPLETE if self in (Verdict.NOT_RERUNNABLE, Verdict.UNVERIFIED, Verdict.MISSING) else OK


class Cause(StrEnum):
    """Why an artifact is not what it should be, or differs from that of another run."""

    CONTENT = "content"  # its bytes are not those of its record
    RECORD = "record"  # its sidecar was edited, damaged or exchanged
    PARAMS = "params"
    SEEDS = "seeds"
    CODE = "code"
    IMAGE = "image"
    MODEL = "model revision"
    DATA = "data"
    CONFIG = "config"
    UPSTREAM = "upstream"
    HARDWARE = "hardware"
    SOFTWARE = "software"
    NONDETERMINISM = "nondeterminism"
    PATH = "path"
    ABSENT = "absent"


def printable(text: str) -> str:
    """`text` on one line; `?` replaces control characters and bytes that are no text.

    File names, records and manifests may come from a stranger: control characters in them could forge lines.
    """
    return "".join(character if character.isprintable() else "?" for character in text.replace("\n", " "))


def cause_of(reason: str) -> Cause:
    """The cause with which a reason `cause: words` starts. Raises ValueError."""
    return Cause(reason.partition(":")[0])


@dataclass(frozen=True)
class Finding:
    """One finding about one artifact; `message` names the file and says what to do."""

    artifact: str
    verdict: Verdict
    cause: Cause
    message: str


@dataclass
class Report:
    """Findings of one command over `checked` artifacts; an artifact without a finding has the verdict `passed`.

    facts: further results of the command (bytes, seconds, root hash ...), as JSON values.
    """

    command: str
    checked: int = 0
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    passed: Verdict = Verdict.IDENTICAL

    def add(self, artifact: str, verdict: Verdict, cause: Cause, message: str) -> None:
        self.findings.append(Finding(printable(artifact), verdict, cause, printable(message)))

    def verdicts(self) -> dict[str, Verdict]:
        """Artifact -> the worst verdict among its findings."""
        order = list(Verdict)
        worst_of: dict[str, Verdict] = {}
        for finding in self.findings:
            before = worst_of.get(finding.artifact, Verdict.IDENTICAL)
            worst_of[finding.artifact] = max(before, finding.verdict, key=order.index)
        return worst_of

    def counts(self) -> dict[str, int]:
        """Verdict -> number of artifacts; they add up to `checked`."""
        counts = Counter(self.verdicts().values())
        counts[self.passed] += max(self.checked - counts.total(), 0)
        return {str(verdict): counts[verdict] for verdict in Verdict if counts[verdict]}

    @property
    def exit_code(self) -> int:
        return worst(finding.verdict.exit_code for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {
            "command": self.command,
            "exit_code": self.exit_code,
            "checked": self.checked,
            "counts": self.counts(),
            "findings": [asdict(finding) for finding in self.findings],
            "facts": self.facts,
        }


def worst(codes: Iterable[int]) -> int:
    """The worst of several exit codes: drift, then incomplete, then good."""
    given = set(codes)
    return DRIFT if DRIFT in given else INCOMPLETE if INCOMPLETE in given else OK


def stdout_console() -> Console:
    """Standard output without line breaks or colours of its own."""
    from rich.console import Console  # loaded only by commands that print

    return Console(soft_wrap=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON object, for machines."""
    text = dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    stdout_console().out(text, highlight=False)


def styled_line(outcome: str, code: int, message: str) -> Text:
    """A line that starts with an outcome in the colour of its exit code."""
    from rich.text import Text

    return Text.assemble((outcome, STYLES[code]), f"  {message}")


def print_report(report: Report, *, json: bool) -> None:
    """Print a report: for people the first findings, drift before others, and the counts; for machines its JSON."""
    from rich.text import Text

    if json:
        print_json(report.as_json())
        return
    console = stdout_console()
    drift_first = sorted(report.findings, key=lambda finding: finding.verdict.exit_code != DRIFT)
    for finding in drift_first[:MOST_FINDINGS]:
        outcome = f"{finding.verdict} ({finding.cause})"
        console.print(styled_line(outcome, finding.verdict.exit_code, finding.message))
    if len(drift_first) > MOST_FINDINGS:
        console.print(f"and {len(drift_first) - MOST_FINDINGS} more; --json lists all")
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report.counts().items()) or "nothing to check"
    facts = "".join(f"; {name} {_shown(value)}" for name, value in report.facts.items() if value != [])
    console.print(Text(f"{report.command}: {counts}{facts}", style=STYLES[report.exit_code]))


def _shown(fact: Any) -> str:
    return ", ".join(map(str, fact)) if isinstance(fact, list) else str(fact)
