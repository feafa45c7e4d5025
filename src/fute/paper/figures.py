"""Figures 3, A1, 4 and A2 of the paper: model task embeddings in two dimensions.

A point is a fine-tuned language model (3, A1) or an LLM with a prompt (4, A2). Its colour shows the class of its
dataset or the category of its prompt, its shape the model; A1 and A2 also name the dataset or the prompt. The paper
shows only a t-SNE panel. Distances between t-SNE clusters mean nothing, so a PCA panel is added next to it, and
statistics of the original space below both.
"""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fute.artifacts import csv_bytes
from fute.evaluation.geometry import TSNE_VECTORS
from fute.paper.label_placement import LETTER, MARKER_RADIUS, merge_close, spread_labels
from fute.paper.table3 import paper_models

Groups = Mapping[str, tuple[str, str]]
"""Title and colour of each group of points, in the order of the legend."""
BLUE, RED = "#2f6db3", "#c8443c"
CYCLE = ("#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#332288", "#882255", "#999933", "#88ccee", "#aa4499", "#117733")
"""Colours of groups without one of their own: of Okabe and Ito, and of Tol, for readers who confuse red and green."""
Shape = str | tuple[int, int, int]
"""A marker of matplotlib: its name, or sides, style (1: a star) and angle in degrees."""
INK, MUTED, LINE = "#1f2328", "#6b7280", "#d5d9df"
PAPER_SHAPES = {"llama2_13b": "s", "llama2_70b": "^", "mixtral_8x7b": "o"}
OTHER_SHAPES = (
    "D", "v", "p", "h", "P", "X", "<", ">", "d", "*", "8", (4, 1, 0), (6, 1, 0), (3, 1, 0), (3, 1, 180), "H",
)  # fmt: skip
"""Of models beyond these the same ones again, in the same order; the figure's CSV names the model of each point."""
STYLE = {
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
# None leaves the field out: times and library versions would make the bytes of every run differ.
METADATA = {".pdf": {"CreationDate": None, "Producer": None, "Creator": None}, ".png": {"Software": None}}


def llm_shapes(models: Sequence[str]) -> dict[str, Shape]:
    """Marker of each LLM: fixed ones for the paper's models, the remaining ones for others, by sorted name."""
    mapped = paper_models(models)
    others = sorted(set(models) - set(mapped))
    shape_of = {model: PAPER_SHAPES[key] for model, key in mapped.items()} | _in_turn(others, OTHER_SHAPES)
    return dict(sorted(shape_of.items()))


def lm_shapes(models: Sequence[str]) -> dict[str, Shape]:
    """Marker of each fine-tuned model, by first use: circle (the paper's BERT), triangle, square, others."""
    return _in_turn(dict.fromkeys(models), ("o", "^", "s", *OTHER_SHAPES))


def _in_turn(models: Iterable[str], shapes: Sequence[Shape]) -> dict[str, Shape]:
    return dict(zip(models, itertools.cycle(shapes), strict=False))


def coloured(looks: Mapping[str, tuple[str, str | None]]) -> Groups:
    """Title and colour of each category: its own colour, or the next of `CYCLE` that no category has."""
    taken = {colour for _, colour in looks.values()}
    free = itertools.cycle([colour for colour in CYCLE if colour not in taken])
    return {name: (title, colour or next(free)) for name, (title, colour) in looks.items()}


@dataclass(frozen=True)
class Look:
    """Style of the points of an experiment.

    source: columns of the coordinates file with a point's group, model and name; columns: their names in the figure's
    CSV. groups: None for the run's categories, which `draw_figure` is given. shapes: models -> markers. separator:
    between the names of points that coincide. size: of the figure with names, in inches. panel: rough size of its
    panels in points (1/72 inch), for placing the names; the layout fixes the exact size later.
    """

    source: tuple[str, str, str]
    columns: tuple[str, str, str]
    groups: Groups | None
    shapes: Callable[[Sequence[str]], dict[str, Shape]]
    separator: str
    size: tuple[float, float]
    panel: tuple[float, float]


LLM_LOOK = Look(
    source=("category", "model", "number"),
    columns=("category", "model", "prompt"),
    groups=None,
    shapes=llm_shapes,
    separator=" ",
    size=(9.6, 5.4),
    panel=(310.0, 280.0),
)
LM_LOOK = Look(
    source=("class", "model", "title"),
    columns=("class", "model", "dataset"),
    groups={"cr": ("CR", RED), "qa": ("QA", BLUE)},
    shapes=lm_shapes,
    separator=", ",
    size=(13.6, 7.4),
    panel=(450.0, 410.0),
)
FIGURES = {"fig3": (LM_LOOK, False), "figa1": (LM_LOOK, True), "fig4": (LLM_LOOK, False), "figa2": (LLM_LOOK, True)}
"""Figure -> its look, and True if its points are named."""


def statistic_texts(statistics: Mapping[str, float], reasons: Mapping[str, str]) -> dict[str, str]:
    """Printed text of each statistic. Raises ValueError for a NaN without a reason: readers could not explain it."""
    texts = {}
    for name, value in statistics.items():
        if np.isfinite(value):
            texts[name] = f"{value:z.2f}"
        elif reasons.get(name):
            texts[name] = f"not defined ({reasons[name]})"
        else:
            raise ValueError(f"figure: statistic {name!r} is {value}; give the reason why it is not defined")
    return texts


def _draw_panel(axes: Axes, look: Look, points: pd.DataFrame, view: str, shapes: Mapping[str, Shape]) -> None:
    for (group, model), rows in points.groupby(list(look.columns[:2]), sort=True):
        x, y, style_of = rows[f"{view}_1"], rows[f"{view}_2"], {"edgecolors": "white", "linewidths": 0.6}
        axes.scatter(x, y, s=42, marker=shapes[model], color=look.groups[group][1], alpha=0.85, **style_of)


def _write_names(axes: Axes, look: Look, points: pd.DataFrame, view: str) -> None:
    """Write names next to the points; points that coincide get one label."""
    data = points[[f"{view}_1", f"{view}_2"]].to_numpy()
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    scale = np.array(look.panel) / (high - low)
    places = (data - low) * scale
    labels, anchors, colours = [], [], []
    for (name, _), rows in points.reset_index(drop=True).groupby(list(look.columns[:2]), sort=True):
        for group in merge_close(places[rows.index], MARKER_RADIUS):
            labels.append(look.separator.join(map(str, sorted(rows[look.columns[2]].iloc[group]))))
            anchors.append(places[rows.index[group[0]]])
            colours.append(look.groups[name][1])
    anchors = np.array(anchors)
    centres = spread_labels(anchors, places, [len(label) for label in labels])
    for label, anchor, centre, colour in zip(labels, anchors, centres, colours, strict=True):
        start, at = anchor / scale + low, centre / scale + low
        axes.plot(*np.array([start, at]).T, color=colour, alpha=0.35, linewidth=0.5, zorder=0.5)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
        axes.text(*at, label, color=colour, size=6.5, ha="center", va="center", bbox=box, zorder=0.9)
    # Labels may lie outside the old limits.
    half = np.array([[len(label), 1] for label in labels]) * LETTER
    boxes = np.vstack([centres - half, centres + half, places])
    edges = np.array([boxes.min(axis=0) - 10, boxes.max(axis=0) + 10]) / scale + low
    axes.set(xlim=edges[:, 0], ylim=edges[:, 1])


def _finish_panel(axes: Axes, title: str, labels: tuple[str, str]) -> None:
    axes.set_title(title, loc="left", size=9, weight="bold", color=INK, pad=6)
    axes.set(xlabel=labels[0], ylabel=labels[1], xticks=[], yticks=[])
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, look: Look, points: pd.DataFrame, shapes: Mapping[str, Shape]) -> None:
    shared = {"linestyle": "", "markeredgecolor": "white", "markersize": 7}
    handles = [
        Line2D([], [], marker="o", color=colour, label=title, **shared)
        for group, (title, colour) in look.groups.items()
        if (points[look.columns[0]] == group).any()
    ]
    handles += [Line2D([], [], marker=marker, color=MUTED, label=model, **shared) for model, marker in shapes.items()]
    if not handles:
        return
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


