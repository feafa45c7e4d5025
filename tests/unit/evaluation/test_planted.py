"""Tests with planted black boxes: what they find where an order is there, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from fute.display_names import p_text
from fute.evaluation.planted import NOTHING, ladder_test, own_ranks, retrieval_test, spearman_interval, wilson
from fute.evaluation.resampling import bootstrap_counts

STEPS = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.0]


def test_a_perfect_order_of_seven_is_one_of_5040():
    found = ladder_test([STEPS], [[0.7, 0.6, 0.5, 0.4, 0.3, 0.2, -0.9]])
    assert found.value == pytest.approx(1) and found.chance == 0
    assert found.p == pytest.approx(1 / 5040)
    assert 0.5 < found.lo < 0.9 and found.hi == 1


def test_a_reversed_order_is_never_found():
    found = ladder_test([STEPS], [STEPS[::-1]])
    assert found.value == pytest.approx(-1) and found.p == 1


def test_the_mean_of_two_ladders_is_tested_by_one_permutation_of_the_places():
    made = [[3, 2, 1], [3, 2, 1]]
    given = [[0.9, 0.8, 0.1], [0.9, 0.1, 0.8]]  # correlations 1 and 0.5
    found = ladder_test(made, given)
    assert found.value == pytest.approx(0.75)
    assert found.p == pytest.approx(2 / 6), "of the six orders the one with the last two exchanged does as well"
    assert np.isnan([found.lo, found.hi]).all(), "three boxes have no interval"


def test_two_boxes_are_ordered_by_chance_half_the_time():
    found = ladder_test([[2, 1]], [[0.9, 0.1]])
    assert (found.value, found.p) == (pytest.approx(1), 0.5) and np.isnan(found.lo)


def test_equal_qualities_are_in_no_order():
    made, given = [1, 0.5, 0, 0, 0, -1], [0.9, 0.4, 0.1, 0.3, 0.2, -0.5]
    assert ladder_test([made], [given]).value == pytest.approx(spearmanr(made, given).statistic)
    assert ladder_test([made], [given]).p == pytest.approx(6 / 720), "the three in the middle may stand in any order"


@pytest.mark.parametrize("given", [[0.5] * 7, *([0.7, x, 0.5, 0.4, 0.3, 0.2, 0.1] for x in (np.nan, np.inf))])
def test_similarities_without_an_order_find_nothing(given):
    assert str(ladder_test([STEPS], [given])) == str(NOTHING)


def test_similarities_that_know_nothing_pass_in_five_percent():
    rng = np.random.default_rng(0)
    passed = sum(ladder_test([STEPS, STEPS], rng.normal(size=(2, 7))).p <= 0.05 for _ in range(200))
    assert 3 <= passed <= 18, "binomial, 200 draws at 5 %: 3 to 18 in 99.5 %"


def test_the_interval_by_hand():
    """Of 12 boxes, Fisher's z of 0.5 is 0.549306, and its error sqrt(1.125 / 9) = 0.353553, of which 1.96 are 0.692952.
    Of 4, a correlation of 1 counts as 1 - 12 / 60 / 2 = 0.9, whose z is 1.472219, and 1.96 errors are 2.400456."""
    assert spearman_interval(0.5, 12) == pytest.approx((-0.142666, 0.846098), abs=1e-5)
    # the mean z of two ladders, 0.5 and 0.9, is 1.010763; the error sqrt(1.125 / 9 + 1.405 / 9) / 2 = 0.265100
    both = np.tanh([1.010763 - 0.519586, 1.010763 + 0.519586])
    assert spearman_interval([0.5, 0.9], 12) == pytest.approx(tuple(both), abs=1e-5)
    assert spearman_interval([-0.5, -0.9], 12) == pytest.approx(tuple(-both[::-1]), abs=1e-5)
    assert spearman_interval(1.0, 4) == pytest.approx((np.tanh(1.472219 - 2.400456), 1), abs=1e-5)
    assert np.isnan(spearman_interval(1.0, 3)).all()


def test_the_interval_covers_the_true_correlation():
    """Of normal pairs with a correlation of 0.6, whose rank correlation is 6 / pi * asin(0.3)."""
    rng = np.random.default_rng(1)
    truth = 6 / np.pi * np.arcsin(0.3)
    pairs = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=(300, 12))
    ends = [spearman_interval(spearmanr(*each.T).statistic, 12) for each in pairs]
    assert 0.9 <= np.mean([lo <= truth <= hi for lo, hi in ends]) <= 0.99


def test_own_boxes_on_top_are_found():
    table = np.eye(8) + 0.1 * np.arange(8)  # the last box is near everything: raw similarities have hubs
    found = retrieval_test(table)
    assert found["top-1"].value == found["mrr"].value == 1
    assert found["top-1"].chance == pytest.approx(1 / 8)
    assert found["mrr"].chance == pytest.approx(np.mean(1 / np.arange(1, 9)))
    assert found["top-1"].p <= 2e-4 and found["mrr"].p <= 2e-4
    assert (found["top-1"].lo, found["top-1"].hi) == pytest.approx((0.676, 1), abs=1e-3)


def test_a_box_that_is_nearest_to_all_is_one_hit_and_no_finding():
    table = np.tile(np.arange(8.0), (8, 1))
    found = retrieval_test(table)
    assert found["top-1"].value == pytest.approx(1 / 8)
    assert found["top-1"].p == 1 and found["mrr"].p == 1, "every order of the names does as well"


def test_retrieval_that_knows_nothing_passes_in_five_percent():
    rng = np.random.default_rng(2)
    passed = sum(retrieval_test(rng.normal(size=(6, 6)), 10)["mrr"].p <= 0.05 for _ in range(200))
    assert 2 <= passed <= 18


def test_equal_similarities_share_a_rank():
    assert own_ranks([[0.5, 0.5, 0.1]]).tolist() == [[1.5, 1.5, 3.0]]
    assert retrieval_test(np.zeros((4, 4)))["top-1"].value == 0
    lacking = np.eye(4)
    lacking[1, 2] = np.nan
    assert {str(found) for found in retrieval_test(lacking).values()} == {str(NOTHING)}


def test_the_interval_of_reciprocal_ranks_is_a_bootstrap_over_targets():
    table = np.random.default_rng(3).normal(size=(6, 6))
    own = [1 / (1 + sum(value > row[i] for value in row)) for i, row in enumerate(table)]
    means = [np.repeat(own, count).mean() for count in bootstrap_counts(6, 200, 42)]
    found = retrieval_test(table, 200)["mrr"]
    assert (found.value, found.lo, found.hi) == pytest.approx((np.mean(own), *np.percentile(means, [2.5, 97.5])))


def test_wilson():
    from scipy.stats import binomtest

    exact = binomtest(5, 8).proportion_ci(method="wilson")
    assert wilson(5 / 8, 8) == pytest.approx((exact.low, exact.high), abs=1e-6)


def test_no_test_has_no_p_value_in_print():
    assert [p_text(p) for p in (0.0004, 0.001, 0.05, 1)] == ["<0.001", "0.001", "0.050", "1.000"]
    with pytest.raises(ValueError, match="there was no test"):
        p_text(NOTHING.p)
