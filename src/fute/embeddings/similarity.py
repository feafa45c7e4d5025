"""Similarities beside the raw cosine, between plain vectors (d,) of one basis.

Vectors of one surrogate share most of what they are. What tells the candidates apart is little beside it, and which
candidate is nearest by raw cosine may be decided by what none of them learned. Hence the cosine around a centre, the
mean of the candidates or of vectors that learned from permuted labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROUNDING = 1e-12
"""A difference below this share of a centre is one of rounding."""


def cosine_around(a: ArrayLike, b: ArrayLike, centre: ArrayLike) -> float:
    """Cosine of a - centre and b - centre, all (d,); NaN if one of them is zero but for rounding, as for a single
    candidate.

    Raises ValueError for other shapes, and for values that are not finite.
    """
    a, b, centre = _vectors(a, b, centre)
    around = a - centre, b - centre
    if min(map(np.linalg.norm, around)) <= ROUNDING * np.linalg.norm(centre):
        return float("nan")
    return _cosine(*around)


def task2vec_similarity(a: ArrayLike, b: ArrayLike) -> float:
    """Cosine of a / (a + b) and b / (a + b), elementwise, of two diagonals of Fisher information (d,), as in task2vec.

    Every entry counts alike, however large it is; entries that are 0 in both count as 0. Source: Achille et al. (2019),
    Task2Vec, ICCV. NaN for a vector of zeros. Raises ValueError for negative entries, other shapes, and values that are
    not finite.
    """
    a, b = _vectors(a, b)
    if min(a.min(), b.min()) < 0:
        raise ValueError("a diagonal of Fisher information has no negative entries; use the cosine for other vectors")
    total = a + b
    share = np.divide(a, total, out=np.zeros_like(a), where=total > 0)
    return _cosine(share, np.where(total > 0, 1 - share, 0.0))


def largest_entry_share(a: ArrayLike, b: ArrayLike) -> float:
    """Share of the dot product of two vectors (d,) without negative entries that the largest of its terms carries.

    A cosine of which one entry carries nearly all is a comparison of two numbers. NaN if the product is 0.
    """
    terms = np.asarray(a, dtype=np.float64) * np.asarray(b, dtype=np.float64)
    total = terms.sum()
    return float(terms.max() / total) if total > 0 else float("nan")


def _vectors(*arrays: ArrayLike) -> list[NDArray[np.float64]]:
    """The arrays in fp64, all (d,) with d > 0. Raises ValueError for others, and for values that are not finite."""
    vectors = [np.asarray(each, dtype=np.float64) for each in arrays]
    if len({each.shape for each in vectors}) > 1 or vectors[0].ndim != 1 or not vectors[0].size:
        raise ValueError(f"vectors must be 1-D and of one length, got {', '.join(str(each.shape) for each in vectors)}")
    if not all(np.isfinite(each).all() for each in vectors):
        raise ValueError("a vector holds values that are not finite, so there is no similarity; learn it again")
    return vectors


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.clip(a @ b / norms, -1.0, 1.0)) if norms > 0 else float("nan")
