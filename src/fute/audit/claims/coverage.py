"""Numbers of a document that neither a claim nor a reason speaks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fute.audit.claims.file import Claims, ClaimsError
from fute.audit.claims.statements import NUMBER, section_span, statements

NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`|<!--.*?-->|\]\([^)]*\)|^#+ [^\n]*$", re.DOTALL | re.MULTILINE)


def untied(name: str, claims: Claims, project: Path) -> list[str]:
    """`{name}:{line} {number}` for every number of a text that nothing speaks for.

    Code, headings, comments and link targets are no statements. Raises ClaimsError for a pattern or a section of the
    claims file that is not in the text.
    """
    page = (project / name).read_text(encoding="utf8")
    covered = [match.span() for match in NOT_PROSE.finditer(page)]
    for claim in claims.claims:
        if claim.said.file == name:
            covered += [each.span for each in statements(claim, project / name) if each.span]
    for reason in claims.texts[name]:
        for pattern in reason.patterns:
            found = [match.span() for match in re.finditer(pattern, page, re.MULTILINE)]
            if not found:
                raise ClaimsError(f"{name}: {pattern!r} ({reason.why}) matches nothing; remove it")
            covered += found
        covered += [section_span(page, heading) for heading in reason.sections]
    return list(_left(name, page, covered))


def _left(name: str, page: str, covered: list[tuple[int, int]]) -> Iterator[str]:
    for match in NUMBER.finditer(page):
        if not any(start <= match.start() and match.end() <= end for start, end in covered):
            yield f"{name}:{page.count(chr(10), 0, match.start()) + 1} {match[0]}"
