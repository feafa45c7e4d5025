"""What an audit says of an artifact, why, and with which exit code a command ends."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

OK, DRIFT, INCOMPLETE = 0, 1, 2
WORDS = {OK: "good", DRIFT: "drifted", INCOMPLETE: "incomplete"}


class Verdict(StrEnum):
    """One word an artifact, from the best to the worst."""

    IDENTICAL = "identical"  # the same bytes
    EQUIVALENT = "equivalent"  # other bytes that say the same
    WITHIN_TOLERANCE = "within tolerance"  # differs by no more than its kind may
    RECORDED = "recorded"  # has a good record; its bytes were not looked at
    SURPLUS = "surplus"  # nothing that was asked for needs it
    UPSTREAM_REDERIVED = "upstream re-derived"  # an input's record moved, its bytes did not
    NOT_RERUNNABLE = "not rerunnable here"  # needs hardware, an image or files that are not there
    UNVERIFIED = "unverified"  # nothing to hold it against: it has no record
    MISSING = "missing"
    DRIFTED = "drifted"
    REFUSED = "refused"  # its name or a link leads outside the results

    @property
    def exit_code(self) -> int:
        """0 good, 1 drift, 2 incomplete."""
        if self in (Verdict.DRIFTED, Verdict.REFUSED):
            return DRIFT
        return INCOMPLETE if self in (Verdict.NOT_RERUNNABLE, Verdict.UNVERIFIED, Verdict.MISSING) else OK


class Cause(StrEnum):
    """Why an artifact is not what it should be, or not what another run made."""

    CONTENT = "content"  # its bytes are not those of its record
    RECORD = "record"  # its sidecar was edited, damaged, exchanged
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
    """`text` on one line, for people and for JSON: `?` for what no terminal should get, and for bytes of no encoding.

    A stranger's file names, records and manifests are printed; control characters in them could forge lines.
    """
    return "".join(character if character.isprintable() else "?" for character in text.replace("\n", " "))


def cause_of(reason: str) -> Cause:
    """The cause that a reason `cause: words` starts with. Raises ValueError."""
    return Cause(reason.partition(":")[0])


@dataclass(frozen=True)
class Finding:
    """One thing found about one artifact; `message` names the file and says what to do."""

    artifact: str
    verdict: Verdict
    cause: Cause
    message: str


@dataclass
class Report:
    """Findings of one audit command over `checked` artifacts; whatever has no finding has the verdict `passed`.

    facts: further numbers of the command (bytes, seconds, root hash ...), JSON values.
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
        found: dict[str, Verdict] = {}
        for finding in self.findings:
            known = found.get(finding.artifact, Verdict.IDENTICAL)
            found[finding.artifact] = max(known, finding.verdict, key=order.index)
        return found

    def counts(self) -> dict[str, int]:
        """Verdict -> number of artifacts, all `checked` ones among them."""
        found = Counter(self.verdicts().values())
        found[self.passed] += max(self.checked - found.total(), 0)
        return {str(verdict): found[verdict] for verdict in Verdict if found[verdict]}

    @property
    def exit_code(self) -> int:
        return exit_code(finding.verdict for finding in self.findings)

    def to_json(self) -> str:
        """The report for machines: one JSON object."""
        value: Mapping[str, Any] = {
            "command": self.command,
            "exit_code": self.exit_code,
            "checked": self.checked,
            "counts": self.counts(),
            "findings": [asdict(finding) for finding in self.findings],
            "facts": self.facts,
        }
        return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """0 where all is well, 1 where anything drifted, else 2 where anything is incomplete."""
    return worst(verdict.exit_code for verdict in verdicts)


def worst(codes: Iterable[int]) -> int:
    """The exit code of several: drift before incomplete before good."""
    found = set(codes)
    return DRIFT if DRIFT in found else INCOMPLETE if INCOMPLETE in found else OK
