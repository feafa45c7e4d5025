"""A table as people bring it, and the error that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class FrontError(ValueError):
    """What a command was given cannot be used. The message says what, where and what to do, in one line."""


@dataclass(frozen=True)
class Table:
    """Rows of one file, or of one split of a dataset.

    path: of the file; for a split, what names it in messages. columns: all names, in the order of the file. classes: of
    a column whose classes are named in the order of their numbers; its cells are such names. left_out: names of other
    columns, whose cells are neither texts nor numbers nor classes.
    """

    path: Path
    rows: list[dict[str, Any]]
    columns: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
