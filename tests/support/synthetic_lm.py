"""The language-model experiment on made-up numbers: the matrix in tests/data/synthetic-lm, and what goes with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from fute.evaluation.transfer_matrix_step import TransferDataset, in_class, read_matrix, sources_of

FOLDER = Path(__file__).parents[1] / "data/synthetic-lm"
DATASETS = {
    **{f"cr-{name}": TransferDataset(title=f"CR {name.upper()}", group="cr") for name in "abcd"},
    **{f"qa-{name}": TransferDataset(title=f"QA {name.upper()}", group="qa") for name in "abc"},
    "fin-a": TransferDataset(title="Fin A", group="cr", domain="finance"),
    "med-a": TransferDataset(title="Med A", group="cr", domain="medical"),
}
MODELS = ("m-one", "m-two")
PAIRS = [(source, target) for target in DATASETS for source in sources_of(target, DATASETS)]


def transfer(seeds: int = 2) -> pd.DataFrame:
    """Two models; every further seed moves the scores of the runs above the baseline by up to 2 points."""
    rng = np.random.default_rng(5)
    frames = []
    for model in MODELS:
        read = read_matrix(FOLDER / "matrix.csv", model=model, datasets=DATASETS)
        for seed in range(seeds):
            frame = read.assign(seed=seed)
            moved = (frame["target"] != "cr-d") & ((seed > 0) | (model != MODELS[0]))
            frame["score"] += np.where(moved, rng.integers(-20, 21, len(frame)) / 10, 0)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


GATE = {
    f"{kind}_{name}": value
    for kind in ("mte", "dte")
    for name, value in {
        "learned": "yes", "held_out_loss": 0.4, "prior_loss": 0.7, "held_out_accuracy": 0.8, "needed_accuracy": 0.6,
    }.items()
}  # fmt: skip
"""Columns of a similarity whose two vectors learned."""


def similarities() -> pd.DataFrame:
    rng = np.random.default_rng(6)
    rows = []
    for method in ("taskemb", "tupate"):
        for model in MODELS:
            for source, target in PAIRS:
                own = {"centred_cosine": np.nan, "tensor_mean_cosine": np.nan, "sqrt_cosine": np.nan,
                       "candidates_cosine": np.nan, "nulls_cosine": np.nan, "task2vec_cosine": np.nan}  # fmt: skip
                own["centred_cosine" if method == "tupate" else "tensor_mean_cosine"] = rng.random()
                rows.append({"surrogate": "s", "method": method, "model": model, "source": source, "target": target,
                             "cosine": rng.random(), "unknown_tokens": 0.0, **GATE, **own})  # fmt: skip
    return pd.DataFrame(rows)


def baselines() -> pd.DataFrame:
    """DataSize ranks the sources alike for every target; CurveGrad says nothing about sources of another class."""
    rng = np.random.default_rng(7)
    size = dict(zip(DATASETS, rng.integers(1, 600, len(DATASETS)), strict=True))
    rows = []
    for model in MODELS:
        for source, target in PAIRS:
            pair = {"model": model, "source": source, "target": target}
            same = DATASETS[source].group == DATASETS[target].group
            rows.append({"method": "DataSize", **pair, "score": float(size[source])})
            rows.append({"method": "CurveGrad", **pair, "score": rng.random() if same else np.nan})
            rows.append({"method": "TuPaTE", **pair, "score": rng.random()})
    frame = pd.DataFrame(rows)
    same = [in_class(source, target, DATASETS) for source, target in zip(frame["source"], frame["target"], strict=True)]
    return frame.assign(in_class=frame["score"].where(same))
