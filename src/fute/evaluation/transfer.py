"""Choosing a source to transfer from (Tables 1 and 2): the value of a ranking of sources for one target.

The transfer gain of a source is the target's score after transfer minus that of the direct run; the best source has the
highest gain. Methods rank the candidate sources of a target by a score, higher first. Everything is in percent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fute.evaluation.correlation import spearman
from fute.evaluation.metrics import Scale, best_rank, best_rank_permuted, ndcg, ndcg_permuted
from fute.evaluation.permutation import NO_TEST, PERMUTATIONS, Tails, orders_of, skipping, tails
from fute.evaluation.resampling import bootstrap_counts, interval
from fute.evaluation.transfer_matrix_step import TransferDataset, in_class, sources_of
from fute.evaluation.true_order import ndcg_of_true_order, rank_of_true_order, reliability
from fute.evaluation.two_way import two_way

Scope = Literal["in-class", "all-class", "domain"]
TransferNdcg = Literal["exp2", "linear", "gain_shifted"]

RANDOM, TRUE_ORDER = REFERENCES = "Random", "Estimated true order"
MEASURES = ("rho", "ndcg")


@dataclass(frozen=True)
class Case:
    """One target and the sources that a method chooses from.

    Attributes:
        candidates: p source ids.
        runs: (seeds, p), the target's score after transfer from each source.
        direct: (seeds,), the target's score without transfer.
        scores: (p,) by method, higher is ranked first. Methods without scores for this target are not included.
    """

    target: str
    candidates: tuple[str, ...]
    runs: NDArray[np.float64]
    direct: NDArray[np.float64]
    scores: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        seeds, p = len(self.direct), len(self.candidates)
        if 0 in (seeds, p) or self.runs.shape != (seeds, p):
            raise ValueError(f"{self.target}: runs have shape {self.runs.shape}, (seeds, sources) = {(seeds, p)}")
        for method, scores in self.scores.items():
            if method in REFERENCES:
                raise ValueError(f"{method!r} names a reference row; give the method another name")
            if np.shape(scores) != (p,) or not np.isfinite(scores).all():
                raise ValueError(f"{self.target}, {method}: needs {p} finite scores, got {scores!r}")

    @property
    def performance(self) -> NDArray[np.float64]:
        """Mean score over seeds, (p,)."""
        # Rounded, so that sources with the same scores in another order of seeds stay equal.
        return self.runs.mean(axis=0).round(9)

    @property
    def gains(self) -> NDArray[np.float64]:
        """Transfer gain, (p,): mean score over seeds minus that of the direct runs."""
        return self.performance - self.direct.mean()


@dataclass(frozen=True)
class Relevance:
    """The relevance of a source in NDCG.

    The paper uses the target's performance; negative values (Matthews, Spearman) count as 0. gain: `exp2` is
    2^rel - 1, `linear` is rel; `gain_shifted` uses the transfer gain instead of rel, with negative gains as 0.
    """

    scale: Scale = "percent"
    gain: TransferNdcg = "exp2"

    def arguments(self, case: Case) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """The relevance (p,) of a case, and the options of `fute.ndcg`."""
        shifted = self.gain == "gain_shifted"
        relevance = np.maximum(case.gains if shifted else case.performance, 0)
        return relevance, {"scale": self.scale, "gain": "linear" if shifted else self.gain}


BY_PERFORMANCE = Relevance()
"""Relevance as in the paper: performance in percent, exponential gain."""


def scopes(dataset: TransferDataset) -> tuple[Scope, ...]:
    """Scopes of the candidate sources of a target: Table 2's for domain targets, otherwise both of Table 1."""
    return ("in-class", "all-class") if dataset.domain is None else ("domain",)


def candidates(target: str, scope: Scope, datasets: Mapping[str, TransferDataset]) -> tuple[str, ...]:
    """Sources that may be chosen for a target: those of its class (`in-class`), or all; never the target itself."""
    if scope not in scopes(datasets[target]):
        raise ValueError(f"{target} is ranked for in {' and '.join(scopes(datasets[target]))}, not in {scope}")
    sources = sources_of(target, datasets)
    if scope == "in-class":
        sources = tuple(name for name in sources if in_class(name, target, datasets))
    return sources


