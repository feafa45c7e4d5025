"""The interactive map of `fute view` and of the report: points with their texts, and all that draws them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from fute.display_names import METHOD_NAMES
from fute.paper.figures import CYCLE, Groups, Look
from fute.paper.map_page import SCRIPT

DATASET = "dataset"
"""Stands in place of a model for the points of datasets."""
LINE, LINES = 80, 8
"""Length and number of the lines of a prompt beside its point."""

Point = tuple[str, str]
"""Model, and the prompt that it has or the dataset that it was fine-tuned on."""
Said = Mapping[Point, tuple[bool, list[str]]]
"""Point -> whether it is the first of a ranking, and the lines that stand beside it."""
Map = dict[str, Any]
"""Values of one map, as the page's script reads them."""


def map_of(title: str, points: pd.DataFrame, colours: Mapping[str, Groups], tsne: Any, pca: Any) -> Map:
    """Values of a map.

    points: model, name, class, best and said, one row per point. colours: `class` and `model` -> value -> its title and
    colour. tsne, pca: (n, 2); t-SNE's NaN if it is not defined.
    """
    names, models = list(points["name"]), [name for name in points["model"] if name != DATASET]
    if len({*names}) == 1 and len({*models}) > 1:
        labels = [model if model != DATASET else name for model, name in zip(points["model"], names, strict=True)]
    elif len({*models}) > 1:
        labels = [name if model == DATASET else f"{name}, {model}"
                  for model, name in zip(points["model"], names, strict=True)]  # fmt: skip
    else:
        labels = names
    return {
        "title": title,
        "colours": colours,
        **{column: points[column].tolist() for column in ("class", "model", "best", "said")},
        "label": labels,
        "tsne": None if np.isnan(tsne).any() else np.asarray(tsne).T.tolist(),
        "pca": np.asarray(pca).T.tolist(),
    }


def maps_of(
    title: str, table: pd.DataFrame, look: Look, name: str, groups: Groups, said: Callable[[str, str], Said]
) -> Iterator[Map]:
    """Maps by the coordinates of the paper's figures, one per method and view that has a place for its points.

    table: coordinates.csv or lm_coordinates.csv. look: of its figures. name: column with a point's name. groups: title
    and colour of each class of points. said: (method, view) -> what stands beside the points.
    """
    group, model, _ = look.source
    colours = {"class": groups, "model": series(table[model])}
    for (method, view), rows in table.groupby(["method", "view"], sort=False):
        if rows[["pca_x", "pca_y"]].isna().any(axis=None):
            continue
        words = said(str(method), str(view))
        keys = list(zip(rows[model], rows[name], strict=True))
        points = pd.DataFrame([(*key, *words[key]) for key in keys], columns=["model", "name", "best", "said"])
        tsne, pca = (rows[[f"{each}_x", f"{each}_y"]].to_numpy(dtype=float) for each in ("tsne", "pca"))
        own = f"{title}, {METHOD_NAMES.get(str(method), str(method))}{', centred' if view == 'centred' else ''}"
        yield map_of(own, points.assign(**{"class": list(rows[group])}), colours, tsne, pca)


def series(names: pd.Series) -> dict[str, tuple[str, str]]:
    """Title and colour of each model."""
    return {name: (name, colour) for name, colour in zip(dict.fromkeys(names), itertools.cycle(CYCLE), strict=False)}


def prompt_lines(template: str) -> list[str]:
    """The text of a prompt as lines beside its point."""
    return textwrap.wrap(template, LINE, max_lines=LINES, placeholder=" …")


@dataclass(frozen=True)
class MapParts:
    """The parts of a page with maps (`map_page.MACROS`): titles of the maps, their values, library and script.

    hashes: of the scripts that the page allows.
    """

    titles: list[str]
    data: str
    library: str
    script: str
    hashes: list[str]


def map_parts(maps: Sequence[Map]) -> MapParts | None:
    """The parts of a page with these maps; None without any. Equal maps give equal parts."""
    if not maps:
        return None
    library, digest = _library()
    # no text can end the element: JSON needs no `<` outside strings
    data = json.dumps(list(maps), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return MapParts([each["title"] for each in maps], data, library, SCRIPT, [digest, script_hash(SCRIPT)])


@cache
def _library() -> tuple[str, str]:
    """Plotly for browsers, packed (gzip, base64: 1.9 MB in place of 4.8), and its hash unpacked."""
    from plotly.offline import get_plotlyjs

    text = get_plotlyjs()
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode(), script_hash(text)


def script_hash(text: str) -> str:
    """A script as a page's security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
