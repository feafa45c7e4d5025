"""Draw Figures 3 and A1, or 4 and A2."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from fute.artifacts import Step
from fute.config.sections import Section
from fute.csv_files import read_table
from fute.paper.figures import Groups, coloured, draw_figure


class Drawing(Section):
    """One figure file. method, view: the vectors that it shows."""

    figure: Literal["fig3", "figa1", "fig4", "figa2"]
    method: str
    view: str


class FigureSettings(Section):
    """drawings: by file name without ending. note: line for a small run, else empty.

    looks: id, name and colour of each category, in the order of the legend; a colour that is not given is chosen.
    """

    drawings: dict[str, Drawing]
    note: str = ""
    looks: tuple[tuple[str, str, str | None], ...] = ()


def figure(settings: FigureSettings, *, coordinates: Path, geometry: Path, folder: Path) -> None:
    """Draw the figures of an experiment; write `folder/name` + .pdf, .png and .csv for each.

    One process draws all of them, since its start takes longer than the drawing.
    """
    inputs = [coordinates, geometry]
    categories = coloured({name: (title, colour) for name, title, colour in settings.looks})
    points = read_table(coordinates)
    statistics = read_table(geometry)
    with Step(__name__, settings=settings.model_dump(), inputs=inputs) as step:
        for name, drawing in settings.drawings.items():
            for suffix, content in _draw(drawing, points, statistics, settings.note, categories).items():
                step.bytes(folder / f"{name}{suffix}", content)


def _draw(
    drawing: Drawing, points: pd.DataFrame, statistics: pd.DataFrame, note: str, categories: Groups
) -> dict[str, bytes]:
    """The files of a figure by suffix. points, statistics: coordinates.csv and geometry.csv, or those of `lm_`."""
    selected = points[(points["method"] == drawing.method) & (points["view"] == drawing.view)]
    rows = statistics[(statistics["method"] == drawing.method) & (statistics["view"] == drawing.view)]
    printed = rows[~rows["unit"].isin(["variance", "prompt"])]
    return draw_figure(
        drawing.figure, selected, rows.loc[rows["unit"] == "variance", "value"],
        statistics=dict(zip(printed["statistic"], printed["value"].astype(float), strict=True)),
        reasons=dict(zip(printed["statistic"], printed["reason"], strict=True)), note=note, categories=categories,
    )  # fmt: skip
