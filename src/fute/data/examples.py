"""Types that readers of raw rows share: the raw row with checked access to its fields, and the reader's results."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from fute.config.datasets import DatasetSettings
from fute.data.rows import Answer, BadRow

CORRECT = "correct the row or the registry entry"


class Example(NamedTuple):
    """One text with the dataset's label or answers.

    label    the raw label of a class, or the raw number of a regression; None for extractive QA
    answers  extractive QA: gold answers in the second segment, empty for an unanswerable question
    """

    segments: tuple[str, ...]
    label: Any = None
    answers: tuple[Answer, ...] | None = None


class Skipped(NamedTuple):
    """A question that cannot be used for extractive QA, with the reason."""

    reason: str


class Raw(NamedTuple):
    """A raw row as readers get it. where: file and row, for errors; draw: random numbers for this row alone."""

    values: Mapping[str, Any]
    where: str
    entry: DatasetSettings
    draw: random.Random

    def get(self, field: str, kind: type | tuple[type, ...] = object) -> Any:
        """Value of a field of the given type. Raises BadRow if it is missing or has another type."""
        if field not in self.values:
            present = ", ".join(self.values)
            raise BadRow(self.where, field, f"is missing (there are: {present})", self.entry.obtain or CORRECT)
        value = self.values[field]
        if not isinstance(value, kind):
            wanted = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise BadRow(self.where, field, f"is of type {type(value).__name__}, not {wanted}", CORRECT)
        return value

    def text(self, field: str) -> str:
        """Text of a field, unchanged. Raises BadRow if it is missing, empty or not a text."""
        value = self.get(field)
        if not isinstance(value, str):
            raise BadRow(self.where, field, f"is of type {type(value).__name__}, not a text", "correct the row")
        if not value.strip():
            raise BadRow(self.where, field, "is empty", "fill in or remove the row")
        return value


ReaderFunction = Callable[[Raw], Iterator[Example | Skipped]]
