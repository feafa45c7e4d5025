"""Tests with planted black boxes: is the order that was made found, and is it found more often than by chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from fute.evaluation.correlation import unit_ranks
from fute.evaluation.permutation import orders_of, spearman_test, tails
from fute.evaluation.resampling import bootstrap_counts, interval

NORMAL_975 = 1.959964


class Outcome(NamedTuple):
    """A measure, its 95 % interval, what chance gives, and the one-sided p-value of chance doing at least as well."""

    value: float
    lo: float
    hi: float
    chance: float
    p: float


NOTHING = Outcome(*[float("nan")] * 5)


def ladder_test(qualities: Sequence[ArrayLike], similarities: Sequence[ArrayLike], seed: int = 42) -> Outcome:
    """Mean Spearman correlation of quality and similarity over ladders of T boxes each.

    qualities, similarities: for each ladder (T,). One permutation of the T places serves all ladders; it is exact for
    T up to 7. NaN throughout if a similarity is not finite, or the numbers of a ladder are all equal.
    """
    each = (unit_ranks(qualities) * unit_ranks(similarities)).sum(1)
    if np.isnan(each).any():
        return NOTHING
    lo, hi = spearman_interval(each, len(np.asarray(qualities[0])))
    return Outcome(float(each.mean()), lo, hi, 0.0, spearman_test(qualities, similarities, seed=seed).better)


def spearman_interval(correlations: ArrayLike, n: int) -> tuple[float, float]:
    """Approximate 95 % interval of the mean of Spearman correlations, each of n boxes; NaN for n under 4.

    Fisher's z with the variance (1 + r^2/2) / (n - 3) of Bonett and Wright (2000), Psychometrika 65:23. A correlation
    of 1 or -1 counts as half a step less, where a step, 12 / (n (n^2 - 1)), is what exchanging two neighbours takes
    away: otherwise a perfect order of four boxes would have an interval without width.
    """
    r = np.atleast_1d(np.asarray(correlations, dtype=float))
    if n < 4:
        return float("nan"), float("nan")
    most = 1 - 6 / (n * (n * n - 1))
    z = np.arctanh(np.clip(r, -most, most)).mean()
    error = math.sqrt(((1 + r**2 / 2) / (n - 3)).sum()) / len(r)
    lo, hi = (math.tanh(z + sign * NORMAL_975 * error) for sign in (-1, 1))
    return min(lo, float(r.mean())), max(hi, float(r.mean()))


def own_ranks(similarities: ArrayLike) -> NDArray[np.float64]:
    """Rank of every box for every target, (targets, boxes); 1 is the most similar, equal ones share their mean rank."""
    return rankdata(-np.asarray(similarities, dtype=float), axis=1)


def retrieval_test(similarities: ArrayLike, draws: int = 1000, seed: int = 42) -> dict[str, Outcome]:
    """Test if targets find their own boxes. similarities: (N, N), target by box; the own ones on the diagonal.

    `top-1` is the share of targets whose own box is the most similar one (with Wilson's interval), `mrr` the mean
    reciprocal rank (with a bootstrap over targets). One permutation of the boxes' names serves all targets.
    """
    table = np.asarray(similarities, dtype=float)
    n = len(table)
    if not np.isfinite(table).all():
        return {"top-1": NOTHING, "mrr": NOTHING}
    orders, exact = orders_of(n, seed=seed)
    ranks = own_ranks(table)
    measures = {"top-1": (ranks == 1).astype(float), "mrr": 1 / ranks}
    counts = bootstrap_counts(n, draws, seed)
    results = {}
    for name, measure in measures.items():
        own = np.diag(measure)
        null = measure[np.arange(n), orders].mean(1)
        ends = interval((counts @ own / n)[None])
        lo, hi = wilson(float(own.mean()), n) if name == "top-1" else (float(ends["lo"][0]), float(ends["hi"][0]))
        p = tails(float(own.mean()), null, exact=exact).better
        results[name] = Outcome(float(own.mean()), lo, hi, float(measure.mean()), p)
    return results


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval (1927, score interval) of a share, in [0, 1], of n."""
    square = NORMAL_975**2 / n
    centre = (share + square / 2) / (1 + square)
    half = NORMAL_975 / (1 + square) * math.sqrt(share * (1 - share) / n + square / (4 * n))
    return max(0.0, centre - half), min(1.0, centre + half)
