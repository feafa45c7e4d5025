"""Rows and tables of the audit page, as the report's template prints them."""

from __future__ import annotations

from collections.abc import Iterable

from fute.paper.grids import Cell, Grid, Group, Head, Row


def table(caption: str, heads: list[str], groups: Iterable[Group], words: int = 1) -> Grid:
    """A table; the first `words` columns hold words, the others numbers."""
    line = [Head(text, left=index < words) for index, text in enumerate(heads)]
    return Grid(caption, [line], list(groups))


def row(name: str, *cells: str, left: int = 0) -> Row:
    """A row of which the first `left` cells hold words."""
    return Row(name, [Cell(text, left=index < left) for index, text in enumerate(cells)])
