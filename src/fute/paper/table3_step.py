"""The paper steps: Table 3 and the figures from the evaluation's files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from fute.artifacts import Step
from fute.evaluation.geometry import Projection
from fute.paper.figures import FIGURES, FORMATS, draw_figure
from fute.paper.formats import to_csv, to_latex, to_markdown
from fute.paper.table3 import interval_frame, table3_frame


class TableSettings(BaseModel):
    """title, caption: from resources/captions.yaml. note: the line that a small run carries."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    caption: str
    note: str = ""


class FigureSettings(BaseModel):
    """method, view: whose vectors are drawn. note: the line that a small run carries."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    figure: Literal["fig3", "figa1", "fig4", "figa2"]
    method: str
    view: str
    note: str = ""


def write_table3(settings: TableSettings, *, table3: Path, csv: Path, markdown: Path, latex: Path) -> None:
    """Write Table 3 in the paper's layout as CSV, Markdown (with intervals) and LaTeX."""
    ours = pd.read_csv(table3)
    frame = table3_frame(ours)
    texts = {
        csv: to_csv(frame),
        markdown: to_markdown(
            frame,
            title=settings.title,
            caption=settings.caption,
            more={"95 % intervals": interval_frame(ours)},
            note=settings.note,
        ),
        latex: to_latex(frame, caption=settings.caption, label="tab:prompt-selection", note=settings.note),
    }
    with Step("table3", module=__name__, settings=settings.model_dump(), inputs=[table3]) as step:
        for path, text in texts.items():
            step.bytes(path, text.encode())


def write_figure(settings: FigureSettings, *, coordinates: Path, geometry: Path, base: Path) -> None:
    """Draw one figure; writes `base` + .pdf, .png and .csv."""
    points = pd.read_csv(coordinates, float_precision="round_trip")
    points = points[(points["method"] == settings.method) & (points["view"] == settings.view)]
    found = pd.read_csv(geometry, keep_default_na=False)
    found = found[(found["method"] == settings.method) & (found["view"] == settings.view) & (found["unit"] != "prompt")]
    numbers = {row.statistic: float(row.value) if row.value != "" else float("nan") for row in found.itertuples()}
    shares = {row.statistic: float(row.value) for row in found.itertuples() if row.unit == "variance"}
    statistics = {name: value for name, value in numbers.items() if name not in shares}
    coords = Projection(
        tsne=points[["tsne_x", "tsne_y"]].to_numpy(),
        pca=points[["pca_x", "pca_y"]].to_numpy(),
        explained=tuple(shares.values()),  # type: ignore[arg-type]
    )
    scratch = base.with_name(f".{base.name}.drawing")
    groups, models, names = (list(points[column]) for column in FIGURES[settings.figure][0].source)
    inputs = [coordinates, geometry]
    with Step("figure", module=__name__, settings=settings.model_dump(), inputs=inputs) as step:
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            draw_figure(
                settings.figure, coords, groups, models, names, scratch / base.name,
                statistics=statistics, reasons={r.statistic: r.reason for r in found.itertuples() if r.reason},
                note=settings.note,
            )  # fmt: skip
            for suffix in FORMATS:
                step.bytes(base.with_name(base.name + suffix), (scratch / (base.name + suffix)).read_bytes())
        finally:
            for left in scratch.iterdir():
                left.unlink()
            scratch.rmdir()
