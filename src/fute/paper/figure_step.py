"""Draw Figures 3 and A1, or 4 and A2."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from fute.artifacts import Step
from fute.csv_files import read_table
from fute.evaluation.geometry import Projection
from fute.paper.figures import FIGURES, FORMATS, Groups, coloured, draw_figure


class Drawing(BaseModel):
    """One figure file. method, view: the vectors that it shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    figure: Literal["fig3", "figa1", "fig4", "figa2"]
    method: str
    view: str


class FigureSettings(BaseModel):
    """drawings: by file name without ending. note: line for a small run, else empty.

    looks: id, name and colour of each category, in the order of the legend; a colour that is not given is chosen.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    with (
        tempfile.TemporaryDirectory(prefix="fute-") as scratch,
        Step(__name__, settings=settings.model_dump(), inputs=inputs) as step,
    ):
        for name, drawing in settings.drawings.items():
            _draw(drawing, points, statistics, Path(scratch) / name, settings.note, categories)
            for suffix in FORMATS:
                step.bytes(folder / f"{name}{suffix}", (Path(scratch) / f"{name}{suffix}").read_bytes())


def _draw(
    drawing: Drawing, points: pd.DataFrame, statistics: pd.DataFrame, base: Path, note: str, categories: Groups
) -> None:
    selected = points[(points["method"] == drawing.method) & (points["view"] == drawing.view)]
    rows = statistics[(statistics["method"] == drawing.method) & (statistics["view"] == drawing.view)]
    rows = rows[rows["unit"] != "prompt"]
    numbers = {row.statistic: float(row.value) for row in rows.itertuples()}
    shares = {row.statistic: float(row.value) for row in rows.itertuples() if row.unit == "variance"}
    coords = Projection(
        tsne=selected[["tsne_x", "tsne_y"]].to_numpy(),
        pca=selected[["pca_x", "pca_y"]].to_numpy(),
        explained=tuple(shares.values()),  # type: ignore[arg-type]
    )
    groups, models, names = (list(selected[column]) for column in FIGURES[drawing.figure][0].source)
    draw_figure(
        drawing.figure, coords, groups, models, names, base,
        statistics={name: value for name, value in numbers.items() if name not in shares},
        reasons={row.statistic: row.reason for row in rows.itertuples() if row.reason}, note=note,
        categories=categories,
    )  # fmt: skip
