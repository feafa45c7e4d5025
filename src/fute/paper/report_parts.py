"""Parts of the report: sections and figures; their layout is in `html_template`."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from fute.display_names import METHOD_NAMES
from fute.paper.grids import Grid


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the page, with the text for readers who cannot see it. base: its file without `.png`."""

    base: str
    title: str
    caption: str

    @property
    def source(self) -> str:
        """The image as a data URI."""
        return "data:image/png;base64," + base64.b64encode(Path(f"{self.base}.png").read_bytes()).decode("ascii")


@dataclass(frozen=True)
class Section:
    """A part of the page; empty fields are not printed. paths: True if the names in `pairs` are paths."""

    anchor: str
    title: str
    texts: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    tables: list[Grid] = field(default_factory=list)
    figures: Sequence[ReportFigure] = ()
    paths: bool = False


def named(frame: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Replace ids of categories (by their titles) and of methods by the names to print."""
    named = {"category": titles, "method": METHOD_NAMES}
    return frame.assign(**{column: frame[column].replace(named[column]) for column in named if column in frame})
