"""Choosing a source to transfer from (Tables 1 and 2): the value of a ranking of sources for one target.

The transfer gain of a source is the target's score after transfer minus that of the direct run; the best source has the
highest gain. Methods rank the candidate sources of a target by a score, higher first. Everything is in percent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fute.evaluation.correlation import spearman
from fute.evaluation.metrics import Scale, best_rank, best_rank_permuted, ndcg, ndcg_permuted
from fute.evaluation.resampling import bootstrap_counts, interval, p_value, random_orders
from fute.evaluation.transfer_matrix_step import TransferDataset, in_class, sources_of

Scope = Literal["in-class", "all-class", "domain"]
TransferNdcg = Literal["exp2", "linear", "gain_shifted"]

RANDOM, CEILING = "Random", "Ceiling"
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
            if method in (RANDOM, CEILING):
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
        """The relevance (p,) of a case, and the options of `fute.evaluation.ndcg`."""
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


def ceiling(case: Case, relevance: Relevance = BY_PERFORMANCE) -> dict[str, float]:
    """`measure` of a ranking by one seed's scores on the scores of another seed; mean over ordered pairs of seeds.

    Differences between seeds cannot be predicted, so a ranking that is better than this is better by chance. All NaN
    with one seed.
    """
    seeds = range(len(case.direct))
    if len(seeds) < 2:
        return dict.fromkeys(MEASURES, float("nan"))
    measures = pd.DataFrame(
        measure(Case(case.target, case.candidates, case.runs[[b]], case.direct[[b]], {}), case.runs[a], relevance)
        for a, b in permutations(seeds, 2)
    )
    return {name: float(measures[name].mean()) for name in MEASURES}


def seed_spearman(case: Case) -> float:
    """Rank correlation of two seeds' scores over the sources; mean over pairs of seeds, NaN with one seed."""
    correlations = [spearman(a, b) for a, b in combinations(case.runs, 2)]
    return float(np.mean(correlations)) if correlations else float("nan")


def target_rows(case: Case, relevance: Relevance = BY_PERFORMANCE) -> list[dict[str, Any]]:
    """One row per method, and rows for Random and (with several seeds) Ceiling.

    best_source: the source with the highest transfer gain; among equal ones, the one that the method ranks best.
    selected: the source that the method ranks first; the earliest one among equal ones. selected_gain: its transfer
    gain. Ceiling is a mean over seeds, so it selects nothing; values of Random are expectations.
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
        reference = {"method": CEILING, "best_source": case.candidates[int(np.argmax(gains))], "selected": ""}
        rows.append(shared | reference | {"selected_gain": np.nan} | ceiling(case, relevance))
    return rows


def cell_rows(
    cases: Sequence[Case],
    relevance: Relevance = BY_PERFORMANCE,
    *,
    draws: int = 1000,
    permutations: int = 10_000,
    seed: int = 42,
) -> pd.DataFrame:
    """One cell of Table 1 or 2 for every method and reference: means over the targets, and their uncertainty.

    Columns:
        rho, ndcg: means over the targets.
        *_lo, *_hi: their 95 % intervals by a bootstrap over targets, with the same draws for every method.
        *_minus_random_lo, *_minus_random_hi: interval of the paired difference to Random.
        rho_p, ndcg_p: p-values of a rho so low and an NDCG so high if each target's scores are permuted at random,
            without correction for several methods.
        n_targets: number of targets.
    A method without scores on one of the targets has NaN; intervals need two targets. Raises ValueError without cases.
    """
    if not cases:
        raise ValueError("a cell needs at least one target")
    rows = [pd.DataFrame(target_rows(case, relevance)).set_index("method") for case in cases]
    methods = list(dict.fromkeys(name for case in cases for name in case.scores))
    methods += [RANDOM, *([CEILING] if all(CEILING in row.index for row in rows) else [])]
    frame = pd.DataFrame({"method": methods, "n_targets": len(cases)})
    counts = bootstrap_counts(len(cases), draws, seed)
    null = _permuted(cases, relevance, permutations, seed)
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
        columns["_p"] = [
            p_value(sign * mean, sign * null[method][name]) if method in null else np.nan
            for method, mean in zip(methods, means, strict=True)
        ]
        frame = frame.assign(**{f"{name}{suffix}": column for suffix, column in columns.items()})
    return frame


def _permuted(
    cases: Sequence[Case], relevance: Relevance, n: int, seed: int
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Means over targets with each target's scores permuted, (n,), by method and measure.

    Only for methods that rank every target. All methods get the same permutations.
    """
    rng = np.random.default_rng([seed, 1])  # a stream different from the bootstrap's
    methods = [name for name in cases[0].scores if all(name in case.scores for case in cases)]
    null = {method: dict.fromkeys(MEASURES, np.zeros(n)) for method in methods}
    for case in cases:
        orders = random_orders(len(case.candidates), n, rng)
        values, options = relevance.arguments(case)
        for method, sums in null.items():
            scores = case.scores[method]
            sums["rho"] = sums["rho"] + best_rank_permuted(case.gains, scores, orders) / len(cases)
            sums["ndcg"] = sums["ndcg"] + ndcg_permuted(values, scores, orders, **options) / len(cases)
    return null
