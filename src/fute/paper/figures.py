"""Figures 4 and A2 of the paper: the task embeddings of all (LLM, prompt) pairs in two dimensions.

Colour is the task category, shape the LLM. The paper shows a t-SNE panel only; distances between t-SNE
clusters mean nothing, so a PCA panel stands beside it and the statistics of the original space stand under
both.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fute.evaluation.geometry import Projection
from fute.paper.labels import LETTER, MARKER_RADIUS, merge_close, spread_labels
from fute.paper.tables import CATEGORIES, paper_models

COLOURS = {"sa": "#2f6db3", "nli": "#c8443c"}
PAPER_SHAPES = {"llama2_13b": "s", "llama2_70b": "^", "mixtral_8x7b": "o"}
OTHER_SHAPES = ("D", "v", "p", "h", "P", "X", "<", ">", "d", "*")
INK, MUTED, LINE = "#1f2328", "#6b7280", "#d5d9df"
FORMATS = (".pdf", ".png", ".csv")
PANEL_POINTS = np.array([310.0, 280.0])
"""Rough size of a panel of Figure A2, for placing the numbers; the layout settles the exact one later."""
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.8,
    "text.parse_math": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}
# None leaves the field out: the time and the library's version would make every run's bytes differ.
_METADATA = {".pdf": {"CreationDate": None, "Producer": None, "Creator": None}, ".png": {"Software": None}}


def model_shapes(models: Sequence[str]) -> dict[str, str]:
    """Marker of each model: the paper's LLMs have fixed ones, the others take the rest by sorted name."""
    mapped = paper_models(models)
    others = sorted(set(models) - set(mapped))
    if len(others) > len(OTHER_SHAPES):
        raise ValueError(f"figure: {len(others)} models beside the paper's, but only {len(OTHER_SHAPES)} shapes")
    return {model: PAPER_SHAPES[key] for model, key in mapped.items()} | dict(zip(others, OTHER_SHAPES, strict=False))


def statistic_texts(statistics: Mapping[str, float], reasons: Mapping[str, str]) -> dict[str, str]:
    """Statistics as they are printed. A NaN without a reason is a ValueError: the reader could not tell."""
    texts = {}
    for name, value in statistics.items():
        if np.isfinite(value):
            texts[name] = f"{value:.2f}"
        elif name in reasons:
            texts[name] = f"not defined ({reasons[name]})"
        else:
            raise ValueError(f"figure: statistic {name!r} is {value}; give the reason why it is not defined")
    return texts


def _points(
    coords: Projection, categories: Sequence[str], models: Sequence[str], numbers: Sequence[int]
) -> pd.DataFrame:
    """One row a point, checked: the CSV of the figure, and what the panels draw."""
    sizes = {len(coords.tsne), len(coords.pca), len(categories), len(models), len(numbers)}
    if len(sizes) != 1:
        raise ValueError(f"figure: coordinates, categories, models and prompt numbers differ in length: {sizes}")
    unknown = sorted(set(categories) - set(COLOURS))
    if unknown:
        raise ValueError(f"figure: no colour for category {', '.join(unknown)}; known are {', '.join(COLOURS)}")
    return pd.DataFrame(
        {
            "category": list(categories),
            "model": list(models),
            "prompt": list(numbers),
            "tsne_1": coords.tsne[:, 0],
            "tsne_2": coords.tsne[:, 1],
            "pca_1": coords.pca[:, 0],
            "pca_2": coords.pca[:, 1],
        }
    )


def _draw_panel(axes: Axes, points: pd.DataFrame, view: str, shapes: Mapping[str, str]) -> None:
    for (category, model), group in points.groupby(["category", "model"], sort=True):
        x, y, look = group[f"{view}_1"], group[f"{view}_2"], {"edgecolors": "white", "linewidths": 0.6}
        axes.scatter(x, y, s=42, marker=shapes[model], color=COLOURS[category], alpha=0.85, **look)


def _write_numbers(axes: Axes, points: pd.DataFrame, view: str) -> None:
    """Write the prompt numbers beside the points, those of points that coincide as one label."""
    data = points[[f"{view}_1", f"{view}_2"]].to_numpy()
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    scale = PANEL_POINTS / (high - low)
    places = (data - low) * scale
    labels, anchors, colours = [], [], []
    for (category, _), rows in points.reset_index(drop=True).groupby(["category", "model"], sort=True):
        for group in merge_close(places[rows.index], MARKER_RADIUS):
            labels.append(" ".join(str(number) for number in sorted(rows["prompt"].iloc[group])))
            anchors.append(places[rows.index[group[0]]])
            colours.append(COLOURS[category])
    anchors = np.array(anchors)
    centres = spread_labels(anchors, places, [len(label) for label in labels])
    for label, anchor, centre, colour in zip(labels, anchors, centres, colours, strict=True):
        start, at = anchor / scale + low, centre / scale + low
        axes.plot(*np.array([start, at]).T, color=colour, alpha=0.35, linewidth=0.5, zorder=0.5)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
        axes.text(*at, label, color=colour, size=6.5, ha="center", va="center", bbox=box, zorder=0.9)
    # Labels may leave the old limits.
    half = np.array([[len(label), 1] for label in labels]) * LETTER
    boxes = np.vstack([centres - half, centres + half, places])
    edges = np.array([boxes.min(axis=0) - 10, boxes.max(axis=0) + 10]) / scale + low
    axes.set(xlim=edges[:, 0], ylim=edges[:, 1])


