"""Baselines of the language-model experiment that need no further training: DataSize and CurveGrad.

Both score every source for every target, higher is better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from fute.artifacts import Step
from fute.evaluation.steps import csv_bytes
from fute.evaluation.transfer_matrix import TransferDataset, sources_of

DATA_SIZE, CURVE_GRAD = "DataSize", "CurveGrad"
PLACES = (0.1, 0.2, 0.3, 0.5, 0.7)
"""Shares of the training steps at which a loss curve's gradient is taken (Bingel & Soegaard, EACL 2017)."""
DECAY = 0.98
"""Of the moving average over steps: single batches' losses are too noisy to take differences of."""


class LmBaselineSettings(BaseModel):
    """model: whose curves are read. datasets: by id, in the order of the tables. sizes: rows in thousands by source,
    as the transfer literature counts them; None: training rows are counted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    datasets: dict[str, TransferDataset]
    sizes: dict[str, float] | None = None


def smoothed(losses: ArrayLike, decay: float = DECAY) -> NDArray[np.float64]:
    """Exponential moving average (n,) of losses (n,), from the first of them on."""
    found = np.array(losses, dtype=float)
    for step in range(1, len(found)):
        found[step] = decay * found[step - 1] + (1 - decay) * found[step]
    return found


def curve_gradients(losses: ArrayLike, decay: float = DECAY) -> NDArray[np.float64]:
    """Gradients (5,) of the smoothed loss, per step, at 10, 20, 30, 50 and 70 % of the steps.

    Central differences, at the nearest step that has a neighbour on both sides. Raises ValueError for fewer than
    three losses.
    """
    values = smoothed(losses, decay)
    if len(values) < 3:
        raise ValueError(f"a loss curve of {len(values)} steps has no central difference; train for three at least")
    places = np.clip(np.rint(np.array(PLACES) * (len(values) - 1)).astype(int), 1, len(values) - 2)
    return (values[places + 1] - values[places - 1]) / 2


def data_size(sizes: Mapping[str, float], datasets: Mapping[str, TransferDataset]) -> dict[tuple[str, str], float]:
    """(source, target) -> size of the source's training set, whatever the target (Vu et al., EMNLP 2020)."""
    return {(source, target): float(sizes[source]) for target in datasets for source in sources_of(target, datasets)}


def curve_grad(
    gradients: Mapping[str, ArrayLike], datasets: Mapping[str, TransferDataset]
) -> dict[tuple[str, str], float]:
    """(source, target) -> cosine of the gradients (5,) of their loss curves.

    NaN between the classes and for domain targets, as the paper has no value there: losses of different heads are
    not comparable, and a domain target chooses among both classes. How the gradients become a ranking is not
    published; the cosine is ours.
    """
    found = {}
    for target, dataset in datasets.items():
        for source in sources_of(target, datasets):
            same = dataset.domain is None and datasets[source].group == dataset.group
            found[source, target] = _cosine(gradients[source], gradients[target]) if same else float("nan")
    return found


def _cosine(a: ArrayLike, b: ArrayLike) -> float:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else float("nan")


def training_rows(counts: Mapping[str, Any]) -> int:
    """Training rows of a dataset, those held out for early stopping included, from its `counts.json`."""
    return counts["train"]["kept"] + counts["dev"].get("kept", 0)


def lm_baselines(
    settings: LmBaselineSettings, *, curves: Mapping[str, Path], counts: Mapping[str, Path], output: Path
) -> None:
    """Write a row a method, source and target: model, method, source, target, score.

    curves: `{dataset}.curve.json` by source. counts: `counts.json` by source, read where `sizes` is None.
    """
    read = {name: json.loads(path.read_text(encoding="utf8")) for name, path in counts.items()}
    sizes = settings.sizes or {name: training_rows(content) for name, content in read.items()}
    losses = {name: json.loads(path.read_text(encoding="utf8"))["losses"] for name, path in curves.items()}
    gradients = {name: curve_gradients(values) for name, values in losses.items()}
    scores = {
        DATA_SIZE: data_size(sizes, settings.datasets),
        CURVE_GRAD: curve_grad(gradients, settings.datasets),
    }
    rows = [
        {"model": settings.model, "method": method, "source": source, "target": target, "score": score}
        for method, of_pairs in scores.items()
        for (source, target), score in of_pairs.items()
    ]
    inputs = [*curves.values(), *counts.values()]
    with Step("lm_baselines", module=__name__, settings=settings.model_dump(), inputs=inputs) as step:
        step.bytes(output, csv_bytes(pd.DataFrame(rows)), rows=len(rows))