def measure(case: Case, scores: ArrayLike, relevance: Relevance = BY_PERFORMANCE) -> dict[str, float]:
    """`rho`, the rank (1 = best) given to the best source, and `ndcg` of the ranking by scores (p,)."""
    values, options = relevance.arguments(case)
    return {"rho": best_rank(case.gains, scores), "ndcg": ndcg(values, scores, **options)}


def seed_noise(case: Case) -> float:
    """Variance of the noise of a source's mean score over k seeds; NaN with one seed, or one source.

    What a seed adds to all sources alike changes no ranking and is left out.
    """
    seeds, p = case.runs.shape
    return two_way(case.runs.T).residual / seeds if min(seeds, p) > 1 else float("nan")


def true_order(case: Case, relevance: Relevance = BY_PERFORMANCE, seed: int = 42) -> dict[str, float]:
    """What the true order of the sources is expected to score, as `measure`; all NaN with one seed.

    The means over few seeds that methods are scored on are noisy, and this noise cannot be predicted: a ranking that is
    better than this is better by chance. See `fute.evaluation.true_order`.
    """
    if len(case.direct) < 2:
        return dict.fromkeys(MEASURES, float("nan"))
    noise = seed_noise(case) if len(case.candidates) > 1 else 0.0
    values, options = relevance.arguments(case)
    return {
        "rho": rank_of_true_order(case.performance, noise, seed),
        "ndcg": ndcg_of_true_order(values, case.performance, noise, seed, **options),
    }


def seed_reliability(case: Case) -> float:
    """Reliability of the sources' mean scores over seeds, in [0, 1]; NaN with one seed or one source."""
    noise = seed_noise(case)
    return float("nan") if np.isnan(noise) else reliability(case.performance, noise)


def seed_spearman(case: Case) -> float:
    """Rank correlation of two seeds' scores over the sources; mean over pairs of seeds, NaN with one seed."""
    correlations = [spearman(a, b) for a, b in combinations(case.runs, 2)]
    return float(np.mean(correlations)) if correlations else float("nan")


def target_rows(case: Case, relevance: Relevance = BY_PERFORMANCE, seed: int = 42) -> list[dict[str, Any]]:
    """One row per method, and rows for the references Random and (with several seeds) the true order.

    best_source: the source with the highest transfer gain; among equal ones, the one that the method ranks best.
    selected: the source that the method ranks first; the earliest one among equal ones. selected_gain: its transfer
    gain. The references select nothing; their values are expectations. seed: of the estimate of the true order.
    """
    gains, p = case.gains, len(case.candidates)
    shared = {"target": case.target, "candidates": p, "gain": gains.max()}
    rows = []
    for method, scores in {**case.scores, RANDOM: np.zeros(p)}.items():
        best = max(np.flatnonzero(gains == gains.max()), key=lambda index, scores=scores: scores[index])
        row = {"method": method, "best_source": case.candidates[best], **measure(case, scores, relevance)}
        if method == RANDOM:
            row |= {"selected": "", "selected_gain": gains.mean()}
        else:
            chosen = int(np.argmax(scores))
            row |= {"selected": case.candidates[chosen], "selected_gain": gains[chosen]}
        rows.append(shared | row)
    if len(case.direct) > 1:
        reference = {"method": TRUE_ORDER, "best_source": case.candidates[int(np.argmax(gains))], "selected": ""}
        rows.append(shared | reference | {"selected_gain": np.nan} | true_order(case, relevance, seed))
    return rows


