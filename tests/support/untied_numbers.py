"""Numbers of a document that no claim covers."""

from __future__ import annotations

import re
from pathlib import Path

from fute.audit.claims.file import Claims
from fute.audit.claims.statements import section_span, statements
from fute.audit.findings import AuditError

NUMBER = re.compile(r"(?<![\w.,/-])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]\d+)?(?!\w|[.,-]\d|-\w)")
NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`|<!--.*?-->|\]\([^)]*\)|^#+ [^\n]*$", re.DOTALL | re.MULTILINE)


def untied(name: str, claims: Claims, folder: Path) -> list[str]:
    """`{name}:{line} {number}` for every number of a document without a claim or a reason for having none.

    Code, headings, comments and link targets are left out. Raises AuditError for a pattern or a section of the claims
    file that the document does not have.
    """
    page = (folder / name).read_text(encoding="utf8")
    covered = [match.span() for match in NOT_PROSE.finditer(page)]
    for claim in claims.claims:
        if claim.said.file == name:
            covered += [each.span for each in statements(claim, folder / name) if each.span]
    for reason in claims.texts[name]:
        for pattern in reason.patterns:
            spans = [match.span() for match in re.finditer(pattern, page, re.MULTILINE)]
            if not spans:
                raise AuditError(f"{name}: {pattern!r} ({reason.why}) matches nothing; remove it")
            covered += spans
        covered += [section_span(name, page, heading) for heading in reason.sections]
    return [
        f"{name}:{len(page[: match.end()].splitlines())} {match[0]}"
        for match in NUMBER.finditer(page)
        if not any(start <= match.start() and match.end() <= end for start, end in covered)
    ]
