"""Fusion of several rankings into one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def reciprocal_rank_fusion(rankings: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Sum over rankings of 1 / (60 + rank) (Cormack et al., SIGIR 2009, with their constant).

    rankings: one array of scores (p,) per ranking; higher is ranked first, ties get their average rank. Returns scores
    (p,), higher is better.
    """
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(-np.asarray(scores, dtype=float)) for scores in rankings])
    return (1 / (60 + ranks)).sum(axis=0)