def cell_rows(
    cases: Sequence[Case],
    relevance: Relevance = BY_PERFORMANCE,
    *,
    draws: int = 1000,
    permutations: int = PERMUTATIONS,
    seed: int = 42,
) -> pd.DataFrame:
    """One cell of Table 1 or 2 for every method and reference: means over the targets, and their uncertainty.

    Columns:
        rho, ndcg: means over the targets.
        *_lo, *_hi: their 95 % intervals by a bootstrap over targets, with the same draws for every method.
        *_minus_random_lo, *_minus_random_hi: interval of the paired difference to Random.
        rho_p, ndcg_p: p-values of a rho so low and an NDCG so high if the names of the sources are permuted at random,
            in the same way for all targets; rho_p_worse, ndcg_p_worse: of a rho so high and an NDCG so low. Exact if
            there are at most `permutations` of them, and without correction for several methods.
        n_targets: number of targets.
    A method without scores on one of the targets has NaN; intervals need two targets. Raises ValueError without cases.
    """
    if not cases:
        raise ValueError("a cell needs at least one target")
    rows = [pd.DataFrame(target_rows(case, relevance, seed)).set_index("method") for case in cases]
    methods = list(dict.fromkeys(name for case in cases for name in case.scores))
    methods += [RANDOM, *([TRUE_ORDER] if all(TRUE_ORDER in row.index for row in rows) else [])]
    frame = pd.DataFrame({"method": methods, "n_targets": len(cases)})
    counts = bootstrap_counts(len(cases), draws, seed)
    null, exact = _permuted(cases, relevance, permutations, seed)
    for name in MEASURES:
        values = np.array([row[name].reindex(methods) for row in rows], dtype=float).T  # (methods, targets)
        means = values.mean(axis=1)
        drawn = values @ counts.T / len(cases)
        if len(cases) == 1:
            drawn[:] = np.nan
        columns = {"": means}
        for suffix, draws_of in (("", drawn), ("_minus_random", drawn - drawn[methods.index(RANDOM)])):
            columns |= {f"{suffix}_{end}": bounds for end, bounds in interval(draws_of).items()}
        sign = -1 if name == "rho" else 1
        tested: list[Tails] = [
            tails(sign * mean, sign * null[method][name], exact=exact) if method in null else NO_TEST
            for method, mean in zip(methods, means, strict=True)
        ]
        columns |= {"_p": [test.better for test in tested], "_p_worse": [test.worse for test in tested]}
        frame = frame.assign(**{f"{name}{suffix}": column for suffix, column in columns.items()})
    return frame


def _permuted(
    cases: Sequence[Case], relevance: Relevance, most: int, seed: int
) -> tuple[dict[str, dict[str, NDArray[np.float64]]], bool]:
    """Means over targets after each permutation of the sources' names, by method and measure; True if these are all.

    Only for methods that rank every target. A permutation is the same for all targets and methods, because sources are
    good or bad, and ranked high or low, for many targets alike; a target that is a source itself is skipped in it.
    """
    names = list(dict.fromkeys(name for case in cases for name in case.candidates))
    orders, exact = orders_of(len(names), most, seed)
    methods = [name for name in cases[0].scores if all(name in case.scores for case in cases)]
    null = {method: dict.fromkeys(MEASURES, np.zeros(len(orders))) for method in methods}
    for case in cases:
        own = _of_candidates(orders, names, case)
        values, options = relevance.arguments(case)
        for method, sums in null.items():
            scores = case.scores[method]
            sums["rho"] = sums["rho"] + best_rank_permuted(case.gains, scores, own) / len(cases)
            sums["ndcg"] = sums["ndcg"] + ndcg_permuted(values, scores, own, **options) / len(cases)
    return null, exact


def _of_candidates(orders: NDArray[np.int64], names: Sequence[str], case: Case) -> NDArray[np.int64]:
    """Permutations of names, (orders, names), as permutations of the candidates of one target, (orders, p)."""
    left = list(names)
    for name in names:
        if name not in case.candidates:
            orders = skipping(orders, left.index(name))
            left.remove(name)
    # candidate i of the case is place[i] in `left`
    place = np.array([left.index(name) for name in case.candidates])
    back = np.empty_like(place)
    back[place] = np.arange(len(place))
    return back[orders[:, place]]
