"""Place the MTEs of Figures 4 and A2, and compute the numbers that readers look for there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from fute import paths
from fute.artifacts import Step
from fute.embeddings import Embedding, load
from fute.evaluation.geometry import neighbour_purity, project, silhouette_by

NEIGHBOURS = 5


class GeometrySettings(BaseModel):
    """prompts: prompt id -> [category, number, chain of thought or not]. seed: of t-SNE."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: dict[str, tuple[str, int, bool]]
    seed: int


def statistic(name: str, value: float, reason: str = "", unit: str = "share") -> dict[str, object]:
    """A row of geometry.csv. reason: why it is not defined, where it is NaN."""
    return {"statistic": name, "value": value, "unit": unit, "reason": reason}


def neighbours(groups: np.ndarray) -> int:
    """How many neighbours are looked at: no more than a vector of the smallest group has of its own kind."""
    return max(1, min(NEIGHBOURS, min(np.unique(groups, return_counts=True)[1]) - 1))


def _statistics(vectors: np.ndarray, points: pd.DataFrame) -> list[dict[str, object]]:
    """Numbers of the original space (cosine), each with the reason where it is not defined."""
    category, model = points["category"].to_numpy(), points["model"].to_numpy()
    found = silhouette_by(vectors, category)
    k = neighbours(category)
    rows = [
        statistic("silhouette by category", found.value, found.note),
        statistic(f"category purity of {k} neighbours", neighbour_purity(vectors, category, k)),
    ]
    if len(set(model)) > 1:
        rows.append(statistic(f"model purity of {k} neighbours", neighbour_purity(vectors, model, k, within=category)))
    else:
        rows.append(statistic(f"model purity of {k} neighbours", np.nan, "one model"))
    for name in sorted(set(category)):
        own = category == name
        groups = np.where(points["cot"].to_numpy()[own], "chain of thought", "plain")
        cohesion = silhouette_by(vectors[own], groups)
        rows.append(statistic(f"silhouette of chain of thought in {name.upper()}", cohesion.value, cohesion.note))
    other = category[:, None] != category[None, :]
    if other.any():
        # the paper names NLI 9 as nearest to SA and NLI 10 as far from it
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        near = np.array([row[mask].mean() for row, mask in zip(unit @ unit.T, other, strict=True)])
        for name in sorted(set(category)):
            own = category == name
            by_number = pd.Series(near[own]).groupby(points["number"].to_numpy()[own]).mean()
            rows += [
                statistic(
                    f"{name.upper()} prompt nearest to the other category",
                    float(by_number.idxmax()),
                    unit="prompt",
                ),
                statistic(f"{name.upper()} prompt farthest from it", float(by_number.idxmin()), unit="prompt"),
            ]
    return rows


def locate_all(
    files: Sequence[Path],
    seed: int,
    describe: Callable[[str], Mapping[str, object]],
    statistics: Callable[[np.ndarray, pd.DataFrame], list[dict[str, object]]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Coordinates (a row a method, view and MTE) and statistics (a row a method, view and statistic).

    describe: the columns that say what the task of an MTE is (a prompt or a dataset, by id). statistics: rows on
    the vectors (n, d) and the points (n rows) of one method and view. View `raw` takes the vectors as they are;
    `centred` subtracts TuPaTE's shared start.
    """
    groups: dict[str, list[tuple[str, str, Path]]] = {}
    mte = paths.pattern(paths.mte)
    for path in sorted(files):
        match = mte.fullmatch(path.as_posix())
        if match is None:
            raise ValueError(f"{path} is no model task embedding of the run")
        groups.setdefault(match["method"], []).append((match["model"], match["task"], path))
    placed, found = [], []
    for method, members in groups.items():
        points = pd.DataFrame([{"method": method, "model": model, **describe(task)} for model, task, _ in members])
        embeddings = [load(path) for _, _, path in members]
        for view in ("raw", "centred") if embeddings[0].init is not None else ("raw",):
            vectors = _matrix(embeddings, view == "centred").astype(np.float64)
            placing = project(vectors, seed=seed)
            places = {
                "tsne_x": placing.tsne[:, 0],
                "tsne_y": placing.tsne[:, 1],
                "pca_x": placing.pca[:, 0],
                "pca_y": placing.pca[:, 1],
            }
            placed.append(points.assign(view=view, **places))
            rows = statistics(vectors, points) + [
                statistic(f"PCA share of variance, axis {axis}", share, unit="variance")
                for axis, share in enumerate(placing.explained, start=1)
            ]
            found += [{"method": method, "view": view} | row for row in rows]
    return pd.concat(placed, ignore_index=True), pd.DataFrame(found)


def geometry(settings: GeometrySettings, *, files: Sequence[Path], statistics: Path, coordinates: Path) -> None:
    """Write coordinates.csv and geometry.csv of the LLM experiment, as `locate_all` gives them."""

    def describe(prompt: str) -> dict[str, object]:
        category, number, cot = settings.prompts[prompt]
        return {"prompt": prompt, "category": category, "number": number, "cot": cot}

    points, numbers = locate_all(files, settings.seed, describe, _statistics)
    seeds = {"tsne": settings.seed}
    with Step(__name__, settings=settings.model_dump(), inputs=files, seeds=seeds) as step:
        step.csv(coordinates, points)
        step.csv(statistics, numbers)


def _matrix(embeddings: list[Embedding], centred: bool) -> np.ndarray:
    return np.stack([e.vector - e.init if centred and e.init is not None else e.vector for e in embeddings])
