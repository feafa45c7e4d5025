"""Scores of transferability, each against an independent computation: loops, integrals, numerical optimisation."""

from __future__ import annotations

from itertools import permutations
from math import log, sqrt

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, norm
from sklearn.mixture import GaussianMixture

from fute.baselines.transferability import accuracy, gbc, h_score, leep, logme, n_leep, task_vector_cosine, transrate

RNG = np.random.default_rng(0)
LABELS = np.array(["a", "b", "c"])[RNG.integers(0, 3, 60)]
FEATURES = RNG.normal(size=(60, 4)) + 0.8 * np.eye(4)[[("a", "b", "c").index(label) for label in LABELS]]


def test_accuracy():
    assert accuracy(["x", "y", "y"], ["x", "x", "y"]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="2 and 1"):
        accuracy(["x", "y"], ["x"])


def test_leep_by_loops():
    theta = RNG.dirichlet(np.ones(4), size=60)
    joint = {}
    for row, label in zip(theta, LABELS, strict=True):
        for z, chance in enumerate(row):
            joint[label, z] = joint.get((label, z), 0.0) + chance / 60
    given = {(y, z): p / sum(joint[other, z] for other in "abc") for (y, z), p in joint.items()}
    terms = [
        log(sum(given[label, z] * chance for z, chance in enumerate(row)))
        for row, label in zip(theta, LABELS, strict=True)
    ]
    assert leep(theta, LABELS) == pytest.approx(sum(terms) / 60)
    assert leep(np.pad(theta, ((0, 0), (0, 1))), LABELS) == leep(theta, LABELS), "a class that the model never gives"


def test_leep_of_a_perfect_a_renamed_and_a_useless_model():
    onehot = np.eye(3)[[("a", "b", "c").index(label) for label in LABELS]]
    assert leep(onehot, LABELS) == pytest.approx(0)
    assert leep(onehot[:, [2, 0, 1]], LABELS) == pytest.approx(0), "the model's classes are its own"
    shares = [np.mean(name == LABELS) for name in "abc"]
    assert leep(np.full((60, 2), 0.5), LABELS) == pytest.approx(sum(p * log(p) for p in shares))
    with pytest.raises(ValueError, match="distribution"):
        leep(np.full((60, 2), 0.7), LABELS)


def test_n_leep_of_clusters_that_are_apart_is_leep_of_the_clusters():
    cluster = RNG.integers(0, 4, 80)
    features = 100 * np.eye(4)[cluster] + RNG.normal(size=(80, 4))
    labels = np.where(RNG.random(80) < 0.8, cluster % 2, 1 - cluster % 2)
    assert n_leep(features, labels, per_class=2) == pytest.approx(leep(np.eye(4)[cluster], labels), abs=1e-6)


def test_n_leep_has_five_clusters_a_class_on_the_components_with_four_fifths_of_the_variance():
    left, singular, _ = np.linalg.svd(FEATURES - FEATURES.mean(0), full_matrices=False)
    kept = 1 + np.searchsorted(np.cumsum(singular**2) / (singular**2).sum(), 0.8)
    projected = (left * singular)[:, :kept]
    clusters = GaussianMixture(15, covariance_type="diag", random_state=42).fit(projected).predict_proba(projected)
    assert kept == 3 and n_leep(FEATURES, LABELS) == pytest.approx(leep(clusters, LABELS))


@pytest.mark.parametrize(("shape", "weight"), [((60, 4), 1), ((20, 30), 1), ((60, 4), 9)])
def test_logme_is_the_largest_evidence_of_the_normal_density(shape, weight):
    n, _ = shape
    features = RNG.normal(size=shape)
    y = weight * features[:, 0] + RNG.normal(size=n)

    def minus_log_density(logs):
        alpha, beta = np.exp(logs)
        covariance = features @ features.T / alpha + np.eye(n) / beta
        return -multivariate_normal(np.zeros(n), covariance).logpdf(y)

    best = minimize(minus_log_density, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9}).fun
    assert logme(features, y, regression=True) == pytest.approx(-best / n, abs=1e-5)


def test_logme_of_classes_is_the_mean_over_them():
    each = [logme(FEATURES, (name == LABELS).astype(float), regression=True) for name in "abc"]
    assert logme(FEATURES, LABELS) == pytest.approx(np.mean(each))
    assert logme(FEATURES, LABELS) > logme(FEATURES, RNG.permutation(LABELS))


