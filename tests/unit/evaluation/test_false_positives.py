"""Each rule of inference on data without anything to find: it says so in 5 % of draws, give or take their chance.

The data have what real runs have and simple tests forget: candidates that are good everywhere, rankings that are alike
for all targets, order seeds that move all prompts together.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from fute.evaluation.controls import order_noise
from fute.evaluation.metrics import best_rank, ndcg
from fute.evaluation.permutation import choice_test, ndcg_test, spearman_test
from fute.evaluation.selection import Block, average_blocks, selection_table
from fute.evaluation.transfer import Case, cell_rows, true_order

DRAWS, LEVEL = 200, 0.05
FEWEST, MOST = binom.interval(0.999, DRAWS, LEVEL)


def random_prompts(rng, datasets=3, prompts=13, rows=1000, shared=1.0):
    """Accuracies (datasets, T) of prompts that differ in the same way on all datasets, measured on `rows` rows, and
    scores (datasets, T) that know nothing of them, and are alike on all datasets as `shared` says (0 to 1)."""
    quality = rng.normal(0, 0.06, prompts)
    truth = np.clip(0.55 + quality + rng.normal(0, 0.02, (datasets, prompts)), 0.05, 0.95)
    scores = shared * rng.normal(size=prompts) + (1 - shared) * rng.normal(size=(datasets, prompts))
    return 100 * rng.binomial(rows, truth) / rows, np.broadcast_to(scores, truth.shape)


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_table_3(shared):
    rng = np.random.default_rng(1)
    tests = []
    for _ in range(DRAWS):
        performances, scores = random_prompts(rng, shared=shared)
        choices = scores.argmax(axis=1)
        rankings = *ndcg_test(performances, scores, 199), *spearman_test(performances, scores, 199)
        tests.append([*rankings, *choice_test(performances, choices, 2000)])
    *of_rankings, choice_better, choice_worse = (np.array(tests) <= LEVEL).sum(axis=0)
    assert all(FEWEST <= found <= MOST for found in of_rankings)
    assert choice_better <= MOST and choice_worse <= MOST, "few choices are possible, so their test is coarse"


def test_table_3_from_predictions():
    """The whole way, from the predictions on 1,000 rows to the verdict, for a selector that knows nothing."""
    rng = np.random.default_rng(2)
    beats = []
    for _ in range(DRAWS):
        accuracies, scores = random_prompts(rng, datasets=2)
        gold = np.zeros(1000, dtype=int)
        tables = []
        for name, accuracy, score in zip("ab", accuracies, scores, strict=True):
            wrong = (rng.random((13, 1000)) > accuracy[:, None] / 100).astype(int)
            block = Block(tuple("abcdefghijklm"), ("x", "y"), gold, wrong, {"m": score})
            tables.append((name, selection_table(block, draws=2, permutations=99)))
        beats.append(average_blocks(tables, permutations=99)["beats_random"][0])
    assert np.isin(beats, ["ndcg", "both"]).sum() <= MOST and np.isin(beats, ["performance", "both"]).sum() <= MOST


def random_cases(rng, targets=8, domain=False):
    """Targets of which each is a source of the others, or (domain) none is. Sources differ in the same way for all."""
    names = [f"s{i}" for i in range(targets)]
    good, rank = rng.normal(0, 5, targets), rng.normal(size=targets)
    cases = []
    for i in range(targets // 2 if domain else targets):
        kept = np.arange(targets) if domain else np.delete(np.arange(targets), i)
        runs = 60 + good[kept] + rng.normal(0, 1.5, len(kept))
        sources = tuple(names[k] for k in kept)
        cases.append(Case("d" if domain else names[i], sources, runs[None], np.array([60.0]), {"m": rank[kept]}))
    return cases


@pytest.mark.parametrize("domain", [False, True])
def test_tables_1_and_2(domain):
    rng = np.random.default_rng(3)
    tests = []
    for _ in range(DRAWS):
        row = cell_rows(random_cases(rng, domain=domain), draws=2, permutations=199).iloc[0]
        tests.append([row[f"{name}_p{end}"] for name in ("rho", "ndcg") for end in ("", "_worse")])
    rho, rho_worse, better, worse = (np.array(tests) <= LEVEL).sum(axis=0)
    assert FEWEST <= better <= MOST and FEWEST <= worse <= MOST
    assert rho <= MOST and rho_worse <= MOST, "ranks are few, so their test is coarse"


@pytest.mark.parametrize(("seeds", "truth", "noise"), [(2, 3, 2), (3, 3, 3), (2, 1, 2), (2, 0, 2)])
def test_the_true_order_scores_what_is_estimated(seeds, truth, noise):
    """10 sources in fine-tunings under some seeds: what the true order scores on their means, and what is estimated."""
    rng = np.random.default_rng(4)
    true, estimated, chance = [], [], []
    for draw in range(DRAWS):
        scores = 60 + truth * rng.normal(size=10)
        runs = scores + rng.normal(0, 2, (seeds, 1)) + rng.normal(0, noise, (seeds, 10))
        one = Case("t", tuple("abcdefghij"), runs, np.full(seeds, 60.0), {})
        order = scores if truth else rng.normal(size=10)
        true.append([best_rank(one.gains, order), ndcg(one.performance, order)])
        estimated.append(list(true_order(one, seed=draw).values()))
        chance.append(ndcg(one.performance, np.zeros(10)))
    (rho, value), (estimated_rho, estimated_value) = np.mean(true, axis=0), np.mean(estimated, axis=0)
    spread = np.std(true, axis=0) / np.sqrt(DRAWS)
    slack = 8 if truth == 0 else 2  # without any truth, a variance is sometimes estimated that is not there
    assert abs(estimated_value - value) < slack + 3 * spread[1]
    assert abs(estimated_rho - rho) < slack / 4 + 3 * spread[0]
    assert (np.array(estimated)[:, 1] >= np.array(chance) - 1).all(), "never under a random order"


@pytest.mark.parametrize("orders", [2, 3])
def test_order_noise(orders):
    """13 prompts that do not differ, and orders that move all of them together, far more than each of them."""
    rng = np.random.default_rng(5)
    p = []
    for _ in range(DRAWS):
        table = 0.9 + rng.normal(0, 0.02, orders) + rng.normal(0, 0.004, (13, orders))
        p.append(order_noise(table.mean(axis=1), table)["order_p"])
    assert FEWEST <= (np.array(p) <= LEVEL).sum() <= MOST


def test_what_is_there_is_found():
    """The same rules on rankings that know something: at least half of the draws are told from chance."""
    rng = np.random.default_rng(6)
    found = []
    for _ in range(50):
        performances, _ = random_prompts(rng)
        knowing = performances + 5 * rng.normal(size=performances.shape)
        table = np.linspace(0.9, 0.92, 13)[:, None] + rng.normal(0, 0.02, 2) + rng.normal(0, 0.004, (13, 2))
        cases = random_cases(rng)
        for case in cases:
            case.scores["m"][:] = case.performance + rng.normal(0, 3, len(case.candidates))
        found.append([
            ndcg_test(performances, knowing, 199).better,
            spearman_test(performances, knowing, 199).better,
            order_noise(table.mean(axis=1), table)["order_p"],
            cell_rows(cases, draws=2, permutations=199).iloc[0]["ndcg_p"],
        ])  # fmt: skip
    assert ((np.array(found) <= LEVEL).mean(axis=0) > 0.5).all()
