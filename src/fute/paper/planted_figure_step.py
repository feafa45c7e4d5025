"""Draw what the tests with planted black boxes found."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fute.artifacts import Step
from fute.config.sections import Section
from fute.csv_files import read_table
from fute.display_names import p_text
from fute.paper.figures import MUTED, STYLE, image_bytes
from fute.paper.planted import row_name

SHOWN = {"cosine": "-", "candidates_cosine": "--", "task2vec_cosine": ":"}
"""Similarities that are drawn, with their lines: the paper's, the one around the mean of the candidates, and for
TaskEmb the one in which every entry counts alike."""
COLUMNS = 2


class PlantedFigureSettings(Section):
    """note: line below the figure, else empty."""

    note: str = ""


def planted_figure(settings: PlantedFigureSettings, *, results: Path, similarities: Path, pdf: Path, png: Path) -> None:
    """Draw one panel per ladder (similarity by quality) and one per test of retrieval (mean reciprocal rank).

    Similarities of a ladder are standardised, because methods have scales of their own. The p-value is of the panel's
    ladder alone.
    """
    measured, rows = read_table(results), read_table(similarities)
    panels: list[Callable[[Axes], None]] = []
    for test, of_test in measured.groupby("test", sort=False):
        if "spearman" in set(of_test["measure"]):
            for target, ladder in rows[rows["test"] == test].groupby("target", sort=False):
                own = of_test[of_test["target"] == target]
                panels.append(partial(_draw_ladder, measured=own, rows=ladder, title=f"{test}: {target}"))
        else:
            panels.append(partial(_draw_retrieval, measured=of_test, title=test))
    with style.context(["default", STYLE]):
        lines = -(-len(panels) // COLUMNS)
        figure = Figure(figsize=(8.4, 3.6 * lines + 0.3), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
        for draw, panel in zip(panels, axes, strict=False):
            draw(panel)
            panel.spines[["top", "right"]].set_visible(False)
        for panel in axes[len(panels) :]:
            panel.set_axis_off()
        figure.supxlabel(settings.note, x=0.012, ha="left", size=7, color=MUTED)
        with Step(__name__, settings=settings.model_dump(), inputs=[results, similarities]) as step:
            for path in (pdf, png):
                step.bytes(path, image_bytes(figure, path.suffix))


def _draw_ladder(axes: Axes, measured: pd.DataFrame, rows: pd.DataFrame, title: str) -> None:
    """Similarity by quality. measured, rows: of one ladder, of planted.csv and planted_similarities.csv."""
    rows = rows.sort_values("quality", kind="stable")
    # a correlation is not defined where a similarity is missing, or all are equal, or all qualities
    measured = measured[measured["value"].notna()]
    for method, of_method in rows.groupby("method", sort=False):
        for similarity, line in SHOWN.items():
            result = measured[(measured["method"] == method) & (measured["similarity"] == similarity)]
            if result.empty:
                continue
            values = of_method[similarity].to_numpy(float)
            numbers = result.iloc[0]
            text = f"{row_name(str(method), similarity)}: {numbers['value']:z.2f}, p {p_text(numbers['p'])}"
            values = (values - values.mean()) / values.std()
            axes.plot(of_method["quality"], values, line, marker="o", ms=3, label=text)
    axes.set(title=title, xlabel="quality, as made", ylabel="similarity, standardised")
    if axes.lines:
        axes.legend(fontsize=6, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    else:
        _say_nothing_is_defined(axes)


def _draw_retrieval(axes: Axes, measured: pd.DataFrame, title: str) -> None:
    """Mean reciprocal ranks. measured: rows of planted.csv of one test."""
    shown = measured[(measured["measure"] == "mrr") & measured["similarity"].isin(SHOWN)].dropna(subset=["value"])
    axes.set(title=title)
    if shown.empty:
        _say_nothing_is_defined(axes)
        return
    places = np.arange(len(shown))
    errors = np.abs(shown[["lo", "hi"]].to_numpy(float).T - shown["value"].to_numpy(float))
    axes.barh(places, shown["value"], xerr=errors, height=0.6, color="#9db8d9")
    axes.axvline(shown["chance"].max(), color=MUTED, lw=0.8, ls=":")
    names = [f"{row_name(row.method, row.similarity)}\np {p_text(row.p)}" for row in shown.itertuples()]
    axes.set_yticks(places, names, fontsize=6)
    axes.set(xlabel="mean reciprocal rank; dotted: by chance", xlim=(0, 1))


def _say_nothing_is_defined(axes: Axes) -> None:
    text = "not defined: a value is missing, or all are equal"
    axes.text(0.5, 0.5, text, color=MUTED, size=8, ha="center", va="center", transform=axes.transAxes)
