"""Score every source for every target by the baselines of Tables 1 and 2; higher is better.

This file defines DataSize and CurveGrad. TextEmb, TaskEmb and TuPaTE compare vectors (`fute.baselines.similarity`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fute.artifacts import Step
from fute.baselines.components import component_cosines
from fute.baselines.similarity import Pairs, fused_cosines, vector_cosines
from fute.config.lm_baselines import LM_BASELINES, OF_MODELS, PAPER_LM_BASELINES, VECTORS, LmBaseline
from fute.config.sections import Section
from fute.csv_files import read_table
from fute.embeddings.vectors import load
from fute.evaluation.transfer_matrix_step import TransferDataset, in_class, sources_of

COLUMNS = ["model", "method", "source", "target", "score", "in_class"]
PLACES = (0.1, 0.2, 0.3, 0.5, 0.7)
"""Shares of the training steps where the gradient of a loss curve is taken (Bingel & Soegaard, EACL 2017)."""
DECAY = 0.98
"""Decay of the moving average over steps; the losses of single batches are too noisy for differences."""


class LmBaselineSettings(Section):
    """Settings of step `lm_baselines`.

    model: the model of the curves and vectors. methods: baselines. datasets: by id, in the order of the tables.
    sizes: training rows by source, in thousands, as given in the transfer literature; None: rows are counted.
    """

    model: str
    methods: tuple[LmBaseline, ...] = tuple(PAPER_LM_BASELINES)
    datasets: dict[str, TransferDataset]
    sizes: dict[str, float] | None = None


def smoothed(losses: ArrayLike, decay: float = DECAY) -> NDArray[np.float64]:
    """Exponential moving average (n,) of losses (n,), starting at the first loss."""
    averages = np.array(losses, dtype=float)
    for step in range(1, len(averages)):
        averages[step] = decay * averages[step - 1] + (1 - decay) * averages[step]
    return averages


def curve_gradients(losses: ArrayLike, decay: float = DECAY) -> NDArray[np.float64]:
    """Gradients (5,) of the smoothed loss, per step, at 10, 20, 30, 50 and 70 % of the steps.

    These are central differences at the nearest step with a neighbour on both sides. Raises ValueError for fewer than
    three losses.
    """
    values = smoothed(losses, decay)
    if len(values) < 3:
        raise ValueError(
            f"a loss curve of {len(values)} steps has no central difference; train for at least three steps"
        )
    places = np.clip(np.rint(np.array(PLACES) * (len(values) - 1)).astype(int), 1, len(values) - 2)
    return (values[places + 1] - values[places - 1]) / 2


def data_size(sizes: Mapping[str, float], datasets: Mapping[str, TransferDataset]) -> dict[tuple[str, str], float]:
    """(source, target) -> size of the source's training set, the same for all targets (Vu et al., EMNLP 2020)."""
    return {(source, target): float(sizes[source]) for target in datasets for source in sources_of(target, datasets)}


def curve_grad(
    gradients: Mapping[str, ArrayLike], datasets: Mapping[str, TransferDataset]
) -> dict[tuple[str, str], float]:
    """(source, target) -> cosine of the gradients (5,) of their loss curves.

    NaN between the classes and for domain targets, where the paper has no value: losses of different heads are not
    comparable, and a domain target chooses among both classes. How the paper turns gradients into a ranking is not
    published; the cosine is our choice.
    """
    scores = {}
    for target in datasets:
        for source in sources_of(target, datasets):
            same = in_class(source, target, datasets)
            scores[source, target] = _cosine(gradients[source], gradients[target]) if same else float("nan")
    return scores


def _cosine(a: ArrayLike, b: ArrayLike) -> float:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else float("nan")


def training_rows(counts: Mapping[str, Any]) -> int:
    """Number of training rows of a dataset from its `counts.json`, including those held out for early stopping."""
    return counts["train"]["kept"] + counts["dev"].get("kept", 0)


def lm_baselines(
    settings: LmBaselineSettings, *, curves: Mapping[str, Path], counts: Mapping[str, Path],
    vectors: Mapping[str, Path], output: Path, fits: Path | None = None,
) -> None:  # fmt: skip
    """Write one row per (method, source, target): model, method, source, target, score, in_class.

    in_class: the score among the sources of the target's class alone; NaN if the source is not one of them. It differs
    from `score` only for TaskEmb, which fuses rankings.
    curves: `{dataset}.curve.json` by source, for CurveGrad. counts: `counts.json` by source, for DataSize if `sizes` is
    None. vectors: files of `fute.baselines.embed_dataset_step` by `{method}:{dataset}`. fits: what
    `fute.baselines.score_sources_step` wrote, for the baselines that score sources' fine-tuned models.
    Raises ValueError for a method without its files.
    """
    rows, fitted = [], read_table(fits) if fits else None
    for method in settings.methods:
        files = _files(method, settings.datasets, vectors) if method in VECTORS else {}
        if method == "taskemb":
            cosines = [matrix for _, matrix in component_cosines(files)]
            scores, class_scores = (
                fused_cosines(cosines, tuple(files), settings.datasets, within_class=within) for within in (False, True)
            )
        else:
            scores = class_scores = _scores(method, settings, curves, counts, files, fitted)
        for (source, target), score in scores.items():
            row = {"model": settings.model, "method": LM_BASELINES[method], "source": source, "target": target}
            same = in_class(source, target, settings.datasets)
            rows.append(row | {"score": score, "in_class": class_scores[source, target] if same else float("nan")})
    inputs = [*curves.values(), *counts.values(), *vectors.values(), *([fits] if fits else [])]
    with Step(__name__, settings=settings.model_dump(), inputs=inputs) as step:
        step.csv(output, rows, COLUMNS)


def _files(method: LmBaseline, datasets: Iterable[str], vectors: Mapping[str, Path]) -> dict[str, Path]:
    """The vectors of one method, by dataset."""
    if missing := sorted(name for name in datasets if f"{method}:{name}" not in vectors):
        raise ValueError(f"no vector {method}:{missing[0]} is among the files of this step")
    return {name: vectors[f"{method}:{name}"] for name in datasets}


def _scores(
    method: LmBaseline, settings: LmBaselineSettings, curves: Mapping[str, Path], counts: Mapping[str, Path],
    vectors: Mapping[str, Path], fits: pd.DataFrame | None,
) -> Pairs:  # fmt: skip
    """Scores of a method whose score of a pair does not depend on other sources.

    vectors: the method's files by dataset. fits: table of the step `score_sources`; NaN where a method has no score.
    """
    if method == "datasize":
        contents = {name: json.loads(path.read_text(encoding="utf8")) for name, path in counts.items()}
        sizes = settings.sizes or {name: training_rows(content) for name, content in contents.items()}
        return data_size(sizes, settings.datasets)
    if method == "curvegrad":
        losses = {name: json.loads(path.read_text(encoding="utf8"))["losses"] for name, path in curves.items()}
        return curve_grad({name: curve_gradients(values) for name, values in losses.items()}, settings.datasets)
    if method in OF_MODELS:
        if fits is None:
            raise ValueError(f"baseline {method} needs the scores of the step score_sources: give --fits")
        return {(row["source"], row["target"]): float(row[method]) for row in fits.to_dict("records")}
    return vector_cosines({name: load(path) for name, path in vectors.items()}, settings.datasets)
