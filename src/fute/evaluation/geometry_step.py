"""The geometry step: coordinates of Figures 4 and A2, and the numbers readers look for in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from fute.artifacts import Step
from fute.embeddings import Embedding, load
from fute.evaluation.geometry import neighbour_purity, project, silhouette_by
from fute.evaluation.steps import csv_bytes

MTE = re.compile(r"results/embeddings/[^/]+/(?P<method>[^/]+)/mte/(?P<model>[^/]+)/(?P<task>[^/]+)\.safetensors")
NEIGHBOURS = 5


class GeometrySettings(BaseModel):
    """prompts: prompt id -> [category, number, chain of thought or not]. seed: of t-SNE."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: dict[str, tuple[str, int, bool]]
    seed: int


def _matrix(embeddings: list[Embedding], centred: bool) -> np.ndarray:
    return np.stack([e.vector - e.init if centred and e.init is not None else e.vector for e in embeddings])


def _statistic(name: str, value: float, reason: str = "", unit: str = "share") -> dict[str, object]:
    return {"statistic": name, "value": value, "unit": unit, "reason": reason}


def _statistics(vectors: np.ndarray, points: pd.DataFrame) -> list[dict[str, object]]:
    """Numbers of the original space (cosine), each with the reason where it is not defined."""
    category, model = points["category"].to_numpy(), points["model"].to_numpy()
    found = silhouette_by(vectors, category)
    # a vector can have no more neighbours of its own kind than there are
    k = max(1, min(NEIGHBOURS, min(np.unique(category, return_counts=True)[1]) - 1))
    rows = [
        _statistic("silhouette by category", found.value, found.note),
        _statistic(f"category purity of {k} neighbours", neighbour_purity(vectors, category, k)),
    ]
    if len(set(model)) > 1:
        rows.append(_statistic(f"model purity of {k} neighbours", neighbour_purity(vectors, model, k, within=category)))
    else:
        rows.append(_statistic(f"model purity of {k} neighbours", np.nan, "one model"))
    for name in sorted(set(category)):
        own = category == name
        groups = np.where(points["cot"].to_numpy()[own], "chain of thought", "plain")
        cohesion = silhouette_by(vectors[own], groups)
        rows.append(_statistic(f"silhouette of chain of thought in {name.upper()}", cohesion.value, cohesion.note))
    other = category[:, None] != category[None, :]
    if other.any():
        # the paper names NLI 9 as nearest to SA and NLI 10 as far from it
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        near = np.array([row[mask].mean() for row, mask in zip(unit @ unit.T, other, strict=True)])
        for name in sorted(set(category)):
            own = category == name
            by_number = pd.Series(near[own]).groupby(points["number"].to_numpy()[own]).mean()
            rows += [
                _statistic(
                    f"{name.upper()} prompt nearest to the other category",
                    float(by_number.idxmax()),
                    unit="prompt",
                ),
                _statistic(f"{name.upper()} prompt farthest from it", float(by_number.idxmin()), unit="prompt"),
            ]
    return rows


def locate(settings: GeometrySettings, *, files: Sequence[Path], geometry: Path, coordinates: Path) -> None:
    """Write coordinates.csv (a row a method, view and MTE) and geometry.csv (a row a method, view and statistic).

    View `raw` takes the vectors as they are; `centred` subtracts TuPaTE's shared start.
    """
    groups: dict[str, list[tuple[str, str, Path]]] = {}
    for path in sorted(files):
        match = MTE.fullmatch(path.as_posix())
        if match is None:
            raise ValueError(f"{path} is no model task embedding of the run")
        groups.setdefault(match["method"], []).append((match["model"], match["task"], path))
    placed, statistics = [], []
    for method, members in groups.items():
        points = pd.DataFrame(
            [{"method": method, "model": model, "prompt": task,
              "category": settings.prompts[task][0], "number": settings.prompts[task][1],
              "cot": settings.prompts[task][2]} for model, task, _ in members]
        )  # fmt: skip
        embeddings = [load(path) for _, _, path in members]
        for view in ("raw", "centred") if embeddings[0].init is not None else ("raw",):
            vectors = _matrix(embeddings, view == "centred").astype(np.float64)
            placing = project(vectors, seed=settings.seed)
            places = {
                "tsne_x": placing.tsne[:, 0],
                "tsne_y": placing.tsne[:, 1],
                "pca_x": placing.pca[:, 0],
                "pca_y": placing.pca[:, 1],
            }
            placed.append(points.assign(view=view, **places))
            rows = _statistics(vectors, points) + [
                _statistic(f"PCA share of variance, axis {axis}", share, unit="variance")
                for axis, share in enumerate(placing.explained, start=1)
            ]
            statistics += [{"method": method, "view": view} | row for row in rows]
    seeds = {"tsne": settings.seed}
    with Step("geometry", module=__name__, settings=settings.model_dump(), inputs=files, seeds=seeds) as step:
        step.bytes(coordinates, csv_bytes(pd.concat(placed, ignore_index=True)), rows=sum(map(len, placed)))
        step.bytes(geometry, csv_bytes(pd.DataFrame(statistics)), rows=len(statistics))