def test_h_score_by_a_loop_and_its_bounds():
    from sklearn.covariance import ledoit_wolf

    shrunk, alpha = ledoit_wolf(FEATURES)
    values, axes = np.linalg.eigh(shrunk)
    total = 0.0
    for name in "abc":
        shift = FEATURES[name == LABELS].mean(0) - FEATURES.mean(0)
        total += np.mean(name == LABELS) * sum(
            (shift @ axis) ** 2 / value for axis, value in zip(axes.T, values, strict=True)
        )
    assert h_score(FEATURES, LABELS) == pytest.approx((1 - alpha) * total)
    apart = 1000 * np.eye(3)[[("a", "b", "c").index(label) for label in LABELS]] + RNG.normal(size=(60, 3))
    assert 1.5 < h_score(apart, LABELS) <= 2
    assert h_score(np.full((60, 4), 0.1), LABELS) == 0, "a model that sees no difference"


@pytest.mark.parametrize("d", [3, 90])
def test_transrate_by_eigenvalues(d):
    features = RNG.normal(size=(60, d))
    centred = features - features.mean(0)

    def rate(z):
        return sum(log(1 + v / (len(z) * 1e-4)) for v in np.linalg.svd(z, compute_uv=False) ** 2) / 2

    within = sum(np.mean(name == LABELS) * rate(centred[name == LABELS]) for name in "abc")
    assert transrate(features, LABELS) == pytest.approx(rate(centred) - within)


def test_gbc_of_one_dimension_is_minus_twice_the_integral_of_the_overlap():
    features = np.concatenate([RNG.normal(0, 1, 50), RNG.normal(1.5, 0.5, 30)])[:, None]
    labels = ["x"] * 50 + ["y"] * 30
    one, other = features[:50, 0], features[50:, 0]
    densities = [norm(part.mean(), part.std()) for part in (one, other)]
    overlap, _ = quad(lambda t: sqrt(densities[0].pdf(t) * densities[1].pdf(t)), -10, 10)
    assert gbc(features, labels) == pytest.approx(-2 * overlap, abs=1e-6)
    assert gbc(np.vstack([features[:30]] * 2), ["x"] * 30 + ["y"] * 30) == pytest.approx(-2)
    assert gbc(np.ones((6, 4)), list("xyxyxy")) == pytest.approx(-2), "a model that sees no difference is the worst"
    # of a class of equal rows, the width is a billionth of the whole's
    values = np.concatenate([np.ones(30), other])
    least = 1e-9 * values.var()
    wide = other.var() + least
    overlap = sqrt(2 * sqrt(least * wide) / (least + wide)) * np.exp(-((other.mean() - 1) ** 2) / 4 / (least + wide))
    assert gbc(values[:, None], ["x"] * 30 + ["y"] * 30) == pytest.approx(-2 * overlap) and overlap > 1e-3


@pytest.mark.parametrize("dimensions", [2, 64])
def test_gbc_of_three_classes_by_the_closed_form(dimensions):
    """Over the axes of the largest variance: all four of them, or two."""
    axes = np.linalg.eigh(np.cov(FEATURES.T))[1][:, -dimensions:]
    expected = 0.0
    for one, other in permutations([FEATURES[name == LABELS] @ axes for name in "abc"], 2):
        both = one.var(0) + other.var(0)
        widths, apart = np.sqrt(2 * one.std(0) * other.std(0) / both), np.square(one.mean(0) - other.mean(0))
        expected -= (widths * np.exp(-apart / both / 4)).prod()
    assert gbc(FEATURES, LABELS, dimensions=dimensions) == pytest.approx(expected)
    assert (gbc(FEATURES, LABELS) == gbc(FEATURES, LABELS, dimensions=dimensions)) == (dimensions == 64)


def test_task_vectors():
    start = {"w": np.ones((2, 2)), "b": np.zeros(2)}
    a = {"w": np.array([[2.0, 1.0], [1.0, 1.0]]), "b": np.array([0.0, 3.0]), "head": np.ones(3)}
    b = {"w": np.array([[2.0, 1.0], [1.0, 1.0]]), "b": np.array([2.0, 0.0]), "head": -np.ones(3)}
    assert task_vector_cosine(start, a, b) == pytest.approx(1 / (10 * 5) ** 0.5)
    with pytest.raises(ValueError, match="'c' is not of one shape"):
        task_vector_cosine(start | {"c": np.ones(2)}, a | {"c": np.zeros(2)}, b)
    with pytest.raises(ValueError, match="'b' is not of one shape"):
        task_vector_cosine(start, a, {"w": b["w"], "b": np.ones(3)})
    with pytest.raises(ValueError, match="no task vector"):
        task_vector_cosine(start, a, start)


def test_what_cannot_be_used_is_said():
    with pytest.raises(ValueError, match=r"got \(60, 4\) and 3 labels"):
        logme(FEATURES, ["a", "b", "c"])
    with pytest.raises(ValueError, match="two rows or more, got one; give more"):
        n_leep(FEATURES[:1], LABELS[:1])
    with pytest.raises(ValueError, match="not finite"):
        gbc(np.full((3, 2), np.nan), ["a", "b", "c"])
