"""Compare every MTE with every DTE by cosine (LLM experiment), and compute the controls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from fute import paths
from fute.artifacts import Step
from fute.config.sections import Section
from fute.embeddings.similarity import cosine_around, largest_entry_share, task2vec_similarity
from fute.embeddings.vectors import (
    LABELCOV,
    Embedding,
    centred_cosine,
    cosine,
    in_one_space,
    load,
    sqrt_cosine,
    tensor_mean_cosine,
)
from fute.evaluation.controls import null_comparison, order_noise
from fute.evaluation.correlation import spearman
from fute.specs.embeddings import variants_of

LETTERS = "abc"
"""Variant whose labels are written A, B, C."""


class SimilaritySettings(Section):
    """Settings of step `similarities`.

    other_models: method -> model, if its vectors are not made with the surrogate. prompts, datasets: ids by category.
    variants: of the controls.
    """

    surrogate: str
    other_models: dict[str, str] = Field({})
    methods: tuple[str, ...]
    models: tuple[str, ...]
    prompts: dict[str, tuple[str, ...]]
    datasets: dict[str, tuple[str, ...]]
    control_methods: tuple[str, ...]
    variants: tuple[str, ...]


GATE_FIGURES = ("held_out_loss", "prior_loss", "held_out_accuracy", "needed_accuracy")
"""Figures of a vector's gate that stand beside its similarities."""
CONTROLS = (
    "sd_prompts", "sd_order_noise", "order_df", "order_f", "order_p", "verdict", "null_mean", "null_max",
    "null_sd_prompts",
    "share_above_null", "null_spearman", "abc_spearman", "norm_spearman",
)  # fmt: skip
"""Columns of controls.csv with the values of `_controls`."""


def gate_columns(kind: str, vector: Embedding) -> dict[str, Any]:
    """The columns of a vector's gate: `{kind}_learned` is `yes`, `no`, or empty for a vector without a gate.

    The others (`GATE_FIGURES`) are of its held-out pairs, losses in nats, accuracies in [0, 1]; NaN if not measured.
    """
    gate = vector.meta.get("gate")
    row = {f"{kind}_learned": "" if not gate else "yes" if gate["learned"] else "no"}
    for name in GATE_FIGURES:
        value = gate[name] if gate else None
        row[f"{kind}_{name}"] = np.nan if value is None else value
    return row


def similarity_row(
    mte: Embedding, dte: Embedding, *, candidates: np.ndarray | None = None, nulls: np.ndarray | None = None
) -> dict[str, Any]:
    """Cosine of an MTE and a DTE, and variants of it; NaN for a variant that the method does not have.

    candidates, nulls: centres (d,), the mean of the MTEs that are chosen from, and of MTEs of permuted labels.

    Columns: `centred_cosine` (around TuPaTE's start), `candidates_cosine` and `nulls_cosine` (around these centres),
    `tensor_mean_cosine`, `sqrt_cosine`, `task2vec_cosine`, and `largest_entry`, the share of TaskEmb's raw cosine that
    one entry carries. `unknown_tokens` is the larger share of tokens that the surrogate did not know, of the two sets
    of pairs. `mte_learned` and `dte_learned` say whether their surrogates did (`gate_columns`).
    """
    row = {"cosine": similarity(mte, dte), "centred_cosine": np.nan, "distance": np.nan,
           "candidates_cosine": np.nan, "nulls_cosine": np.nan, "tensor_mean_cosine": np.nan, "sqrt_cosine": np.nan,
           "task2vec_cosine": np.nan, "largest_entry": np.nan}  # fmt: skip
    row |= gate_columns("mte", mte) | gate_columns("dte", dte)
    for name, centre in (("candidates_cosine", candidates), ("nulls_cosine", nulls)):
        if centre is not None:
            row[name] = 0.0 if _without_vector(mte, dte) else cosine_around(mte.vector, dte.vector, centre)
    row["unknown_tokens"] = max(vector.meta["unknown_tokens"] for vector in (mte, dte))
    if mte.method == LABELCOV:
        row["no_vector"] = mte.meta.get("no_vector") or dte.meta.get("no_vector") or ""
    if mte.init is not None:
        row["centred_cosine"] = centred_cosine(mte, dte)
        row["distance"] = mte.meta["relative_distance"]
    if mte.segments:
        row["tensor_mean_cosine"] = tensor_mean_cosine(mte, dte)
    if mte.method == "taskemb":
        row["sqrt_cosine"] = sqrt_cosine(mte, dte)
        row["task2vec_cosine"] = task2vec_similarity(mte.vector, dte.vector)
        row["largest_entry"] = largest_entry_share(mte.vector, dte.vector)
    return row


def similarity(mte: Embedding, dte: Embedding) -> float:
    """Cosine of an MTE and a DTE; 0 where LabelCov has no vector, as there is no covariance that could agree."""
    return 0.0 if _without_vector(mte, dte) else cosine(mte, dte)


def _without_vector(*embeddings: Embedding) -> bool:
    return any("no_vector" in embedding.meta for embedding in embeddings)


def centre_of(embeddings: Collection[Embedding]) -> np.ndarray | None:
    """Mean of vectors (d,), in fp64; None for fewer than two, which leave no differences."""
    vectors = [embedding.vector.astype(np.float64) for embedding in embeddings if not _without_vector(embedding)]
    return np.mean(vectors, axis=0) if len(vectors) > 1 else None


