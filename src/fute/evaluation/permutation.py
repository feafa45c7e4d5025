"""Permutation tests of rankings against chance: is a method's ranking better than one that knows nothing?

What chance does is the same for all datasets or targets of a mean: the candidates' names are permuted once, and every
ranking follows. A candidate (a prompt, a source) is often good or bad everywhere, and a method often ranks the
candidates alike everywhere. Then the datasets are no independent tries, and a permutation of each of them alone finds
"better than chance" in up to a fifth of rankings that know nothing (5 % is right).

Source: exact and Monte-Carlo permutation tests as in Phipson and Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9:39.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fute.evaluation.correlation import unit_ranks
from fute.evaluation.metrics import ndcg, ndcg_permuted

PERMUTATIONS = 10_000
"""Random permutations of a test, and the most that are enumerated for an exact one."""


class Tails(NamedTuple):
    """One-sided p-values: of chance doing at least as well (`better`), and at least as badly (`worse`)."""

    better: float
    worse: float


NO_TEST = Tails(float("nan"), float("nan"))


def orders_of(n: int, most: int = PERMUTATIONS, seed: int = 42, *, take: int | None = None) -> tuple[NDArray, bool]:
    """Permutations of 0..n-1, (orders, n), and whether they are all there are; otherwise `most` seeded random ones.

    take: keep the first numbers of each only, (orders, take); then fewer are different.
    """
    take = n if take is None else take
    if math.perm(n, take) <= most:
        return np.array(list(permutations(range(n), take)), dtype=np.int64).reshape(-1, take), True
    random = np.random.default_rng([seed, 1])  # a stream different from the bootstrap's
    return random.permuted(np.tile(np.arange(n), (most, 1)), axis=1)[:, :take], False


def tails(observed: float, null: ArrayLike, *, exact: bool) -> Tails:
    """P-values of an observed value, where larger is better, against its values under permutations (orders,).

    exact: `null` holds every permutation, the observed one among them. Otherwise the observed one counts as one more
    draw, (k + 1) / (n + 1), so that p is never 0. Values that differ by rounding count as equal. NaN for a NaN.
    """
    if np.isnan(observed):
        return NO_TEST
    null, more = np.asarray(null, dtype=float), 0 if exact else 1
    better, worse = (null >= observed - 1e-9).sum(), (null <= observed + 1e-9).sum()
    return Tails(float((better + more) / (len(null) + more)), float((worse + more) / (len(null) + more)))


def skipping(orders: NDArray, left_out: int) -> NDArray:
    """Permutations of n names, (orders, n), as permutations of the others, (orders, n - 1), if one cannot be chosen.

    A target is never its own source. The cycle of a permutation skips it: what it would have replaced is replaced by
    what replaces it. A uniform permutation of n names gives a uniform one of n - 1, and those of two targets agree but
    for a name or two.
    """
    kept = np.where(orders == left_out, orders[:, [left_out]], orders)
    kept = np.delete(kept, left_out, axis=1)
    return kept - (kept > left_out)


def distinct(*values: ArrayLike) -> NDArray[np.int64]:
    """Indices of the first of each group of candidates that are equal in all arrays (candidates, ...), ascending.

    Equal prompts are one candidate: chance never tells them apart.
    """
    flat = np.concatenate([np.asarray(each, dtype=float).reshape(len(each), -1) for each in values], axis=1)
    return np.sort(np.unique(flat, axis=0, return_index=True)[1])


def ndcg_test(
    performances: Sequence[NDArray], scores: Sequence[NDArray], most: int = PERMUTATIONS, seed: int = 42
) -> Tails:
    """Test the mean NDCG over K datasets of the rankings of the same T prompts by scores.

    performances, scores: for each dataset (T,); performances in percent. One permutation of the prompts for all.
    """
    orders, exact = orders_of(len(scores[0]), most, seed)
    observed = np.mean([ndcg(p, s) for p, s in zip(performances, scores, strict=True)])
    null = np.mean([ndcg_permuted(p, s, orders) for p, s in zip(performances, scores, strict=True)], axis=0)
    return tails(float(observed), null, exact=exact)


def spearman_test(
    truths: Sequence[ArrayLike], scores: Sequence[ArrayLike], most: int = PERMUTATIONS, seed: int = 42
) -> Tails:
    """Test the mean Spearman correlation over K datasets of the true order of the same T candidates and their scores.

    truths, scores: for each dataset (T,). One permutation of the candidates for all. NaN if the numbers of a dataset
    are all equal. Unlike NDCG it counts the order at the bottom as much as that at the top.
    """
    true, given = unit_ranks(truths), unit_ranks(scores)
    orders, exact = orders_of(true.shape[1], most, seed)
    null = np.einsum("kt,kot->o", true, given[:, orders]) / len(true)
    return tails(float((true * given).sum(1).mean()), null, exact=exact)


def choice_test(
    performances: Sequence[NDArray], choices: Sequence[int], most: int = PERMUTATIONS, seed: int = 42
) -> Tails:
    """Test the mean performance over K datasets of the prompts that were chosen among the same T.

    performances: for each dataset (T,), in percent. choices: for each dataset the index of its prompt. One permutation
    of the prompts for all: if one prompt was chosen everywhere, it is one draw of T, and p is at least 1/T.
    """
    names, places = np.unique(np.asarray(choices), return_inverse=True)
    drawn, exact = orders_of(len(performances[0]), most, seed, take=len(names))
    observed = np.mean([p[choice] for p, choice in zip(performances, choices, strict=True)])
    null = np.mean([p[drawn[:, place]] for p, place in zip(performances, places, strict=True)], axis=0)
    return tails(float(observed), null, exact=exact)
