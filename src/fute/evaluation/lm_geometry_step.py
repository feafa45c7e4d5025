"""Compute the coordinates of the fine-tuned models of Figures 3 and A1, and the numbers that readers look for there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from fute.artifacts import Step
from fute.config.sections import Section
from fute.evaluation.geometry import (
    label_shared_across,
    label_shared_by_strings,
    nearest,
    neighbour_purity,
    silhouette_by,
)
from fute.evaluation.geometry_step import locate_all, neighbours, neighbours_text, statistic
from fute.evaluation.transfer_matrix_step import TransferDataset

CLASSES = {"cr": "CR", "qa": "QA"}


class LmGeometrySettings(Section):
    """Settings of step `lm_geometry`.

    models, datasets: of the points, in the order of the figure's shapes. labels: what stands for a label of a dataset:
    its class names, or what its labels are, `number` or `span`. crossing: datasets that may be close to the
    other class (the paper: BoolQ). clusters: datasets whose points of all models may form a cluster (the paper: SNLI,
    SST-2). seed: of t-SNE.
    """

    models: tuple[str, ...]
    datasets: dict[str, TransferDataset]
    labels: dict[str, tuple[str, ...]]
    crossing: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    seed: int = 42


def _statistics(settings: LmGeometrySettings, vectors: np.ndarray, points: pd.DataFrame) -> list[dict[str, object]]:
    """Numbers of the original space (cosine), each with a reason if it is not defined.

    vectors (n, d); points: n rows with model, dataset and class.
    """
    classes, models, datasets = (points[name].to_numpy() for name in ("class", "model", "dataset"))
    silhouette = silhouette_by(vectors, classes)
    k = neighbours(classes)
    near_text = neighbours_text(k)
    rows = [
        statistic("silhouette by class", silhouette.value, silhouette.note),
        statistic(f"class purity of {near_text}", neighbour_purity(vectors, classes, k)),
    ]
    near = nearest(vectors, k)
    for name in settings.crossing:
        other = "cr" if settings.datasets[name].group == "qa" else "qa"
        members = np.flatnonzero(datasets == name)
        title = f"{CLASSES[other]} among {near_text} of {settings.datasets[name].title}"
        shares = [(classes[near[index]] == other).mean() for index in members]
        rows.append(
            statistic(title, float(np.mean(shares))) if shares else statistic(title, np.nan, "it has no vector")
        )
    one_model = "" if len(set(models)) > 1 else "one model"
    for label, chosen in (("", slice(None)), *((f" in {CLASSES[c]}", classes == c) for c in sorted(set(classes)))):
        value = np.nan if one_model else neighbour_purity(vectors[chosen], models[chosen], k, within=classes[chosen])
        reason = one_model or ("no two vectors of a class" if np.isnan(value) else "")
        rows.append(statistic(f"model purity of {near_text}{label}", value, reason))
    rows += _own_dataset(settings, vectors, models, datasets, one_model)
    for name in settings.clusters:
        others = (datasets == name).sum() - 1
        title = f"own dataset among the nearest of {settings.datasets[name].title}"
        if others < 1:
            rows.append(statistic(title, np.nan, one_model or "it has no two vectors"))
            continue
        closest = nearest(vectors, int(others))
        share = np.mean([(datasets[closest[index]] == name).mean() for index in np.flatnonzero(datasets == name)])
        rows.append(statistic(title, float(share)))
    return rows


def _own_dataset(
    settings: LmGeometrySettings, vectors: np.ndarray, models: np.ndarray, datasets: np.ndarray, reason: str
) -> list[dict[str, object]]:
    """Share of models whose nearest model of another architecture is of their dataset, beside what needs no vector.

    A dataset whose label strings no other has is found by these strings alone; the last two statistics are of the
    models of the other datasets. reason: why there is nothing to compare; empty otherwise.
    """
    labels = [settings.labels[name] for name in datasets]
    forms = sorted(set(labels))
    strings = np.array([forms.index(each) for each in labels])
    across = label_shared_across(vectors, datasets, models)
    if not reason and np.isnan(across.value):
        reason = "no dataset has vectors of two models"
    by_strings = label_shared_by_strings(datasets, models, strings)
    several = by_strings < 1  # NaN is not
    left = label_shared_across(vectors, datasets, models, several)
    title = "own dataset nearest among other models"
    ambiguous = "own dataset nearest where datasets share label strings"
    none = reason or ("" if several.any() else "no two datasets have the same label strings")
    known = by_strings[~np.isnan(by_strings)]
    return [
        statistic(title, across.value, reason),
        statistic(f"{title}, by chance", across.chance, reason),
        statistic(f"{title}, by label strings alone", known.mean() if len(known) else np.nan, reason),
        statistic(ambiguous, left.value, none),
        statistic(f"{ambiguous}, by these alone", by_strings[several].mean() if several.any() else np.nan, none),
    ]


def lm_geometry(settings: LmGeometrySettings, *, files: Sequence[Path], statistics: Path, coordinates: Path) -> None:
    """Write the coordinates and statistics of the fine-tuned models, computed by `geometry_step.locate_all`."""

    def describe(dataset: str) -> dict[str, object]:
        entry = settings.datasets[dataset]
        return {"dataset": dataset, "title": entry.title, "class": entry.group}

    points, rows = locate_all(files, settings.seed, describe, partial(_statistics, settings))
    order = {name: place for place, name in enumerate((*settings.models, *settings.datasets))}
    points = points.sort_values(
        ["method", "view", "model", "dataset"],
        key=lambda column: column.map(order) if column.name in ("model", "dataset") else column,
        kind="stable",
    )
    seeds = {"tsne": settings.seed}
    with Step(__name__, settings=settings.model_dump(), inputs=files, seeds=seeds) as step:
        step.csv(coordinates, points)
        step.csv(statistics, rows)