def _cosines(vectors: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosine of every row of vectors (n, d) with other (d,); 0 for a vector of zeros."""
    vectors, other = vectors.astype(np.float64), other.astype(np.float64)
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(other)
    return np.divide(vectors @ other, norms, out=np.zeros(len(vectors)), where=norms > 0)


def loader(files: Sequence[Path]) -> Callable[[str], Embedding]:
    """A function that loads one of these files by its path. It raises ValueError for any other path."""
    given = {path.as_posix() for path in files}

    def get(path: str) -> Embedding:
        if path not in given:
            raise ValueError(f"{path} is not among the files of this step")
        return load(Path(path))

    return get


def similarities(settings: SimilaritySettings, *, files: Sequence[Path], cosines: Path, controls: Path) -> None:
    """Write similarities.csv and controls.csv.

    cosines: one row per (MTE, DTE) of one category, with the cosines of its draws of permuted labels (`null-1`, ...)
    and of the one order that those are learned in (`one_order_cosine`). controls: one row per (method, model, dataset).
    files: the vectors, at their paths under `results/embeddings`. Raises ValueError if one is missing.
    """
    get = loader(files)
    rows, checks = [], []
    nulls = [name for name in settings.variants if name != LETTERS]
    for method in settings.methods:
        base = settings.other_models.get(method, settings.surrogate), method
        names = variants_of(method, settings.variants) if method in settings.control_methods else ()
        for category, datasets in settings.datasets.items():
            prompts = settings.prompts[category]
            for model in settings.models:
                mtes = {prompt: get(paths.mte(*base, model, prompt)) for prompt in prompts}
                variants = {
                    variant: {prompt: get(paths.control(*base, model, prompt, variant)) for prompt in prompts}
                    for variant in names
                }
                centres = {} if method == LABELCOV else _centres(mtes, variants)
                for dataset in datasets:
                    dte = get(paths.dte(*base, dataset))
                    lettered = get(paths.dte_control(*base, dataset, LETTERS)) if LETTERS in variants else None
                    own, others = mtes, variants
                    if method == LABELCOV:
                        own, others, dte = _in_one_space(mtes, variants, dte)
                        centres = _centres(own, others)
                    similar = [
                        similarity_row(own[prompt], dte, **centres) | _one_order(own[prompt], dte)
                        | {name: similarity(others[name][prompt], dte) if name in others else np.nan for name in nulls}
                        for prompt in prompts
                    ]  # fmt: skip
                    key = {"surrogate": base[0], "method": method, "model": model, "dataset": dataset}
                    rows += [
                        key | {"prompt": p, "category": category} | r for p, r in zip(prompts, similar, strict=True)
                    ]
                    dealt = nulls if names else []
                    checks.append(key | _controls(own, others, dte, lettered, similar, dealt))
    with Step(__name__, settings=settings.model_dump(), inputs=files) as step:
        step.csv(cosines, rows)
        step.csv(controls, checks)


def _one_order(mte: Embedding, dte: Embedding) -> dict[str, float]:
    """Cosine of the first order seed alone, with which permuted labels are learned."""
    return {"one_order_cosine": float(_cosines(mte.orders[:1], dte.vector)[0])}


def _centres(mtes: dict[str, Embedding], variants: dict[str, dict[str, Embedding]]) -> dict[str, np.ndarray | None]:
    """The centres that `similarity_row` takes."""
    nulls = [mte for draw in _null_draws(variants) for mte in draw.values()]
    return {"candidates": centre_of(mtes.values()), "nulls": centre_of(nulls)}


def _null_draws(variants: dict[str, dict[str, Embedding]]) -> list[dict[str, Embedding]]:
    """The MTEs of permuted labels by prompt, for each draw of the permutation."""
    return [mtes for name, mtes in variants.items() if name != LETTERS]


def _in_one_space(
    mtes: dict[str, Embedding], variants: dict[str, dict[str, Embedding]], dte: Embedding
) -> tuple[dict[str, Embedding], dict[str, dict[str, Embedding]], Embedding]:
    """The same, as vectors that are compared by one measure: all that one target is compared with."""
    every = [dte, *mtes.values(), *(vector for each in variants.values() for vector in each.values())]
    placed = iter(in_one_space(every))
    dte = next(placed)
    mtes = {prompt: next(placed) for prompt in mtes}
    return mtes, {name: {prompt: next(placed) for prompt in each} for name, each in variants.items()}, dte


def _controls(
    mtes: dict[str, Embedding],
    variants: dict[str, dict[str, Embedding]],
    dte: Embedding,
    lettered: Embedding | None,
    similar: list[dict[str, float]],
    nulls: Sequence[str],
) -> dict[str, object]:
    """Controls of the ranking of these prompts for one target; NaN or empty for a control that was not made.

    lettered: the DTE of labels that are written A, B, C, for the MTEs that are. similar: rows of the prompts. nulls:
    those of their columns that hold draws of permuted labels.
    """
    result: dict[str, object] = dict.fromkeys(CONTROLS, np.nan) | {"verdict": ""}
    if len(mtes) < 2:
        return result  # one prompt has no ranking
    values = np.array([row["cosine"] for row in similar])
    orders = [mte.orders for mte in mtes.values()]
    if all(len(each) > 1 for each in orders):
        result |= order_noise(values, np.stack([_cosines(each, dte.vector) for each in orders]))
    firsts = np.array([row["one_order_cosine"] for row in similar])
    if nulls:
        result |= null_comparison(firsts, [[row[name] for name in nulls] for row in similar])
    if lettered is not None:
        result["abc_spearman"] = spearman(firsts, [cosine(variants[LETTERS][prompt], lettered) for prompt in mtes])
    distances = np.array([row["distance"] for row in similar])
    if np.isfinite(distances).all():
        # near 1 or -1 the ranking shows how far training moved the vectors, not in which direction
        result["norm_spearman"] = spearman(values, distances)
    return result
