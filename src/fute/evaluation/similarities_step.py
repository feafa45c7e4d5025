"""Compare every MTE with every DTE by cosine (LLM experiment), and compute the controls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from fute import paths
from fute.artifacts import Step
from fute.embeddings.vectors import (
    Embedding,
    centred_cosine,
    cosine,
    load,
    sqrt_cosine,
    tensor_mean_cosine,
)
from fute.evaluation.controls import norm_confound, null_comparison, separation
from fute.evaluation.correlation import spearman


class SimilaritySettings(BaseModel):
    """Settings of step `similarities`. prompts, datasets: ids by category. variants: of the controls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    surrogate: str
    methods: tuple[str, ...]
    models: tuple[str, ...]
    prompts: dict[str, tuple[str, ...]]
    datasets: dict[str, tuple[str, ...]]
    control_methods: tuple[str, ...]
    variants: tuple[str, ...]


GATE_FIGURES = ("held_out_loss", "prior_loss", "held_out_accuracy", "needed_accuracy")
"""Figures of a vector's gate that stand beside its similarities."""


def gate_columns(kind: str, vector: Embedding) -> dict[str, Any]:
    """Whether a vector's surrogate learned its task: `yes`, `no`, or nothing for a vector that has no gate.

    Also, on its held-out pairs, the loss and that of the label prior, the accuracy and what was needed; NaN if not
    measured.
    """
    gate = vector.meta.get("gate")
    row = {f"{kind}_learned": "" if not gate else "yes" if gate["learned"] else "no"}
    for name in GATE_FIGURES:
        value = gate[name] if gate else None
        row[f"{kind}_{name}"] = np.nan if value is None else value
    return row


def similarity_row(mte: Embedding, dte: Embedding) -> dict[str, Any]:
    """Cosine of an MTE and a DTE, and variants of it; NaN for a variant that the method does not have.

    `mte_learned` and `dte_learned` say whether their surrogates did (`gate_columns`).
    `unknown_tokens` is the larger share of tokens that the surrogate did not know, of the two sets of pairs.
    """
    row = {"cosine": cosine(mte, dte), "centred_cosine": np.nan, "distance": np.nan,
           "tensor_mean_cosine": np.nan, "sqrt_cosine": np.nan}  # fmt: skip
    row |= gate_columns("mte", mte) | gate_columns("dte", dte)
    row["unknown_tokens"] = max(vector.meta["unknown_tokens"] for vector in (mte, dte))
    if mte.init is not None:
        row["centred_cosine"] = centred_cosine(mte, dte)
        row["distance"] = mte.meta["relative_distance"]
    if mte.segments:
        row["tensor_mean_cosine"] = tensor_mean_cosine(mte, dte)
    if mte.method == "taskemb":
        row["sqrt_cosine"] = sqrt_cosine(mte, dte)
    return row


def _cosines(vectors: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosine of every row of vectors (n, d) with other (d,)."""
    vectors, other = vectors.astype(np.float64), other.astype(np.float64)
    return vectors @ other / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(other))


def similarities(settings: SimilaritySettings, *, files: Sequence[Path], cosines: Path, controls: Path) -> None:
    """Write similarities.csv and controls.csv.

    cosines: one row per (MTE, DTE) of one category. controls: one row per (method, model, dataset).
    files: the vectors, at their paths under `results/embeddings`. Raises ValueError if one is missing.
    """
    given = {path.as_posix() for path in files}

    def get(path: str) -> Embedding:
        if path not in given:
            raise ValueError(f"{path} is not among the files of this step")
        return load(Path(path))

    rows, checks = [], []
    for method in settings.methods:
        base = settings.surrogate, method
        for category, datasets in settings.datasets.items():
            prompts = settings.prompts[category]
            for model in settings.models:
                mtes = {prompt: get(paths.mte(*base, model, prompt)) for prompt in prompts}
                variants = {
                    variant: {prompt: get(paths.control(*base, model, prompt, variant)) for prompt in prompts}
                    for variant in (settings.variants if method in settings.control_methods else ())
                }
                for dataset in datasets:
                    dte = get(paths.dte(*base, dataset))
                    similar = [similarity_row(mtes[prompt], dte) for prompt in prompts]
                    key = {
                        "surrogate": settings.surrogate,
                        "method": method,
                        "model": model,
                        "dataset": dataset,
                    }
                    rows += [
                        key | {"prompt": p, "category": category} | r for p, r in zip(prompts, similar, strict=True)
                    ]
                    checks.append(key | _controls(mtes, variants, dte, similar))
    inputs = list(files)
    with Step(__name__, settings=settings.model_dump(), inputs=inputs) as step:
        step.csv(cosines, rows)
        step.csv(controls, checks)


def _controls(
    mtes: dict[str, Embedding],
    variants: dict[str, dict[str, Embedding]],
    dte: Embedding,
    similar: list[dict[str, float]],
) -> dict[str, object]:
    """Controls of the ranking of these prompts for one target; NaN or empty for a control that was not made."""
    values = np.array([row["cosine"] for row in similar])
    result: dict[str, object] = {}
    orders = [m.orders for m in mtes.values()]
    if len(values) > 1 and all(len(o) > 1 for o in orders):
        result |= separation(values, np.stack([_cosines(o, dte.vector) for o in orders]))
    # controls are made with the first order seed only
    firsts = np.array([_cosines(o[:1], dte.vector)[0] for o in orders])
    nulls = {name: vectors for name, vectors in variants.items() if name.startswith("null-")}
    if nulls and len(values) > 1:
        null = np.array([[cosine(v[prompt], dte) for v in nulls.values()] for prompt in mtes])
        compared = null_comparison(firsts, null)
        result |= {
            "null_mean": compared["null_mean"],
            "null_max": float(null.max()),
            "null_sd_prompts": compared["null_sd_prompts"],
            "share_above_null": compared["share_above_null"],
            "null_spearman": compared["spearman_with_null"],
        }
    if "abc" in variants and len(values) > 1:
        abc = np.array([cosine(variants["abc"][prompt], dte) for prompt in mtes])
        result["abc_spearman"] = spearman(firsts, abc)
    distances = np.array([row["distance"] for row in similar])
    if len(values) > 1 and np.isfinite(distances).all():
        result["norm_spearman"] = norm_confound(values, distances)
    columns = ("sd_prompts", "sd_orders", "ratio", "verdict", "null_mean", "null_max", "null_sd_prompts",
               "share_above_null", "null_spearman", "abc_spearman", "norm_spearman")  # fmt: skip
    return {name: result.get(name, "" if name == "verdict" else np.nan) for name in columns}