def _finish_panel(axes: Axes, title: str, labels: tuple[str, str]) -> None:
    axes.set_title(title, loc="left", size=9, weight="bold", color=INK, pad=6)
    axes.set(xlabel=labels[0], ylabel=labels[1], xticks=[], yticks=[])
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, points: pd.DataFrame, shapes: Mapping[str, str]) -> None:
    shared = {"linestyle": "", "markeredgecolor": "white", "markersize": 7}
    handles = [
        Line2D([], [], marker="o", color=COLOURS[category], label=CATEGORIES[category], **shared)
        for category in COLOURS
        if (points["category"] == category).any()
    ]
    handles += [Line2D([], [], marker=shapes[model], color=MUTED, label=model, **shared) for model in sorted(shapes)]
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=min(len(handles), 6),
        frameon=False,
        handletextpad=0.2,
    )


def _footer(texts: Mapping[str, str], note: str, width: int) -> str:
    items = [f"{name}: {text}" for name, text in texts.items()]
    lines = [""]
    for item in items:
        if lines[-1] and len(lines[-1]) + len(item) > width:
            lines.append("")
        lines[-1] += ("     " if lines[-1] else "") + item
    return "\n".join(lines + textwrap.wrap(note, width))


def _draw(points: pd.DataFrame, coords: Projection, texts: Mapping[str, str], note: str, numbered: bool) -> Figure:
    shapes = model_shapes(list(points["model"]))
    size = (9.6, 5.4) if numbered else (7.4, 4.2)
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for axes, view in ((left, "tsne"), (right, "pca")):
        _draw_panel(axes, points, view, shapes)
        axes.margins(0.09)
        if numbered:
            _write_numbers(axes, points, view)
    _finish_panel(left, "t-SNE", ("", ""))
    components = tuple(f"component {i} ({share:.0%})" for i, share in enumerate(coords.explained, start=1))
    _finish_panel(right, "PCA", components)
    _legend(figure, points, shapes)
    figure.supxlabel(_footer(texts, note, int(size[0] * 16)), x=0.012, ha="left", size=7, color=MUTED, linespacing=1.5)
    return figure


def _save(figure: Figure, points: pd.DataFrame, texts: Mapping[str, str], path_base: Path) -> list[Path]:
    paths = [path_base.with_name(path_base.name + suffix) for suffix in FORMATS]
    path_base.parent.mkdir(parents=True, exist_ok=True)
    for path in paths[:2]:
        figure.savefig(path, metadata=_METADATA[path.suffix])
    header = "".join(f"# {name}: {text}\n" for name, text in texts.items())
    paths[2].write_text(header + points.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    return paths


def read_coordinates(path: Path) -> pd.DataFrame:
    """Read the CSV of a figure back: category, model, prompt and the four coordinates; `#` lines are
    statistics."""
    return pd.read_csv(path, comment="#", float_precision="round_trip")


def figure4(
    coords: Projection,
    categories: Sequence[str],
    models: Sequence[str],
    numbers: Sequence[int],
    path_base: Path,
    *,
    statistics: Mapping[str, float],
    reasons: Mapping[str, str] | None = None,
    note: str = "",
    numbered: bool = False,
) -> list[Path]:
    """Draw Figure 4 and write `path_base` + .pdf, .png and .csv; returns the three paths.

    categories, models, numbers: task category (`sa`, `nli`), LLM and prompt number of each of the n points.
    statistics: what a reader looks for, taken in the original space and printed under the panels; a NaN is
    printed as not defined, with its reason from `reasons`. note: the line that a small run carries. Equal
    inputs give equal bytes.
    """
    points = _points(coords, categories, models, numbers)
    texts = statistic_texts(statistics, reasons or {})
    # The user's own matplotlibrc must not show in the files.
    with style.context(["default", _STYLE]):
        return _save(_draw(points, coords, texts, note, numbered), points, texts, path_base)


def figure_a2(
    coords: Projection,
    categories: Sequence[str],
    models: Sequence[str],
    numbers: Sequence[int],
    path_base: Path,
    *,
    statistics: Mapping[str, float],
    reasons: Mapping[str, str] | None = None,
    note: str = "",
) -> list[Path]:
    """Draw Figure A2: Figure 4, larger, with the prompt number written on every point."""
    return figure4(
        coords, categories, models, numbers, path_base,
        statistics=statistics, reasons=reasons, note=note, numbered=True,
    )  # fmt: skip
