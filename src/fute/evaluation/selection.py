"""Table 3: the value of the prompts chosen by each method, with intervals and the expectation of chance.

Everything is in percent. Intervals are 95 % percentile intervals of a bootstrap over test rows: the choices and scores
of a method stay fixed, the performances of prompts are resampled, with the same draws for all methods. They say how
well a value is known, for these prompts. Whether a method does better than chance is another question, as a random
choice may be a good one, too: permutations of the prompts answer it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fute.baselines.prompts import select
from fute.display_names import LEVEL
from fute.evaluation.correlation import spearman
from fute.evaluation.metrics import ndcg, ndcg_rows, rate
from fute.evaluation.permutation import PERMUTATIONS, choice_test, distinct, ndcg_test, spearman_test
from fute.evaluation.resampling import bootstrap_counts, interval
from fute.evaluation.true_order import ndcg_of_true_order, reliability

Metric = Literal["accuracy", "macro_f1"]

ORACLE, MEAN, RANDOM = REFERENCES = ("Oracle", "Mean over prompts", "Random")
MEASURES = ("performance", "rate", "ndcg")
AVERAGED = [
    "performance",
    "accuracy",
    "macro_f1",
    "rate",
    "ndcg",
    "ndcg_linear",
    "random_performance",
    "random_ndcg",
    "true_order_ndcg",
    "reliability",
    "spearman",
]
UNLABELLED = -100
"""Prediction of a row without a label. Not -1, which is what a slip in an index gives."""


@dataclass(frozen=True)
class Block:
    """Predictions of one model for the test rows of one dataset, and scores of its prompts by methods.

    Attributes:
        prompts: prompt ids, T of them, in the order of their numbers.
        classes: class names, in the order of the class indices.
        gold: (N,) class indices.
        predictions: (T, N) class indices; `UNLABELLED` where the model gave no label, which counts as wrong.
        scores: (T,) for each method's name, higher is better.
    """

    prompts: tuple[str, ...]
    classes: tuple[str, ...]
    gold: NDArray[np.int64]
    predictions: NDArray[np.int64]
    scores: dict[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        expected = (len(self.prompts), len(self.gold))
        if 0 in expected or self.predictions.shape != expected:
            raise ValueError(f"predictions have shape {self.predictions.shape}, (prompts, rows) = {expected}")
        labelled = self.predictions[self.predictions != UNLABELLED]
        for name, indices in (("gold", self.gold), ("predictions", labelled)):
            if indices.size and (indices.min() < 0 or indices.max() >= len(self.classes)):
                raise ValueError(f"{name} holds a class index that is not one of {dict(enumerate(self.classes))}")
        for method, scores in self.scores.items():
            if method in REFERENCES:
                raise ValueError(f"{method!r} names a reference row; give the method another name")
            if np.shape(scores) != (len(self.prompts),) or not np.isfinite(scores).all():
                raise ValueError(f"{method}: needs {len(self.prompts)} finite scores, got {scores!r}")


@dataclass(frozen=True)
class SelectionTable:
    """Results of one block.

    frame: one row per method or reference. draws: for each of MEASURES its resamples (rows, draws). block, performance:
    what was ranked, and the performance (T,) of each prompt.
    """

    frame: pd.DataFrame
    draws: dict[str, NDArray[np.float64]]
    block: Block
    performance: NDArray[np.float64]


class _Ranking(NamedTuple):
    method: str
    choice: NDArray[np.float64]  # (T,) share of each prompt in the choice: one-hot, or uniform for chance
    scores: NDArray[np.float64] | None  # (T,); None: no order, hence no NDCG


def selection_table(
    block: Block, *, metric: Metric = "accuracy", draws: int = 1000, permutations: int = PERMUTATIONS, seed: int = 42
) -> SelectionTable:
    """Performance, rate and NDCG of every method on one block, and of the references.

    Oracle takes the best prompt on the same rows that it is measured on, so its interval is that of the maximum. Mean
    over prompts and Random are exact expectations; a mean is not an order, so it has no NDCG.

    Columns:
        performance: accuracy or macro-F1, as `metric` says.
        random_performance, random_ndcg: expectations of a random order.
        true_order_ndcg: what the true order of the prompts is expected to score on so many rows; a ranking that is
            better is better by chance. See `fute.evaluation.true_order`.
        reliability: of the prompts' performances, the share of their variance that is not sampling noise.
        spearman: of scores and performance (NaN if one is constant).
        margin: best minus second score.
        *_minus_random_lo, *_minus_random_hi: interval of the paired difference to Random.
        performance_p, ndcg_p, spearman_p: p-values of a choice or ranking so good if the prompts are permuted at
            random; *_p_worse: of one so bad. Exact if there are at most `permutations`, and without correction for
            several methods.
        beats_random: the measures whose p-value is at most 5 %: both, performance, ndcg or neither (empty for
            references).
    """
    n_rows = len(block.gold)
    everything = np.ones((1, n_rows))
    performance = prompt_performance(block, everything, metric)[0]
    resampled = prompt_performance(block, bootstrap_counts(n_rows, draws, seed), metric)
    accuracy, macro_f1 = (prompt_performance(block, everything, name)[0] for name in ("accuracy", "macro_f1"))

    rankings = _rankings(block, performance)
    frame = pd.DataFrame(
        {
            "method": ranking.method,
            "selected": block.prompts[select(ranking.choice)] if ranking.choice.max() == 1 else "",
            **{name: values[0] for name, values in _measures(performance[None], ranking).items()},
            "accuracy": accuracy @ ranking.choice,
            "macro_f1": macro_f1 @ ranking.choice,
            **_score_columns(performance, ranking.scores),
        }
        for ranking in rankings
    ).assign(
        random_performance=performance.mean(),
        random_ndcg=ndcg(performance, np.zeros_like(performance)),
        **_true_order(performance, resampled, seed),
        n_rows=n_rows,
    )
    measured = [_measures(resampled, ranking) for ranking in rankings]
    drawn = {name: np.stack([of_ranking[name] for of_ranking in measured]) for name in MEASURES}
    frame = _with_tests(_with_intervals(frame, drawn), [(block, performance)], permutations, seed)
    return SelectionTable(frame, drawn, block, performance)


def average_blocks(
    tables: Sequence[tuple[str, SelectionTable]], *, permutations: int = PERMUTATIONS, seed: int = 42
) -> pd.DataFrame:
    """Plain mean over the datasets of a category, with intervals of the averaged draws, and tests of the means.

    The tests permute the prompts in the same way for all datasets: a prompt may be good, and ranked high, on all.

    tables: (dataset, table) pairs with the same prompts and methods. A value that is NaN for one dataset is NaN here.
    There is no `selected` and no `margin`; `datasets` and the summed `n_rows` describe what was averaged.
    """
    names = [name for name, _ in tables]
    frames = [table.frame for _, table in tables]
    if not tables or len(set(names)) < len(names):
        raise ValueError(f"average_blocks needs different datasets, got {names}")
    for name, frame in zip(names, frames, strict=True):
        if list(frame["method"]) != list(frames[0]["method"]):
            raise ValueError(f"{name} has methods {list(frame['method'])}, {names[0]} others: use the same methods")
    for name, table in tables:
        if table.block.prompts != tables[0][1].block.prompts:
            raise ValueError(f"{name} has other prompts than {names[0]}: use the same prompts in the same order")
    mean = sum(frame[AVERAGED] for frame in frames) / len(frames)
    mean.insert(0, "method", frames[0]["method"])
    mean.insert(1, "datasets", ", ".join(names))
    mean["n_rows"] = sum(frame["n_rows"] for frame in frames)
    # Datasets of equal size draw the same row numbers from the same seed, and rows may be sorted by class. Pairing
    # draw b of one dataset with draw b + 1 of the next makes their draws independent.
    drawn = {
        name: np.mean([np.roll(table.draws[name], k, axis=1) for k, (_, table) in enumerate(tables)], axis=0)
        for name in MEASURES
    }
    measured = [(table.block, table.performance) for _, table in tables]
    return _with_tests(_with_intervals(mean, drawn), measured, permutations, seed)


def prompt_performance(block: Block, row_counts: NDArray, metric: Metric) -> NDArray[np.float64]:
    """Performance of each prompt, in percent, on samples of the rows: (samples, T).

    row_counts: (samples, N), number of times that each row is in each sample. Macro-F1 is scikit-learn's: the mean over
    the classes that occur in gold or predictions of the sample.
    """
    counts = np.asarray(row_counts, dtype=float)
    if metric == "accuracy":
        return 100 * (counts @ (block.predictions == block.gold).T) / counts.sum(axis=1, keepdims=True)
    if metric != "macro_f1":
        raise ValueError(f"metric is accuracy or macro_f1, got {metric!r}")
    total = present = 0.0
    for index in range(len(block.classes)):
        is_gold, is_predicted = block.gold == index, block.predictions == index
        true_positives = counts @ (is_predicted & is_gold).T
        either = counts @ is_predicted.T + (counts @ is_gold)[:, None]
        total += np.divide(2 * true_positives, either, out=np.zeros_like(either), where=either > 0)
        present += either > 0
    return 100 * total / present


def _true_order(performance: NDArray, resampled: NDArray, seed: int) -> dict[str, float]:
    """Columns `true_order_ndcg` and `reliability`.

    performance: (T,). resampled: the same of bootstrap samples of the rows, (draws, T).
    """
    common = resampled.mean(axis=1, keepdims=True)  # what rows add to all prompts alike changes no order
    n_prompts = len(performance)
    noise = float((resampled - common).var(axis=0).sum()) / max(1, n_prompts - 1)
    return {
        "true_order_ndcg": ndcg_of_true_order(performance, performance, noise, seed),
        "reliability": reliability(performance, noise),
    }


def _rankings(block: Block, performance: NDArray) -> list[_Ranking]:
    n_prompts = len(performance)
    rankings = [
        _Ranking(method, np.eye(n_prompts)[select(scores)], np.asarray(scores, dtype=float))
        for method, scores in {**block.scores, ORACLE: performance}.items()
    ]
    uniform = np.full(n_prompts, 1 / n_prompts)
    return [*rankings, _Ranking(MEAN, uniform, None), _Ranking(RANDOM, uniform, np.zeros(n_prompts))]


def _measures(performance: NDArray, ranking: _Ranking) -> dict[str, NDArray[np.float64]]:
    """The MEASURES of one ranking on samples of the rows. performance: (samples, T)."""
    best = performance.max(axis=1)
    if ranking.method == ORACLE:
        return {"performance": best, "rate": rate(best, best), "ndcg": np.full(len(best), 100.0)}
    reached = performance @ ranking.choice
    no_order = ranking.scores is None
    order = np.full(len(best), np.nan) if no_order else ndcg_rows(performance, ranking.scores)
    return {"performance": reached, "rate": rate(reached, best), "ndcg": order}


def _score_columns(performance: NDArray, scores: NDArray | None) -> dict[str, float]:
    if scores is None:
        return {"ndcg_linear": np.nan, "spearman": np.nan, "margin": np.nan}
    ordered = np.sort(scores)[::-1]
    return {
        "ndcg_linear": ndcg(performance, scores, gain="linear"),
        "spearman": spearman(scores, performance),
        "margin": ordered[0] - ordered[1] if len(ordered) > 1 else np.nan,
    }


def _with_intervals(frame: pd.DataFrame, drawn: dict[str, NDArray]) -> pd.DataFrame:
    """Add to `frame` the intervals of the draws, and of their difference to the draws of the Random row."""
    at_random = frame["method"].eq(RANDOM).argmax()
    intervals = {name: interval(values) for name, values in drawn.items()}
    for name in ("ndcg", "performance"):
        intervals[f"{name}_minus_random"] = interval(drawn[name] - drawn[name][at_random])
    bounds = {f"{name}_{end}": values[end] for name, values in intervals.items() for end in ("lo", "hi")}
    return frame.assign(**bounds)


def _with_tests(
    frame: pd.DataFrame, measured: Sequence[tuple[Block, NDArray]], permutations: int, seed: int
) -> pd.DataFrame:
    """Add to `frame` the p-values of each method's choices and rankings, and the verdict `beats_random`.

    measured: for each dataset its block and the performances (T,) of its prompts.
    """
    performances = [performance for _, performance in measured]
    predictions = [block.predictions for block, _ in measured]
    tests: dict[str, dict[str, float]] = {}
    for method in measured[0][0].scores:
        scores = [np.asarray(block.scores[method], dtype=float) for block, _ in measured]
        first = distinct(*predictions, *scores)  # prompts that are equal as text, scored alike, count once
        of_first = [performance[first] for performance in performances], [values[first] for values in scores]
        choices = [select(values) for values in of_first[1]]
        for name, test in (
            ("performance", choice_test(of_first[0], choices, permutations, seed)),
            ("ndcg", ndcg_test(*of_first, permutations, seed)),
            ("spearman", spearman_test(*of_first, permutations, seed)),
        ):
            tests.setdefault(method, {}).update({f"{name}_p": test.better, f"{name}_p_worse": test.worse})
    columns = [f"{name}{end}" for name in ("performance", "ndcg", "spearman") for end in ("_p", "_p_worse")]
    frame = frame.assign(**{
        name: [tests[method][name] if method in tests else np.nan for method in frame["method"]] for name in columns
    })  # fmt: skip
    better = {name: frame[f"{name}_p"] <= LEVEL for name in ("performance", "ndcg")}
    verdict = np.select(
        [better["performance"] & better["ndcg"], better["performance"], better["ndcg"]],
        ["both", "performance", "ndcg"],
        default="neither",
    )
    return frame.assign(beats_random=np.where(frame["method"].isin(REFERENCES), "", verdict))
