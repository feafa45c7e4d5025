"""The numbers of a claim one by one, from tables and texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from fute.audit.claims.file import Claim, Said
from fute.audit.findings import AuditError
from fute.audit.paths import RESULTS
from fute.csv_files import read_rows

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

    Raises AuditError if nothing in a file of the project matches; results may hold no matching row.
    """
    said = claim.said
    if said.value is not None:
        return [Statement(f"the paper: {claim.about}", said.value, {})]
    assert path is not None
    numbers = list(_of_table(said, path) if said.text is None else _of_text(said, path))
    if not numbers and not (said.file or "").startswith(f"{RESULTS}/"):
        raise AuditError(f"claim {claim.id}: nothing in {said.file} matches it; change the claim or the file")
    return numbers


def section_span(file: str | None, page: str, heading: str | None) -> tuple[int, int]:
    """Start and end of the text between a heading and the next one; of the whole page without heading.

    file: name of the page, for errors. Raises AuditError if it has no such heading.
    """
    if heading is None:
        return 0, len(page)
    own = re.search(rf"^#+ {re.escape(heading)}$", page, re.MULTILINE)
    if own is None:
        raise AuditError(f"{file}: there is no heading {heading!r}")
    following = re.compile(r"^#+ ", re.MULTILINE).search(page, own.end())
    return own.end(), following.start() if following else len(page)


def _line(page: str, at: int) -> int:
    return page.count("\n", 0, at) + 1


def _of_text(said: Said, path: Path) -> Iterator[Statement]:
    page = path.read_text(encoding="utf8")
    start, end = section_span(said.file, page, said.section)
    for match in re.compile(said.text or "", re.MULTILINE).finditer(page, start, end):
        groups = {name: text for name, text in match.groupdict().items() if text is not None}
        for name in (name for name in groups if name.startswith("value")):
            where = f"{said.file}:{_line(page, match.start(name))}"
            fields = groups | {"part": name.removeprefix("value_")}
            yield Statement(where, groups[name], fields, match.span(name))


@dataclass(frozen=True)
class _Cell:
    """start: place of the text in a Markdown file; None elsewhere."""

    text: str
    start: int | None = None


def _of_table(said: Said, path: Path) -> Iterator[Statement]:
    for line, row in _csv_rows(path) if path.suffix == ".csv" else _markdown_rows(said, path):
        fields = _row_fields(said, row)
        if fields is None or any(not re.fullmatch(p, fields.get(name, "")) for name, p in said.where.items()):
            continue
        keys = " ".join(fields[name] for name in _names(said) if fields.get(name))
        for heading, cell in row.items():
            named = re.fullmatch(said.columns or "", _ESCAPE.sub("", heading))
            match = re.fullmatch(said.cell, cell.text)
            if named is None or match is None:
                continue
            for part, text in match.groupdict().items():
                if text is None:
                    continue
                span = None if cell.start is None else (cell.start + match.start(part), cell.start + match.end(part))
                filled = fields | named.groupdict() | {"heading": heading, "part": part}
                yield Statement(f"{said.file}:{line} {keys}, {heading}", text, filled, span)


def _names(said: Said) -> list[str]:
    """Fields that the key columns fill; of a pattern with several groups the first."""
    return [name if "(?P<" not in name else name.split("(?P<")[1].split(">")[0] for name in said.keys.values()]


def _row_fields(said: Said, row: dict[str, _Cell]) -> dict[str, str] | None:
    """Fields that the key columns of a row fill; None if a pattern does not match."""
    fields = {}
    for heading, name in said.keys.items():
        if heading not in row:
            raise AuditError(f"{said.file}: the table has no column {heading!r}; it has {', '.join(row)}")
        text = _ESCAPE.sub("", row[heading].text)
        if "(?P<" not in name:
            fields[name] = text
        elif match := re.fullmatch(name, text):
            fields |= {field: text for field, text in match.groupdict().items() if text is not None}
        else:
            return None
    return fields


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, _Cell]]]:
    """Line and cells (by heading) of every row. Raises TableError."""
    for number, row in read_rows(path):
        yield number, {heading: _Cell(text) for heading, text in row.items()}


def _markdown_rows(said: Said, path: Path) -> Iterator[tuple[int, dict[str, _Cell]]]:
    """As `_csv_rows` for a section's first table; an empty first cell repeats the one above, bold is left out."""
    page = path.read_text(encoding="utf8")
    start, end = section_span(said.file, page, said.section)
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
            cells[0] = _Cell(first, cells[0].start)
            if len(cells) != len(head):
                problem = f"{len(cells)} cells under {len(head)} headings; correct it, or make the file again"
                raise AuditError(f"{said.file}:{number}: the row has {problem}")
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
        cells.append(_Cell(text, at + left + 1 + raw.index(text)))
    return cells
