"""Write the report: one HTML page with everything that a run produced."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from fute.artifacts import Step
from fute.config.sections import Section
from fute.csv_files import benchmark_seconds, read_table, read_texts
from fute.paper.efficiency import as_pages
from fute.paper.report import ReportContext, render_report
from fute.paper.report_llm import LlmResults
from fute.paper.report_lm import LmResults, TransferTable
from fute.paper.report_parts import ReportFigure
from fute.paper.transfer_tables import LAYOUTS, read_printed


class LmTexts(Section):
    """tables: title and caption by name, for Table 1, and for Table 2 if the run makes it. planted: figure of the
    planted tests, None for a run without them."""

    tables: dict[Literal["table1", "table2"], dict[Literal["title", "caption"], str]]
    figures: tuple[ReportFigure, ...]
    planted: ReportFigure | None = None


class LlmTexts(Section):
    """categories: id and name of each, in the order of tables. colours: of each, None for the next that is free.
    prompts: id -> template."""

    table3_caption: str
    categories: tuple[tuple[str, str], ...]
    colours: dict[str, str | None]
    prompts: dict[str, str]
    figures: tuple[ReportFigure, ...]


class ReportSettings(Section):
    """Texts of the report. settings: of the run, name -> value. lm, llm: texts of the run's experiments."""

    title: str
    lede: str
    note: str
    settings: dict[str, str]
    lm: LmTexts | None
    llm: LlmTexts | None
    files: dict[str, str]


def timings(folder: Path) -> pd.DataFrame:
    """Jobs and seconds of the rules that were measured, from Snakemake's benchmark files `{rule}/*.tsv`."""
    rows = []
    for rule in sorted(path for path in folder.glob("*") if path.is_dir()):
        seconds = [s for path in sorted(rule.rglob("*.tsv")) if not math.isnan(s := benchmark_seconds(path))]
        if seconds:  # Snakemake makes the folder before a job, and the file after it
            rows.append({"rule": rule.name, "jobs": len(seconds), "seconds": sum(seconds)})
    return pd.DataFrame(rows, columns=["rule", "jobs", "seconds"])


def costs(experiment: str, evaluation: Path) -> dict[str, pd.DataFrame]:
    """Tables of what the embeddings of an experiment, `lm` or `llm`, cost."""
    names = ("embeddings", "calls", "costs")
    return as_pages(*(read_table(evaluation / f"efficiency-{experiment}-{name}.csv") for name in names))


def lm_results(texts: LmTexts, evaluation: Path, printed: Path) -> LmResults:
    """Read the files of the language-model experiment from the folders of the evaluation and of the printed tables."""
    transfer_results = []
    for name, text in texts.tables.items():
        cells = read_table(evaluation / f"{name}.csv")
        layout = LAYOUTS[name].of(cells)
        paper = read_printed(printed / f"{name}.csv", layout)
        transfer_results.append(
            TransferTable(layout=layout, title=text["title"], caption=text["caption"], cells=cells, printed=paper)
        )
    return LmResults(
        tables=transfer_results,
        targets=read_table(evaluation / "lm_targets.csv"),
        direct=read_table(evaluation / "lm_direct.csv"),
        similarities=read_table(evaluation / "lm_similarities.csv"),
        costs=costs("lm", evaluation),
        figures=texts.figures,
        planted=read_table(evaluation / "planted.csv") if texts.planted else None,
        planted_figures=[texts.planted] if texts.planted else [],
        coordinates=read_table(evaluation / "lm_coordinates.csv"),
    )


def llm_results(texts: LlmTexts, evaluation: Path, printed: Path) -> LlmResults:
    """Read the files of the LLM experiment from the same folders."""
    names = ("table3", "selection", "performance", "similarities", "controls", "coordinates")
    return LlmResults(
        **{name: read_table(evaluation / f"{name}.csv") for name in names},
        costs=costs("llm", evaluation),
        table3_caption=texts.table3_caption,
        printed=read_texts(printed / "table3.csv"),
        figures=texts.figures,
        titles=dict(texts.categories),
        colours=texts.colours,
        prompts=texts.prompts,
    )


def report(
    settings: ReportSettings,
    *,
    evaluation: Path,
    printed: Path,
    benchmarks: Path,
    counts: Sequence[Path],
    inputs: Sequence[Path],
    output: Path,
    unsup: Sequence[Path] = (),
) -> None:
    """Write the report.

    evaluation: folder of the evaluation's CSV files. printed: folder of the paper's tables as printed. benchmarks:
    folder of the times of jobs. counts: `{dataset}/counts.json` of each dataset. inputs: further files that the page is
    made from, for its record. unsup: `{name}.counts.csv` of each U that is drawn from CrossFit's scripts.
    """
    context = ReportContext(
        title=settings.title,
        lede=settings.lede,
        settings=settings.settings,
        timings=timings(benchmarks),
        files=settings.files,
        note=settings.note,
        lm=lm_results(settings.lm, evaluation, printed) if settings.lm else None,
        llm=llm_results(settings.llm, evaluation, printed) if settings.llm else None,
        counts={path.parent.name: json.loads(path.read_text(encoding="utf8")) for path in counts},
        unsup={path.name.removesuffix(".counts.csv"): read_table(path) for path in unsup},
    )
    read = [*inputs, *counts, *unsup, *sorted(printed.glob("*.csv"))]
    with Step(__name__, settings=settings.model_dump(), inputs=read) as step:
        step.bytes(output, render_report(context).encode())
