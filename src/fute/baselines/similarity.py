"""What vectors of labelled datasets say of every (source, target), higher is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from fute.embeddings import Embedding, cosine
from fute.evaluation.fusion import reciprocal_rank_fusion
from fute.evaluation.transfer_matrix_step import TransferDataset, in_class, sources_of

Pairs = dict[tuple[str, str], float]
"""(source, target) -> score."""


def vector_cosines(vectors: Mapping[str, Embedding], datasets: Mapping[str, TransferDataset]) -> Pairs:
    """Cosines of the datasets' vectors. Raises EmbeddingError for vectors of different bases."""
    return {
        (source, target): cosine(vectors[source], vectors[target])
        for target in datasets
        for source in sources_of(target, datasets)
    }


def fused_cosines(
    cosines: Iterable[NDArray[np.float64]], names: tuple[str, ...], datasets: Mapping[str, TransferDataset], *,
    within_class: bool = False,
) -> Pairs:  # fmt: skip
    """Reciprocal rank fusion of the rankings that each component gives a target's sources (Vu et al., EMNLP 2020).

    cosines: (n, n) a component, between the datasets `names`. within_class: rank those sources alone that are of the
    target's class; a fused ranking of some sources is not a part of that of all. A source without a cosine (its model
    lacks the component: a span model of BERT has no pooler) is last in that component's ranking; where the target
    lacks it, all sources tie.
    """
    place = {name: index for index, name in enumerate(names)}
    components = [np.where(np.isnan(matrix), -np.inf, matrix) for matrix in cosines]
    found: Pairs = {}
    for target in datasets:
        sources = sources_of(target, datasets)
        if within_class:
            sources = tuple(source for source in sources if in_class(source, target, datasets))
            if not sources:
                continue
        columns = [place[source] for source in sources]
        fused = reciprocal_rank_fusion([matrix[place[target], columns] for matrix in components])
        found |= {(source, target): float(score) for source, score in zip(sources, fused, strict=True)}
    return found
