"""How often the advice of `fute rank` is wrong: each rule where there is nothing to find, and the whole way from texts
and answers to the sentence.

Texts are points whose spread falls with the direction, as that of sentence embeddings does. Prompts answer with what
they know of the label, an error that all prompts share on a text, and one of their own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from fute.embeddings.covariance import output_covariance
from fute.paper.candidates import EACH, MAJORITY, Ranking, _ranking, advice

TIMES, PAGES = 200, 40
DIRECTIONS, TEXTS, TRAINING, DRAWS = 96, 384, 80, 9
SPREAD = np.arange(1, DIRECTIONS + 1) ** -0.5


def most(level: float, times: int = TIMES) -> float:
    """The largest count that a rule which errs in this share of draws has, but for one in a thousand."""
    return binom.ppf(0.999, times, level)


def page(scores: np.ndarray, right: np.ndarray, often: np.ndarray) -> Ranking:
    """The ranking of T prompts. scores: (T, 1 + draws), the first column without permutation. right: (rows, T), which
    rows a prompt is right on. often: (rows,), which have the most frequent class."""
    names = [f"p-{n}" for n in range(len(scores))]
    columns = {f"null-{n}": scores[:, n] for n in range(1, scores.shape[1])}
    front = {"method": "labelcov", "model": "m", "dataset": "d", "mte_learned": "", "dte_learned": ""}
    table = pd.DataFrame({"prompt": names, "cosine": scores[:, 0], "one_order_cosine": scores[:, 0], **columns})
    rows = pd.DataFrame(np.column_stack([right, often]), columns=[*names, MAJORITY])
    return _ranking(
        table.assign(unknown_tokens=0.0, **front), "prompt", "d", "m", quality=100 * rows[names].mean(),
        count=len(rows), majority=100 * often.mean(), right=rows,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pair() -> Ranking:
    return page(np.zeros((2, 1)), np.zeros((1, 2), dtype=bool), np.ones(1, dtype=bool))


@pytest.mark.parametrize(("prompts", "like", "draws"), [(2, 0.0, 3), (2, 0.0, 9), (4, 0.99, 3)])
def test_scores_that_permuting_explains_put_no_prompt_ahead(pair, prompts, like, draws):
    """Also where all but one answer alike: how far those are apart by chance says nothing of the last one."""
    rng = np.random.default_rng(1)
    ahead = 0
    for _ in range(TIMES):
        own, common = rng.normal(size=(prompts, 1 + draws)), rng.normal(size=1 + draws)
        scores = np.sqrt(1 - like) * own + np.sqrt(like) * common
        scores[-1] = own[-1]
        of = pd.DataFrame(scores, index=[f"p-{n}" for n in range(prompts)])
        order = tuple(of[0].sort_values(ascending=False).index)
        standing = replace(pair.first, scores=of[0], ranks=of[0].rank(ascending=False), nulls=of.drop(columns=0))
        ahead += len(replace(pair, order=order, methods={"labelcov": standing}).tied_with_best) == 1
    assert ahead <= most(EACH)


def test_the_best_score_of_prompts_that_know_nothing_is_not_above_permuted_ones(pair):
    rng = np.random.default_rng(2)
    above = 0
    for _ in range(TIMES):
        own, common = rng.normal(size=(4, 4)), rng.normal(size=4)  # one permutation moves all prompts
        of = pd.DataFrame(own + common, index=list("abcd"))
        above += of[0].max() > replace(pair.first, ranks=of[0], nulls=of.drop(columns=0)).ceiling
    assert above <= most(EACH)


@pytest.mark.parametrize("together", [0.9, 0.0, -1.0])
def test_equally_good_answers_to_the_same_rows_are_told_apart_no_more_often_than_chance_does(pair, together):
    """Also of prompts that are right where the other is wrong, as inverted ones are."""
    rng = np.random.default_rng(3)
    ahead = 0
    for _ in range(2 * TIMES):
        one, other = rng.normal(size=(2, 100))
        right = np.column_stack([one, together * one + np.sqrt(1 - together**2) * other]) > 0
        rows = pd.DataFrame(right, columns=["p-0", "p-1"])
        ahead += replace(pair, rows=100, right=rows).p_ahead("p-0", "p-1") <= EACH
    assert ahead <= most(EACH, 2 * TIMES)


def direction(rng: np.random.Generator, n: int = 1) -> np.ndarray:
    """Random functions of a text (DIRECTIONS, n), each with variance 1."""
    weights = rng.normal(size=(DIRECTIONS, n))
    return weights / np.linalg.norm(weights * SPREAD[:, None], axis=0)


def simulated(rng: np.random.Generator, knows: np.ndarray, rows: int = 100) -> tuple[Ranking, np.ndarray]:
    """The ranking of T prompts by LabelCov, and their true accuracies in percent, of 2,000 other rows.

    knows: (T,) how much of the label is in a prompt's answer. rows: to check on.
    """
    task, shared, private = direction(rng), direction(rng), direction(rng, len(knows))

    def answers(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        texts = rng.normal(size=(n, DIRECTIONS)) * SPREAD
        label = (1.2 * texts @ task)[:, 0] + rng.normal(size=n) > 0
        error = texts @ private + texts @ shared + rng.normal(size=(n, 1)) + rng.normal(size=(n, len(knows)))
        return texts, label, (2 * label[:, None] - 1) * knows + error / 2 > 0

    texts, label, _ = answers(TRAINING)
    dataset = output_covariance(texts, label[:, None])[0]
    texts, _, said = answers(TEXTS)
    scores = []
    for dealt in (said, *(said[rng.permutation(TEXTS)] for _ in range(DRAWS))):
        vectors = output_covariance(texts, dealt)
        scores.append(vectors @ dataset / np.linalg.norm(vectors, axis=1) / np.linalg.norm(dataset))
    _, label, said = answers(rows + 2000)
    right, often = said == label[:, None], label == (label[:rows].mean() > 0.5)
    return page(np.array(scores).T, right[:rows], often[:rows]), 100 * right[rows:].mean(axis=0)


def test_of_equally_good_prompts_hardly_one_is_put_above_the_others():
    rng = np.random.default_rng(4)
    said = [advice(simulated(rng, np.full(4, 0.5))[0]).split("; no prompt")[0] for _ in range(PAGES)]
    assert sum(text.endswith(("show it, too", "more than chance can explain")) for text in said) <= most(0.05, PAGES)
    unknowing = [advice(simulated(rng, np.zeros(4))[0]) for _ in range(PAGES)]
    assert sum("always saying the most frequent class" not in text for text in unknowing) <= most(EACH, PAGES)


def test_the_advice_is_better_than_the_first_by_the_scores_and_than_the_best_on_a_few_rows():
    rng = np.random.default_rng(5)
    lost, good = [], []
    for _ in range(PAGES):
        ranking, true = simulated(rng, rng.normal(0.7, 0.3, 8), rows=40)
        text = advice(ranking)
        picks = (text.split()[2].rstrip(";"), ranking.order[0], ranking.quality.idxmax())
        lost.append([true.max() - true[int(pick.removeprefix("p-"))] for pick in picks])
        good.append("only for want" not in text)
    by_advice, by_scores, by_rows = np.mean(lost, axis=0)
    assert by_advice < 0.75 * by_scores and by_advice <= by_rows
    assert np.mean(good) > 0.5, "where either kind of evidence shows that a prompt can do the task, it is said to"
