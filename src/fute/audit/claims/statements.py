"""The numbers that are said, one by one: cells of CSV and Markdown tables, numbers in a text."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from fute.audit.claims.file import Claim, ClaimsError, Said
from fute.audit.paths import RESULTS

NUMBER = re.compile(r"(?<![\w.,/-])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]\d+)?(?!\w|[.,-]\d|-\w)")
_CELL = re.compile(r"(?<!\\)\|")
_ESCAPE = re.compile(r"\\(?=[\\|*_`<>])")


@dataclass(frozen=True)
class Statement:
    """A number, or words, as said: where, the text, the fields that the source's templates take, and the span.

    span: first and last character in a Markdown file; None elsewhere.
    """

    where: str
    text: str
    fields: dict[str, str]
    span: tuple[int, int] | None = None


def statements(claim: Claim, path: Path | None) -> list[Statement]:
    """All numbers of a claim. path: its file; it must be there.

    Raises ClaimsError where nothing is found in a file of the project; results may have no row that is meant.
    """
    said = claim.said
    if said.value is not None:
        return [Statement(f"the paper: {claim.about}", said.value, {})]
    assert path is not None
    found = list(_of_table(said, path) if said.text is None else _of_text(said, path))
    if not found and not (said.file or "").startswith(f"{RESULTS}/"):
        raise ClaimsError(f"claim {claim.id}: nothing in {said.file} matches it; bring one of them in line")
    return found


def section_span(page: str, heading: str | None) -> tuple[int, int]:
    """First and last character of what stands under a heading up to the next one; of a whole page without heading."""
    if heading is None:
        return 0, len(page)
    found = re.search(rf"^#+ {re.escape(heading)}$", page, re.MULTILINE)
    if found is None:
        raise ClaimsError(f"no heading {heading!r}")
    after = re.compile(r"^#+ ", re.MULTILINE).search(page, found.end())
    return found.end(), after.start() if after else len(page)


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
    plain: bool = True  # without a place in a page


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
    """What the key columns of a row fill; None where a pattern does not match."""
    found = {}
    for heading, name in said.keys.items():
        if heading not in row:
            raise ClaimsError(f"{said.file}: the table has no column {heading!r}; it has {', '.join(row)}")
        text = _ESCAPE.sub("", row[heading].text)
        if "(?P<" not in name:
            found[name] = text
        elif match := re.fullmatch(name, text):
            found |= {field: text for field, text in match.groupdict().items() if text is not None}
        else:
            return None
    return found


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, _Cell]]]:
    with path.open(encoding="utf8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            yield number, {heading: _Cell(text) for heading, text in row.items()}


def _markdown_rows(said: Said, path: Path) -> Iterator[tuple[int, dict[str, _Cell]]]:
    """Rows of the first table of a section; an empty first cell repeats the one above, bold is no part of a cell."""
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
    """Cells of a line of a Markdown table, with their places in the page; none for any other line."""
    if not line.startswith("|"):
        return []
    bars = [match.start() for match in _CELL.finditer(line)]
    found = []
    for left, right in pairwise(bars):
        raw = line[left + 1 : right]
        text = raw.strip().removeprefix("**").removesuffix("**")
        found.append(_Cell(text, at + left + 1 + raw.index(text), plain=False))
    return found
