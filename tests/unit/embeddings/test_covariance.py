"""LabelCov on arrays: a case by hand, a loop, the gradient by autograd, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest

from fute.embeddings.covariance import (
    in_one_space,
    label_covariance,
    label_similarity,
    number_covariance,
    output_covariance,
    scatter,
    scatter_cosine,
    whitening,
)
from fute.embeddings.similarity import cosine_around

RNG = np.random.default_rng(0)
PHI = RNG.normal(size=(40, 5))
LABELS = [("no", "yes", "maybe")[i] for i in RNG.integers(0, 3, 40)]


def test_two_dimensions_by_hand():
    """Mean phi is (1, 1), and half of the texts are of each class."""
    phi = [[2.0, 0.0], [2.0, 2.0], [0.0, 2.0], [0.0, 0.0]]
    v = label_covariance(phi, ["yes", "yes", "no", "no"])
    np.testing.assert_allclose(v, [[-0.5, 0.0], [0.5, 0.0]])  # sorted: no, yes
    np.testing.assert_allclose(scatter(v), [[0.5, 0.0], [0.0, 0.0]])
    other = label_covariance(phi, ["yes", "no", "yes", "no"])  # yes: phi_1 = (2, 0) and phi_3 = (0, 2)
    np.testing.assert_allclose(other, [[0.0, 0.0], [0.0, 0.0]], atol=1e-15)
    slanted = label_covariance(phi, ["yes", "no", "no", "no"])
    np.testing.assert_allclose(slanted, [[-0.25, 0.25], [0.25, -0.25]])
    assert label_similarity(v, slanted, ["no", "yes"], ["no", "yes"]) == pytest.approx(np.sqrt(0.5))
    assert label_similarity(v, slanted, ["no", "yes"], ["yes", "no"]) == pytest.approx(-np.sqrt(0.5))
    assert label_similarity(v, slanted, ["no", "yes"], ["A", "B"]) == pytest.approx(0.5)
    np.testing.assert_allclose(number_covariance(phi, [3.0, 3.0, -1.0, -1.0]), [[1.0, 0.0]])


def test_a_loop_over_texts_and_classes_gives_the_same():
    mean = sum(PHI) / len(PHI)
    for row, name in zip(label_covariance(PHI, LABELS), sorted(set(LABELS)), strict=True):
        share = LABELS.count(name) / len(LABELS)
        terms = [(x - mean) * ((label == name) - share) for x, label in zip(PHI, LABELS, strict=True)]
        np.testing.assert_allclose(row, sum(terms) / len(terms), atol=1e-15)


@pytest.mark.parametrize("soft", [False, True])
def test_it_is_minus_the_gradient_of_a_softmax_head_at_the_label_prior(soft):
    import torch

    y = np.eye(3)[[sorted(set(LABELS)).index(label) for label in LABELS]]
    if soft:
        y = RNG.dirichlet(np.ones(3), size=len(PHI))
    weight = torch.zeros(3, PHI.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(np.log(y.mean(0)), requires_grad=True)
    logits = torch.tensor(PHI) @ weight.T + bias
    torch.nn.functional.cross_entropy(logits, torch.tensor(y)).backward()
    found = output_covariance(PHI, y) if soft else label_covariance(PHI, LABELS)
    np.testing.assert_allclose(found, -weight.grad.numpy(), atol=1e-15)
    np.testing.assert_allclose(bias.grad.numpy(), 0, atol=1e-15)  # the prior is the best bias


def test_what_changes_nothing_and_what_turns_it_round():
    v = label_covariance(PHI, LABELS)
    order = RNG.permutation(len(PHI))
    np.testing.assert_allclose(label_covariance(PHI[order], [LABELS[i] for i in order]), v, atol=1e-15)
    np.testing.assert_allclose(label_covariance(PHI + 7.0, LABELS), v, atol=1e-14)
    np.testing.assert_allclose(v.sum(0), 0, atol=1e-15)
    twice = label_covariance(np.vstack([PHI, PHI]), [*LABELS, *LABELS])
    np.testing.assert_allclose(twice, v, atol=1e-15)
    with_empty = label_covariance(PHI, LABELS, ["never", *sorted(set(LABELS))])
    np.testing.assert_allclose(with_empty, np.vstack([np.zeros(5), v]))
    binary = ["yes" if label == "yes" else "no" for label in LABELS]
    opposite = ["no" if label == "yes" else "yes" for label in LABELS]
    a, b = label_covariance(PHI, binary), label_covariance(PHI, opposite)
    assert label_similarity(a, b, ("no", "yes"), ("no", "yes")) == pytest.approx(-1)
    assert scatter_cosine(a, b) == pytest.approx(1)  # a scatter knows no names
    numbers = RNG.normal(size=40)
    np.testing.assert_allclose(number_covariance(PHI, 3 * numbers - 8), number_covariance(PHI, numbers), atol=1e-14)


def test_scatters_are_compared_without_forming_them():
    a, b = RNG.normal(size=(3, 5)), RNG.normal(size=(2, 5))
    whole = scatter(a).ravel() @ scatter(b).ravel() / np.linalg.norm(scatter(a)) / np.linalg.norm(scatter(b))
    assert scatter_cosine(a, b) == pytest.approx(whole)
    turn, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    assert scatter_cosine(turn @ a, b) == pytest.approx(whole)  # nor any order or mixture of rows
    np.testing.assert_allclose(label_similarity(a, b, "abc", "ab"), whole)


def test_one_space_has_the_similarities_of_all_pairs():
    arrays = [RNG.normal(size=(k, 5)) for k in (2, 3, 1, 2)] + [np.zeros((2, 5))]
    vectors = in_one_space(arrays, ["ab", "abc", "x", "ab", "ab"])
    expected = [[np.sum(scatter(a) * scatter(b)) for b in arrays] for a in arrays]
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-12)
    np.testing.assert_allclose(vectors[4], 0, atol=1e-12)


def test_rows_of_three_classes_stand_in_any_order():
    v = RNG.normal(size=(3, 5))
    assert label_similarity(v, v[[1, 2, 0]], "abc", "bca") == pytest.approx(1)
    np.testing.assert_allclose(in_one_space([v, v[[1, 2, 0]]], ["abc", "bca"]), [v.ravel(), v.ravel()])


def test_equal_scatters_are_one_point_of_their_space():
    a, b = RNG.normal(size=(2, 384)), RNG.normal(size=(2, 384))
    vectors = in_one_space([a, -a, a[::-1], b, a], ["ab", "ab", "ba", "ab", "cd"])
    for place in (1, 2, 4):
        np.testing.assert_allclose(vectors[place], vectors[0], rtol=0, atol=1e-12 * np.linalg.norm(vectors[0]))
    alike = in_one_space([a, -a, a], ["ab", "ab", "cd"])
    assert np.isnan(cosine_around(alike[0], alike[1], alike[1:].mean(0)))


def test_what_has_no_covariance_is_refused():
    with pytest.raises(ValueError, match="the same for all 40 texts"):
        label_covariance(PHI, ["yes"] * 40, ["no", "yes"])
    with pytest.raises(ValueError, match="the same for all 40 texts"):
        number_covariance(PHI, np.full(40, 0.1))
    with pytest.raises(ValueError, match="the same for all 40 texts"):
        output_covariance(PHI, np.where(np.arange(40) % 2, 0.3, 0.1 + 0.2)[:, None])  # but for rounding
    with pytest.raises(ValueError, match="'perhaps' is not one of the classes 'no', 'yes'"):
        label_covariance(PHI, ["perhaps"] * 40, ["no", "yes"])
    with pytest.raises(ValueError, match="class 'yes' is named twice"):
        label_covariance(PHI, ["yes", "no"] * 20, ["no", "yes", "yes"])
    for nothing in (None, float("nan")):
        with pytest.raises(ValueError, match=f"label 1 is {nothing}: leave out the texts"):
            label_covariance(PHI, ["yes", nothing] * 20)
    with pytest.raises(ValueError, match="not finite"):
        number_covariance(PHI, [np.nan] * 40)
    with pytest.raises(ValueError, match=r"got \(40, 5\) and \(39, 2\)"):
        output_covariance(PHI, np.ones((39, 2)))
    with pytest.raises(ValueError, match=r"a class is named twice in \['yes', 'yes'\]"):
        label_similarity(np.eye(2), np.eye(2), ["no", "yes"], ["yes", "yes"])
    with pytest.raises(ValueError, match="no direction"):
        scatter_cosine(np.zeros((2, 5)), np.ones((2, 5)))


def test_whitening_undoes_the_shrunk_covariance():
    from sklearn.covariance import LedoitWolf

    for phi in (PHI, PHI[:3]):  # more texts than dimensions, and fewer
        w = whitening(phi)
        np.testing.assert_allclose(w, w.T, atol=1e-12)
        np.testing.assert_allclose(w @ LedoitWolf().fit(phi).covariance_ @ w, np.eye(5), atol=1e-9)
    with pytest.raises(ValueError, match="the same"):
        whitening(np.ones((4, 3)))


def test_whitened_covariances_do_not_hang_on_a_direction_in_which_texts_differ_most():
    """Both boxes follow direction 0 alike; direction 1 spreads ten times as far, and they follow it oppositely."""
    rng = np.random.default_rng(1)
    phi = rng.normal(size=(4000, 2))
    one, other = np.where(phi @ [1, 0.3] > 0, "b", "a"), np.where(phi @ [1, -0.3] > 0, "b", "a")
    wide = phi * [1, 10]
    v, u = label_covariance(wide, list(one)), label_covariance(wide, list(other))
    assert label_similarity(v, u, ["a", "b"], ["a", "b"]) < -0.5
    w = whitening(wide)
    assert label_similarity(v @ w, u @ w, ["a", "b"], ["a", "b"]) > 0.7
