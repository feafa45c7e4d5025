"""Measures of a ranking of models or prompts: NDCG, rank of the best, performance rate."""

import warnings
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fute.evaluation.correlation import finite_pair

Scale = Literal["percent", "unit"]
Gain = Literal["exp2", "linear"]


def ndcg(relevance: ArrayLike, scores: ArrayLike, *, scale: Scale = "percent", gain: Gain = "exp2") -> float:
    """NDCG over all candidates, in [0, 100]: DCG of the order by `scores` over DCG of the best order.

    DCG = sum over ranks i of g(rel_i) / log2(i + 1) with g(rel) = 2^rel - 1 (`exp2`) or rel (`linear`).
    Sources: Jarvelin and Kekalainen (2002); equal scores as in McSherry and Najork (2008).
    The paper does not state its scale. With accuracies in [0, 1] (`unit`), `exp2` is nearly linear and random orders
    score near 99, far above the paper's values of 34. So the default keeps percents.

    Args:
        relevance: (candidates,) performance in percent; `unit` divides it by 100. Negative values (Matthews,
            Spearman) count as 0, with a UserWarning.
        scores: (candidates,) higher is better. Equal scores give the expected value over their orders; if all
            scores are equal, this is the expectation of a random order.

    Returns 100 if every relevance is 0, because then every order is a best one.

    Raises:
        ValueError: shapes differ, nothing to rank, or a value is not finite.
    """
    relevance = np.asarray(relevance, dtype=float)
    if relevance.ndim != 1:
        raise ValueError(f"relevance must be 1-D, got shape {relevance.shape}")
    return float(ndcg_rows(relevance[None], scores, scale=scale, gain=gain)[0])


def ndcg_rows(
    relevance: ArrayLike, scores: ArrayLike, *, scale: Scale = "percent", gain: Gain = "exp2"
) -> NDArray[np.float64]:
    """`ndcg` of one order of candidates for each row of relevance (rows, candidates): (rows,)."""
    gains, weights = _gains_and_weights(relevance, scores, scale, gain)
    return _over_ideal(gains, gains @ weights)


def ndcg_permuted(
    relevance: ArrayLike, scores: ArrayLike, orders: NDArray, *, scale: Scale = "percent", gain: Gain = "exp2"
) -> NDArray[np.float64]:
    """`ndcg` of one relevance (candidates,) after each permutation of its scores, for a test against chance: (draws,).

    orders: (draws, candidates) of indices; draw d gives candidate i the score of candidate orders[d, i].
    """
    relevance = np.asarray(relevance, dtype=float)
    gains, weights = _gains_and_weights(relevance[None], scores, scale, gain)
    return _over_ideal(gains, weights[orders] @ gains[0])


def best_rank(gains: ArrayLike, scores: ArrayLike) -> float:
    """Rank (1 = best) that `scores` give to the candidate with the highest transfer gain; rho of Table 1.

    Among equal gains, the best-ranked candidate counts. Equal scores give the expected value over their orders, so that
    p equal scores, of which k have the highest gain, give (p + 1) / (k + 1), as a random order does. Both arguments are
    (candidates,); ValueError if they do not match.
    """
    gains, scores = finite_pair(gains, scores)
    return float(best_rank_permuted(gains, scores, np.arange(len(scores))[None])[0])


def best_rank_permuted(gains: ArrayLike, scores: ArrayLike, orders: NDArray) -> NDArray[np.float64]:
    """`best_rank` after each permutation of the scores: (draws,). orders: as in `ndcg_permuted`."""
    gains, scores = finite_pair(gains, scores)
    permuted = scores[orders]
    best = permuted[:, gains == gains.max()]
    highest = best.max(axis=1, keepdims=True)
    above, equal = (permuted > highest).sum(axis=1), (permuted == highest).sum(axis=1)
    # the first of k among n equal scores in random order is expected at (n + 1) / (k + 1)
    return above + (equal + 1) / ((best == highest).sum(axis=1) + 1)


def performance_rate(performance: ArrayLike, selected: int) -> float:
    """Performance of the selected prompt in percent of the best prompt's; 100 if all are 0.

    performance: (prompts,). selected: place of a prompt in it, from 0. Raises ValueError for other shapes, values that
    are not finite, and a place that there is not.
    """
    performance = np.asarray(performance, dtype=float)
    if performance.ndim != 1 or not performance.size or not np.isfinite(performance).all():
        raise ValueError(f"performance must be finite, (prompts,), got {performance!r}")
    if not isinstance(selected, (int, np.integer)) or not 0 <= selected < performance.size:
        raise ValueError(f"selected must be a place from 0 to {performance.size - 1}, got {selected!r}")
    return float(rate(performance[selected], performance.max()))


def rate(reached: ArrayLike, best: ArrayLike) -> NDArray[np.float64]:
    """`reached` in percent of `best`, elementwise; 100 where the best is 0, because nothing better exists."""
    reached, best = np.broadcast_arrays(np.asarray(reached, dtype=float), np.asarray(best, dtype=float))
    return 100 * np.divide(reached, best, out=np.ones(best.shape), where=best != 0)


def _gains_and_weights(
    relevance: ArrayLike, scores: ArrayLike, scale: Scale, gain: Gain
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gains (rows, candidates) and each candidate's expected discount (candidates,), checked."""
    relevance = np.asarray(relevance, dtype=float)
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 1 or scores.size == 0 or relevance.shape[1:] != scores.shape:
        raise ValueError(f"give one score per relevance: relevance {relevance.shape}, scores {scores.shape}")
    if not (np.isfinite(relevance).all() and np.isfinite(scores).all()):
        raise ValueError("relevance and scores must be finite; a missing score cannot be ranked")
    return _gains(relevance, scale, gain), _expected_discounts(scores)


def _over_ideal(gains: NDArray[np.float64], reached: NDArray[np.float64]) -> NDArray[np.float64]:
    """Percent of the DCG of the best order of gains (rows, candidates) or (1, candidates); 100 where it is 0."""
    ideal = np.sort(gains, axis=1)[:, ::-1] @ _discounts(gains.shape[1])
    return 100 * np.divide(reached, ideal, out=np.ones_like(reached), where=ideal > 0)


def _discounts(n: int) -> NDArray[np.float64]:
    return 1 / np.log2(np.arange(2, n + 2))


def _gains(relevance: NDArray[np.float64], scale: Scale, gain: Gain) -> NDArray[np.float64]:
    """Gains of each row up to a factor per row, which cancels in the ratio of DCGs."""
    if scale not in ("percent", "unit") or gain not in ("exp2", "linear"):
        raise ValueError(f"scale is percent or unit, gain exp2 or linear; got {scale!r}, {gain!r}")
    if (relevance < 0).any():
        negative = int((relevance < 0).sum())
        warnings.warn(f"ndcg: {negative} negative relevance values count as 0", stacklevel=5)
    relevance = np.maximum(relevance, 0) / (100 if scale == "unit" else 1)
    if gain == "linear":
        return relevance
    # 2^rel - 1, divided by 2^max: nothing overflows, and expm1 keeps the digits of small relevances.
    return np.exp2(relevance - relevance.max(axis=1, keepdims=True)) * -np.expm1(-np.log(2) * relevance)


def _expected_discounts(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean discount of each candidate over the ranks that it shares with candidates of equal score."""
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return (np.add.reduceat(_discounts(scores.size), starts) / sizes)[group]
