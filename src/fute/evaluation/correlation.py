"""Spearman's rank correlation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def finite_pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two (n,) arrays of one length n >= 1; ValueError for other shapes, or for values that are not finite."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise ValueError(f"expected two 1-D arrays of one length, got shapes {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("values must be finite")
    return a, b


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman correlation of two (n,) arrays; NaN where one of them is constant or n < 2.

    Raises ValueError as `finite_pair`.
    """
    a, b = finite_pair(a, b)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def unit_ranks(values: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Ranks of each row of (K, n) numbers, centred and of unit length, so that Spearman's correlation is a dot product.

    NaN throughout a row that is constant or holds a value that is not finite.
    """
    from scipy.stats import rankdata

    rows = np.array(values, dtype=float)
    ranks = rankdata(rows, axis=1) - (rows.shape[1] + 1) / 2
    norms = np.linalg.norm(ranks, axis=1)
    usable = np.isfinite(rows).all(1) & (norms > 0)
    return np.divide(ranks, norms[:, None], out=np.full(rows.shape, np.nan), where=usable[:, None])
