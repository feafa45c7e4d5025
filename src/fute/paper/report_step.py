"""The report step: one HTML page from everything a run made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict

from fute.artifacts import Step
from fute.paper.report import ReportContext, ReportFigure, render_report
from fute.paper.tables import read_printed


class FigureText(BaseModel):
    """What the report says of one figure file (without its ending)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    title: str
    caption: str


class ReportSettings(BaseModel):
    """Texts of the report and what was run, name -> value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    lede: str
    note: str
    settings: dict[str, str]
    table3_caption: str
    figures: tuple[FigureText, ...]
    files: dict[str, str]


def timings(folder: Path) -> pd.DataFrame:
    """Jobs and seconds by rule, from Snakemake's benchmark files `{rule}/*.tsv`."""
    rows = []
    for rule in sorted(path for path in folder.glob("*") if path.is_dir()):
        seconds = [float(pd.read_csv(path, sep="\t")["s"].sum()) for path in sorted(rule.rglob("*.tsv"))]
        rows.append({"rule": rule.name, "jobs": len(seconds), "seconds": sum(seconds)})
    return pd.DataFrame(rows, columns=["rule", "jobs", "seconds"])


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


def write_report(
    settings: ReportSettings,
    *,
    evaluation: Path,
    printed: Path,
    benchmarks: Path,
    inputs: Sequence[Path],
    output: Path,
) -> None:
    """Write the report. evaluation: folder of the evaluation's CSV files. benchmarks: folder of the step times."""
    context = ReportContext(
        title=settings.title,
        lede=settings.lede,
        settings=settings.settings,
        table3=_read(evaluation / "table3.csv"),
        table3_caption=settings.table3_caption,
        printed=read_printed(printed),
        selection=_read(evaluation / "selection.csv"),
        performance=_read(evaluation / "performance.csv"),
        similarities=_read(evaluation / "similarities.csv"),
        controls=_read(evaluation / "controls.csv"),
        figures=[
            ReportFigure(png=Path(f.base + ".png"), title=f.title, caption=f.caption, alt=f"{f.title}. {f.caption}")
            for f in settings.figures
        ],
        timings=timings(benchmarks),
        files=settings.files,
        note=settings.note,
    )
    with Step("report", module=__name__, settings=settings.model_dump(), inputs=[*inputs, printed]) as step:
        step.bytes(output, render_report(context).encode())
