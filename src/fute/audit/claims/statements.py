"""The numbers of a claim one by one, from tables and texts; and numbers of a document that no claim covers."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from fute.audit.claims.file import Claim, Claims, ClaimsError, Said
from fute.audit.paths import RESULTS

NUMBER = re.compile(r"(?<![\w.,/-])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]\d+)?(?!\w|[.,-]\d|-\w)")
_CELL = re.compile(r"(?<!\\)\|")
_ESCAPE = re.compile(r"\\(?=[\\|*_`<>])")


@dataclass(frozen=True)
class Statement:
    """One claimed number, or words, as printed.

    where: place for people. fields: for the templates of the claim's source. span: start and end in a Markdown file;
    None elsewhere.
    """

    where: str
    text: str
    fields: dict[str, str]
    span: tuple[int, int] | None = None


def statements(claim: Claim, path: Path | None) -> list[Statement]:
    """All numbers of a claim. path: its file, which must exist.

    Raises ClaimsError if nothing in a file of the project matches; results may hold no matching row.
    """
    said = claim.said
    if said.value is not None:
        return [Statement(f"the paper: {claim.about}", said.value, {})]
    assert path is not None
    numbers = list(_of_table(said, path) if said.text is None else _of_text(said, path))
    if not numbers and not (said.file or "").startswith(f"{RESULTS}/"):
        raise ClaimsError(f"claim {claim.id}: nothing in {said.file} matches it; change the claim or the file")
    return numbers


def section_span(page: str, heading: str | None) -> tuple[int, int]:
    """Start and end of the text between a heading and the next one; of the whole page without heading."""
    if heading is None:
        return 0, len(page)
    own = re.search(rf"^#+ {re.escape(heading)}$", page, re.MULTILINE)
    if own is None:
        raise ClaimsError(f"there is no heading {heading!r}")
    following = re.compile(r"^#+ ", re.MULTILINE).search(page, own.end())
    return own.end(), following.start() if following else len(page)


def _line(page: str, at: int) -> int:
    return page.count("\n", 0, at) + 1


def _span(said: Said, page: str) -> tuple[int, int]:
    try:
        return section_span(page, said.section)
    except ClaimsError as error:
        raise ClaimsError(f"{said.file}: {error}") from None


def _of_text(said: Said, path: Path) -> Iterator[Statement]:
    page = path.read_text(encoding="utf8")
    start, end = _span(said, page)
    for match in re.compile(said.text or "", re.MULTILINE).finditer(page, start, end):
        groups = {name: text for name, text in match.groupdict().items() if text is not None}
        for name in (name for name in groups if name.startswith("value")):
            where = f"{said.file}:{_line(page, match.start(name))}"
            fields = groups | {"part": name.removeprefix("value_")}
            yield Statement(where, groups[name], fields, match.span(name))


@dataclass(frozen=True)
class _Cell:
    text: str
    start: int = 0
    plain: bool = True  # has no place in a page


def _of_table(said: Said, path: Path) -> Iterator[Statement]:
    rows = list(_csv_rows(path) if path.suffix == ".csv" else _markdown_rows(said, path))
    page = "" if path.suffix == ".csv" else path.read_text(encoding="utf8")
    for number, row in rows:
        fields = _row_fields(said, row)
        if fields is None or any(not re.fullmatch(p, fields.get(name, "")) for name, p in said.where.items()):
            continue
        for heading, cell in row.items():
            named = re.fullmatch(said.columns or "", _ESCAPE.sub("", heading))
            match = re.fullmatch(said.cell, cell.text)
            if named is None or match is None:
                continue
            for part, text in match.groupdict().items():
                if text is None:
                    continue
                keys = " ".join(fields[name] for name in _names(said) if fields.get(name))
                start = cell.start + match.start(part)
                line = number if cell.plain else _line(page, start)
                where = f"{said.file}:{line} {keys}, {heading}"
                span = None if cell.plain else (start, start + len(text))
                yield Statement(where, text, fields | named.groupdict() | {"heading": heading, "part": part}, span)


def _names(said: Said) -> list[str]:
    return [name if "(?P<" not in name else name.split("(?P<")[1].split(">")[0] for name in said.keys.values()]


def _row_fields(said: Said, row: dict[str, _Cell]) -> dict[str, str] | None:
    """Fields that the key columns of a row fill; None if a pattern does not match."""
    fields = {}
    for heading, name in said.keys.items():
        if heading not in row:
            raise ClaimsError(f"{said.file}: the table has no column {heading!r}; it has {', '.join(row)}")
        text = _ESCAPE.sub("", row[heading].text)
        if "(?P<" not in name:
            fields[name] = text
        elif match := re.fullmatch(name, text):
            fields |= {field: text for field, text in match.groupdict().items() if text is not None}
        else:
            return None
    return fields


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, _Cell]]]:
    with path.open(encoding="utf8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            yield number, {heading: _Cell(text) for heading, text in row.items()}


def _markdown_rows(said: Said, path: Path) -> Iterator[tuple[int, dict[str, _Cell]]]:
    """Rows of a section's first table; an empty first cell repeats the one above, marks of bold are left out."""
    page = path.read_text(encoding="utf8")
    start, end = _span(said, page)
    head: list[str] = []
    first, at = "", start
    for number, line in enumerate(page[start:end].splitlines(keepends=True), start=_line(page, start)):
        cells = _cells(line, at)
        at += len(line)
        if not cells:
            if head:
                return
        elif not head:
            head = [cell.text for cell in cells]
        elif not set(line.strip()) <= set("|-: "):
            first = cells[0].text or first
            cells[0] = _Cell(first, cells[0].start, plain=False)
            yield number, dict(zip(head, cells, strict=True))


def _cells(line: str, at: int) -> list[_Cell]:
    """Cells of a line of a Markdown table with their places in the page; none for other lines."""
    if not line.startswith("|"):
        return []
    bars = [match.start() for match in _CELL.finditer(line)]
    cells = []
    for left, right in pairwise(bars):
        raw = line[left + 1 : right]
        text = raw.strip().removeprefix("**").removesuffix("**")
        cells.append(_Cell(text, at + left + 1 + raw.index(text), plain=False))
    return cells


# --- numbers without a claim ----------------------------------------------------------------------------

NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`|<!--.*?-->|\]\([^)]*\)|^#+ [^\n]*$", re.DOTALL | re.MULTILINE)


def untied(name: str, claims: Claims, project: Path) -> list[str]:
    """`{name}:{line} {number}` for every number of a document without a claim or a reason for having none.

    Code, headings, comments and link targets are left out. Raises ClaimsError for a pattern or a section of the claims
    file that the document does not have.
    """
    page = (project / name).read_text(encoding="utf8")
    covered = [match.span() for match in NOT_PROSE.finditer(page)]
    for claim in claims.claims:
        if claim.said.file == name:
            covered += [each.span for each in statements(claim, project / name) if each.span]
    for reason in claims.texts[name]:
        for pattern in reason.patterns:
            spans = [match.span() for match in re.finditer(pattern, page, re.MULTILINE)]
            if not spans:
                raise ClaimsError(f"{name}: {pattern!r} ({reason.why}) matches nothing; remove it")
            covered += spans
        covered += [section_span(page, heading) for heading in reason.sections]
    return [
        f"{name}:{_line(page, match.start())} {match[0]}"
        for match in NUMBER.finditer(page)
        if not any(start <= match.start() and match.end() <= end for start, end in covered)
    ]
