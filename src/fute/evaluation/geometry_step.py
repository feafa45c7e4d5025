"""Compute the coordinates of the MTEs of Figures 4 and A2, and the numbers that readers look for there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fute import paths
from fute.artifacts import Step
from fute.config.sections import Section
from fute.embeddings.vectors import LABELCOV, in_one_space, load
from fute.evaluation.geometry import neighbour_purity, project, silhouette_by

NEIGHBOURS = 5
PLACES = ("tsne_x", "tsne_y", "pca_x", "pca_y")


class GeometrySettings(Section):
    """Settings of step `geometry`.

    prompts: prompt id -> [category, number, True for chain of thought]. seed: of t-SNE.
    """

    prompts: dict[str, tuple[str, int, bool]]
    seed: int


def statistic(name: str, value: float, reason: str = "", unit: str = "share") -> dict[str, object]:
    """One row of geometry.csv. reason: why the value is NaN; empty otherwise."""
    return {"statistic": name, "value": value, "unit": unit, "reason": reason}


def neighbours(groups: np.ndarray) -> int:
    """Number of neighbours to count: at most as many as a vector of the smallest group has in its group."""
    return max(1, min(NEIGHBOURS, min(np.unique(groups, return_counts=True)[1]) - 1))


def neighbours_text(k: int) -> str:
    """A number of neighbours in the name of a statistic."""
    return f"{k} neighbour{'s' if k > 1 else ''}"


def _statistics(vectors: np.ndarray, points: pd.DataFrame) -> list[dict[str, object]]:
    """Numbers of the original space (cosine), each with a reason if it is not defined."""
    category, model = points["category"].to_numpy(), points["model"].to_numpy()
    silhouette = silhouette_by(vectors, category)
    k = neighbours(category)
    near_text = neighbours_text(k)
    rows = [
        statistic("silhouette by category", silhouette.value, silhouette.note),
        statistic(f"category purity of {near_text}", neighbour_purity(vectors, category, k)),
    ]
    several = len(set(model)) > 1
    purity = neighbour_purity(vectors, model, k, within=category) if several else np.nan
    reason = "no category has two vectors" if several and np.isnan(purity) else "" if several else "one model"
    rows.append(statistic(f"model purity of {near_text}", purity, reason))
    for name in sorted(set(category)):
        members = category == name
        groups = np.where(points["cot"].to_numpy()[members], "chain of thought", "plain")
        cohesion = silhouette_by(vectors[members], groups)
        rows.append(statistic(f"silhouette of chain of thought in {name.upper()}", cohesion.value, cohesion.note))
    other = category[:, None] != category[None, :]
    if other.any():
        # the paper names NLI 9 as nearest to SA and NLI 10 as far from it
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        near = np.array([row[mask].mean() for row, mask in zip(unit @ unit.T, other, strict=True)])
        for name in sorted(set(category)):
            members = category == name
            by_number = pd.Series(near[members]).groupby(points["number"].to_numpy()[members]).mean()
            rows += [
                statistic(
                    f"{name.upper()} prompt nearest to the other category",
                    float(by_number.idxmax()),
                    unit="prompt",
                ),
                statistic(f"{name.upper()} prompt farthest from it", float(by_number.idxmin()), unit="prompt"),
            ]
    return rows


def _by_method(files: Sequence[Path]) -> dict[str, list[tuple[str, str, Path]]]:
    """MTEs as (model, task, path), by method. Raises ValueError for a file that is not an MTE of the run."""
    groups: dict[str, list[tuple[str, str, Path]]] = {}
    mte = paths.pattern(paths.mte)
    for path in sorted(files):
        match = mte.fullmatch(path.as_posix())
        if match is None:
            raise ValueError(f"{path} is not a model task embedding of the run: its path has another form")
        groups.setdefault(match["method"], []).append((match["model"], match["task"], path))
    return groups


def locate_all(
    files: Sequence[Path],
    seed: int,
    describe: Callable[[str], Mapping[str, object]],
    statistics: Callable[[np.ndarray, pd.DataFrame], list[dict[str, object]]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Coordinates, one row per (method, view, MTE), and statistics, one row per (method, view, statistic).

    describe: columns for the id of an MTE's task (a prompt or a dataset). statistics: rows for the vectors (n, d) and
    the points (n rows) of one method and view. View `raw` uses the vectors unchanged; `centred` subtracts TuPaTE's
    shared start. MTEs without a vector are left out; a single one has NaN coordinates and no statistics. Raises
    ValueError for a file that is not an MTE of the run.
    """
    groups = _by_method(files)
    located, numbers = [], []
    for method, members in groups.items():
        loaded = [load(path) for _, _, path in members]
        # a point has a place only if it has a vector
        members = [member for member, each in zip(members, loaded, strict=True) if "no_vector" not in each.meta]
        embeddings = [each for each in loaded if "no_vector" not in each.meta]
        if not embeddings:
            continue
        if method == LABELCOV:
            embeddings = in_one_space(embeddings)
        points = pd.DataFrame([{"method": method, "model": model, **describe(task)} for model, task, _ in members])
        for view in ("raw", "centred") if embeddings[0].init is not None else ("raw",):
            vectors = np.stack([each.vector - each.init if view == "centred" else each.vector for each in embeddings])
            vectors = vectors.astype(np.float64)
            projection = project(vectors, seed=seed)
            places = dict(zip(PLACES, (*projection.tsne.T, *projection.pca.T), strict=True))
            located.append(points.assign(view=view, **places))
            rows = (statistics(vectors, points) if len(points) > 1 else []) + [
                statistic(
                    f"PCA share of variance, axis {axis}",
                    share,
                    "fewer than two different vectors" if np.isnan(share) else "",
                    unit="variance",
                )
                for axis, share in enumerate(projection.explained, start=1)
            ]
            numbers += [{"method": method, "view": view} | row for row in rows]
    nowhere = pd.DataFrame(columns=["method", "model", *describe(next(iter(groups.values()))[0][1]), "view", *PLACES])
    points = pd.concat(located, ignore_index=True) if located else nowhere
    return points, pd.DataFrame(numbers, columns=["method", "view", *statistic("", np.nan)])


def geometry(settings: GeometrySettings, *, files: Sequence[Path], statistics: Path, coordinates: Path) -> None:
    """Write coordinates.csv and geometry.csv of the LLM experiment, computed by `locate_all`."""

    def describe(prompt: str) -> dict[str, object]:
        category, number, cot = settings.prompts[prompt]
        return {"prompt": prompt, "category": category, "number": number, "cot": cot}

    points, numbers = locate_all(files, settings.seed, describe, _statistics)
    seeds = {"tsne": settings.seed}
    with Step(__name__, settings=settings.model_dump(), inputs=files, seeds=seeds) as step:
        step.csv(coordinates, points)
        step.csv(statistics, numbers)
