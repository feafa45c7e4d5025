"""How well the true order of candidates would score on what was measured of them.

Measured means are noisy, so that even the true order does not reach an NDCG of 100. Ranking by one half of the
measurements and scoring on the other says too little: a ranking by half of the data is worse than the true order, and
half of the data are noisier than the mean that methods are scored on.

Here the candidates' true values are estimated from the reliability of their means, as in empirical Bayes with normal
noise (Efron and Morris 1975): with m the mean of all, r the reliability and v the variance of the noise of a mean, the
true value of a candidate with mean y is normal with mean m + r (y - m) and variance r v. The measures are averaged
over draws of true values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fute.evaluation.metrics import best_rank, best_rank_permuted, ndcg, ndcg_permuted

DRAWS = 1000


def reliability(means: ArrayLike, noise: float) -> float:
    """Share of the variance of means (p,) that is not noise, in [0, 1]. noise: variance of the noise of one mean.

    With the noise of a two-way layout, residual / k for means over k columns, this is 1 - 1/F (Hoyt 1941), which equals
    the formula of Spearman and Brown for k columns. 1 if there is no noise, but for rounding. NaN for fewer than two
    candidates, and where there is neither noise nor a difference, as of an LLM that answers all prompts alike.
    """
    means = np.asarray(means, dtype=float)
    rounding = 1e-12 * np.abs(means).max(initial=0)
    differs = len(means) > 1 and np.ptp(means) > rounding
    if len(means) < 2 or (noise <= rounding**2 and not differs):
        return float("nan")
    if noise <= rounding**2:
        return 1.0
    return max(0.0, 1 - noise / float(means.var(ddof=1))) if differs else 0.0


def ndcg_of_true_order(relevance: ArrayLike, means: ArrayLike, noise: float, seed: int, **options: Any) -> float:
    """Expected NDCG of the true order of candidates; `ndcg` of a random order if nothing of it is known.

    relevance, means: (p,), both as measured. noise: see `reliability`. options: of `fute.ndcg`.
    """
    if (orders := _orders(means, noise, seed)) is None:
        return ndcg(relevance, np.zeros(len(np.asarray(means))), **options)
    return float(ndcg_permuted(relevance, np.arange(orders.shape[1]), orders, **options).mean())


def rank_of_true_order(means: ArrayLike, noise: float, seed: int) -> float:
    """Expected rank (1 = best) of the candidate with the highest mean in the true order of candidates."""
    if (orders := _orders(means, noise, seed)) is None:
        return best_rank(means, np.zeros(len(np.asarray(means))))
    return float(best_rank_permuted(means, np.arange(orders.shape[1]), orders).mean())


def _orders(means: ArrayLike, noise: float, seed: int) -> NDArray[np.int64] | None:
    """Orders that candidates may truly have, (draws, p): the place of each, 0 is the lowest; None: any is as likely."""
    means = np.asarray(means, dtype=float)
    share = reliability(means, noise)
    if share == 0:
        return None
    share = 1.0 if np.isnan(share) else share  # one candidate, or equal ones: every order is the true one
    random = np.random.default_rng([seed, 2]).standard_normal((DRAWS, len(means)))  # a stream of its own
    values = share * (means - means.mean()) + np.sqrt(share * noise) * random
    return values.argsort(axis=1, kind="stable").argsort(axis=1)
