"""The two-way layout against least squares, and what follows from it: reliability, and the true order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f as f_distribution
from scipy.stats import norm

from fute.evaluation.controls import order_noise
from fute.evaluation.metrics import ndcg
from fute.evaluation.true_order import ndcg_of_true_order, rank_of_true_order, reliability
from fute.evaluation.two_way import two_way


@pytest.mark.parametrize(("n", "k"), [(2, 2), (5, 3), (13, 2)])
def test_two_way_is_the_comparison_of_two_linear_models(n, k):
    """Rows matter as much as the model with rows and columns fits better than the one with columns alone."""
    rng = np.random.default_rng(n)
    values = rng.normal(size=(n, k)) + rng.normal(size=(n, 1)) + 5 * rng.normal(size=k)
    rows, columns = np.repeat(np.eye(n), k, axis=0), np.tile(np.eye(k), (n, 1))
    unexplained = []
    for design in (columns, np.hstack([rows, columns])):
        fitted = design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
        unexplained.append(((values.ravel() - fitted) ** 2).sum())
    residual = unexplained[1] / ((n - 1) * (k - 1))
    f = (unexplained[0] - unexplained[1]) / (n - 1) / residual
    assert two_way(values) == pytest.approx((residual, f, f_distribution.sf(f, n - 1, (n - 1) * (k - 1))))

    # the reliability of one column, from the mean squares, and of the mean of k by Spearman and Brown
    between = f * residual
    one = (between - residual) / (between + (k - 1) * residual)
    assert reliability(values.mean(axis=1), residual / k) == pytest.approx(max(0, k * one / (1 + (k - 1) * one)))
    assert max(0, 1 - 1 / f) == pytest.approx(reliability(values.mean(axis=1), residual / k))


def test_reliability_by_hand():
    assert reliability([80.0, 80.02], 1e-4) == pytest.approx(0.5), "a variance of 2e-4, half of it noise"
    assert reliability([80.0, 80.0], 1e-4) == 0 and np.isnan(reliability([80.0], 1e-4))


def test_the_true_order_of_two_candidates_by_hand():
    """Means 0 and 2 with a noise of variance 0.8 have the reliability 1 - 0.8 / 2 = 0.6. The true values differ by
    1.2 in the mean, with a variance of 2 * 0.6 * 0.8: the lower one is truly the better in 11 %."""
    wrong = norm.sf(1.2 / np.sqrt(2 * 0.6 * 0.8))
    assert rank_of_true_order([0.0, 2.0], 0.8, seed=1) == pytest.approx(1 + wrong, abs=0.03)
    expected = (1 - wrong) * 100 + wrong * ndcg([0, 2], [1, 0])
    assert ndcg_of_true_order([0.0, 2.0], [0.0, 2.0], 0.8, seed=1) == pytest.approx(expected, abs=0.03 * 37)


def test_two_way_without_noise_or_without_anything():
    assert two_way([[1, 2], [3, 4]]) == (0, np.inf, 0)
    assert two_way([[0.1, 0.3], [0.2, 0.4], [0.6, 0.8]])[:2] == (0, np.inf), "rounding is no noise"
    residual, f, p = two_way(np.full((3, 2), 0.3))
    assert residual == 0 and np.isnan([f, p]).all()
    by_rounding = [[0.3, 0.3], [0.1 + 0.2, 0.1 + 0.2]]
    assert np.isnan(two_way(by_rounding).f)
    assert order_noise([0.3, 0.1 + 0.2], by_rounding)["verdict"].startswith("all prompts have the same similarities")
    with pytest.raises(ValueError, match="at least 2 rows and 2 columns"):
        two_way([[1, 2]])
    with pytest.raises(ValueError, match="finite"):
        two_way([[1, np.nan], [1, 2]])