def _draw(
    look: Look, points: pd.DataFrame, explained: Iterable[float], texts: Mapping[str, str], note: str, named: bool
) -> Figure:
    shapes = look.shapes(list(points[look.columns[1]]))
    size = look.size if named else (7.4, 4.2)
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    mapped = {"tsne": left, "pca": right}
    for view, needed in (("tsne", f"{TSNE_VECTORS}"), ("pca", "two different")):
        if points.empty or points[[f"{view}_1", f"{view}_2"]].isna().any(axis=None):
            reason, axes = f"not defined for fewer than {needed} vectors", mapped.pop(view)
            axes.text(0.5, 0.5, reason, color=MUTED, size=8, ha="center", va="center", transform=axes.transAxes)
    for view, axes in mapped.items():
        _draw_panel(axes, look, points, view, shapes)
        axes.margins(0.09)
        if named:
            _write_names(axes, look, points, view)
    _finish_panel(left, "t-SNE", ("", ""))
    components = tuple(f"component {i} ({share:.0%})" for i, share in enumerate(explained, start=1))
    _finish_panel(right, "PCA", components if "pca" in mapped else ("", ""))
    _legend(figure, look, points, shapes)
    figure.supxlabel(_footer(texts, note, int(size[0] * 16)), x=0.012, ha="left", size=7, color=MUTED, linespacing=1.5)
    return figure


def image_bytes(figure: Figure, suffix: str) -> bytes:
    """The file of a drawn figure. suffix: `.pdf` or `.png`."""
    file = io.BytesIO()
    figure.savefig(file, format=suffix[1:], metadata=METADATA[suffix])
    return file.getvalue()


def draw_figure(
    figure: str,
    coordinates: pd.DataFrame,
    explained: Iterable[float],
    *,
    statistics: Mapping[str, float],
    reasons: Mapping[str, str] | None = None,
    note: str = "",
    categories: Groups | None = None,
) -> dict[str, bytes]:
    """Draw one of `FIGURES`; return its files by suffix: `.pdf`, `.png`, and `.csv` with the points and statistics.

    coordinates: rows of coordinates.csv or lm_coordinates.csv, one per point. explained: shares of variance of PCA's
    two components. categories: title and colour of each category of prompts. statistics: values from the original
    space, printed below the panels; a NaN is printed as not defined, with its reason from `reasons`. note: line for a
    small run, else empty.
    Equal inputs give equal bytes.
    """
    look, named = FIGURES[figure]
    look = replace(look, groups=categories or {}) if look.groups is None else look
    points = coordinates[[*look.source, "tsne_x", "tsne_y", "pca_x", "pca_y"]]
    points = points.set_axis([*look.columns, "tsne_1", "tsne_2", "pca_1", "pca_2"], axis=1)
    texts = statistic_texts(statistics, reasons or {})
    # The user's own matplotlibrc must not affect the files.
    with style.context(["default", STYLE]):
        drawn = _draw(look, points, explained, texts, note, named)
        files = {suffix: image_bytes(drawn, suffix) for suffix in METADATA}
    header = "".join(f"# {name}: {text}\n" for name, text in texts.items())
    return files | {".csv": header.encode() + csv_bytes(points, exact=True)}
