"""Scores of every (source, target) from vectors of labelled datasets; higher is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from fute.embeddings.vectors import Embedding, cosine
from fute.evaluation.fusion import reciprocal_rank_fusion
from fute.evaluation.transfer_matrix_step import TransferDataset, in_class, sources_of

Pairs = dict[tuple[str, str], float]
"""(source, target) -> score."""


def vector_cosines(vectors: Mapping[str, Embedding], datasets: Mapping[str, TransferDataset]) -> Pairs:
    """Cosine of the vectors of each (source, target). Raises EmbeddingError for vectors of different bases."""
    return {
        (source, target): cosine(vectors[source], vectors[target])
        for target in datasets
        for source in sources_of(target, datasets)
    }


def fused_cosines(
    cosines: Iterable[NDArray[np.float64]], names: tuple[str, ...], datasets: Mapping[str, TransferDataset], *,
    within_class: bool = False,
) -> Pairs:  # fmt: skip
    """Fuse the rankings of a target's sources by all components into one score per source (Vu et al., EMNLP 2020).

    The score is reciprocal rank fusion. cosines: one (n, n) array per component, between the datasets `names`.
    within_class: rank only sources of the target's class; a fused ranking of some sources is not a part of the fused
    ranking of all. A source without a cosine is last in that component's ranking (its model lacks the component: a
    span model of BERT has no pooler). If the target lacks the component, all sources tie.
    """
    place = {name: index for index, name in enumerate(names)}
    components = [np.where(np.isnan(matrix), -np.inf, matrix) for matrix in cosines]
    scores: Pairs = {}
    for target in datasets:
        sources = sources_of(target, datasets)
        if within_class:
            sources = tuple(source for source in sources if in_class(source, target, datasets))
        columns = [place[source] for source in sources]
        fused = reciprocal_rank_fusion([matrix[place[target], columns] for matrix in components])
        scores |= {(source, target): float(score) for source, score in zip(sources, fused, strict=True)}
    return scores
