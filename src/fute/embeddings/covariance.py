"""LabelCov: the covariance of a text's frozen embedding with what a black box (or a dataset) says of it.

phi (n, d) are sentence embeddings of n texts, y what is said of them. For classes

    v_c = mean_i (phi_i - mean phi) (1{y_i = c} - p_c),    p_c the share of class c,

which is minus the gradient of a linear softmax head with the weights W (classes, d), without training, at the label
prior: its loss is mean_i -log softmax(W phi_i + b)_{y_i}, its gradient by w_c is mean_i (softmax(W phi_i + b)_c -
1{y_i = c}) phi_i, and at W = 0 and the b that is best there, softmax(b) = p, this is mean_i (p_c - 1{y_i = c}) phi_i =
-v_c, as the bracket has mean 0. So v is the first step of a head's training, and nothing after it.

Plain functions on arrays; `fute.embeddings.labelcov` is the method on texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

ROUNDING = 1e-12
"""Outputs whose spread is below this share of their size are all the same."""


def label_covariance(phi: ArrayLike, labels: Sequence[str], classes: Sequence[str] | None = None) -> Array:
    """One row v_c per class, (classes, d).

    phi: (n, d). labels: n class names. classes: the names in the order of the rows; None: the different labels, sorted.
    A class that no text has gets a row of zeros. Raises ValueError for a label that is not one of `classes`, a class
    that is named twice, a label that is None or NaN, and if all labels are one class, which has no covariance with
    anything.
    """
    labels = list(labels)
    if missing := [index for index, label in enumerate(labels) if label is None or label != label]:
        raise ValueError(f"label {missing[0]} is {labels[missing[0]]}: leave out the texts that have none")
    classes = sorted(set(labels)) if classes is None else list(classes)
    if twice := [name for name in classes if classes.count(name) > 1]:
        raise ValueError(f"class {twice[0]!r} is named twice; name it once")
    place = {name: index for index, name in enumerate(classes)}
    if unknown := [label for label in labels if label not in place]:
        raise ValueError(f"label {unknown[0]!r} is not one of the classes {', '.join(map(repr, classes))}")
    return output_covariance(phi, np.eye(len(classes))[[place[label] for label in labels]])


def number_covariance(phi: ArrayLike, numbers: ArrayLike) -> Array:
    """Covariance of the embeddings with the standardised numbers (mean 0, variance 1), (1, d).

    phi: (n, d). numbers: (n,). Raises ValueError if all numbers are equal.
    """
    numbers = np.asarray(numbers, dtype=np.float64)
    covariance = output_covariance(phi, numbers[:, None])
    return covariance / numbers.std()


def output_covariance(phi: ArrayLike, outputs: ArrayLike) -> Array:
    """Covariance of the embeddings with any outputs, mean_i (y_i - mean y) (phi_i - mean phi), (k, d).

    phi: (n, d). outputs: (n, k): one-hot classes, probabilities of classes, numbers, or embeddings of answers.
    Raises ValueError for shapes that do not fit, values that are not finite, and outputs that are the same for all
    texts.
    """
    phi, outputs = np.asarray(phi, dtype=np.float64), np.asarray(outputs, dtype=np.float64)
    if phi.ndim != 2 or outputs.ndim != 2 or len(phi) != len(outputs) or not len(phi):
        raise ValueError(f"phi must be (n, d) and outputs (n, k) with n > 0, got {phi.shape} and {outputs.shape}")
    if not (np.isfinite(phi).all() and np.isfinite(outputs).all()):
        raise ValueError("phi or outputs hold values that are not finite")
    if (np.ptp(outputs, axis=0) <= ROUNDING * np.abs(outputs).max(initial=0)).all():
        raise ValueError(f"the output is the same for all {len(outputs)} texts, so it has no covariance with them")
    return (outputs - outputs.mean(0)).T @ (phi - phi.mean(0)) / len(phi)


def whitening(phi: ArrayLike) -> Array:
    """The matrix W (d, d), symmetric, that gives phi @ W the identity as its covariance, after shrinkage.

    phi: (n, d), n may be under d. W is the inverse square root of the covariance estimate of Ledoit and Wolf (2004), J.
    Multivariate Analysis 88:365, which shrinks towards a multiple of the identity. v @ W compares covariances in units
    of how far the texts spread along each direction, so that what varies most among texts, mostly their topic, does
    not outweigh the rest. Raises ValueError if all texts have one embedding.
    """
    from sklearn.covariance import ledoit_wolf

    estimate, _ = ledoit_wolf(np.asarray(phi, dtype=np.float64))
    values, vectors = np.linalg.eigh(estimate)
    if not values.min() > 0:
        raise ValueError("the embeddings of all texts are the same, so they cannot be whitened")
    return (vectors / np.sqrt(values)) @ vectors.T


def scatter(v: ArrayLike) -> Array:
    """S = sum over rows of v_c v_c^T, (d, d): what v says without the names, order and number of its classes."""
    v = np.asarray(v, dtype=np.float64)
    return v.T @ v


def scatter_product(a: ArrayLike, b: ArrayLike) -> float:
    """Frobenius product of the scatters of a (k, d) and b (m, d), without forming them: sum of (a_i . b_j)^2."""
    return float(np.square(np.asarray(a, dtype=np.float64) @ np.asarray(b, dtype=np.float64).T).sum())


def scatter_cosine(a: ArrayLike, b: ArrayLike) -> float:
    """Cosine of the scatters of a (k, d) and b (m, d), in [0, 1].

    Raises ValueError for different d or a covariance of zeros.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"scatters need (k, d) and (m, d), got {a.shape} and {b.shape}")
    norms = np.sqrt(scatter_product(a, a) * scatter_product(b, b))
    if not norms > 0:
        raise ValueError("a covariance of zeros has no direction")
    return float(np.clip(scatter_product(a, b) / norms, 0.0, 1.0))


def label_similarity(a: ArrayLike, b: ArrayLike, classes_a: Sequence[str], classes_b: Sequence[str]) -> float:
    """Similarity of two covariances: by the class names if they share all of them, else by their scatters.

    a, b: (classes, d), rows named by `classes_a` and `classes_b`, in any order. With the same names it is the cosine of
    the rows end to end, in [-1, 1]: -1 for two black boxes that always say the opposite. Otherwise `scatter_cosine`.
    Raises ValueError for different d, a covariance of zeros, or a class that is named twice.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if len(classes_a) != len(a) or len(classes_b) != len(b):
        raise ValueError(f"{len(classes_a)} and {len(classes_b)} classes for {len(a)} and {len(b)} rows")
    for names in (classes_a, classes_b):
        if len(set(names)) < len(names):
            raise ValueError(f"a class is named twice in {list(names)}; name each once")
    if sorted(classes_a) != sorted(classes_b):
        return scatter_cosine(a, b)
    if a.shape != b.shape:
        raise ValueError(f"covariances need one d, got {a.shape} and {b.shape}")
    b = b[[list(classes_b).index(name) for name in classes_a]]
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    if not norms > 0:
        raise ValueError("a covariance of zeros has no direction")
    return float(np.clip((a * b).sum() / norms, -1.0, 1.0))


def in_one_space(covariances: Sequence[ArrayLike], classes: Sequence[Sequence[str]]) -> Array:
    """Vectors (n, m) whose cosines compare n covariances by one measure, whatever their classes.

    covariances: each (classes, d); classes: the names of each one's rows. If all have the same names, the vectors are
    the rows end to end, in the order of the first one's names. Otherwise their inner products are those of the
    scatters: they are the scatters in an orthonormal basis of what these n span. A covariance of zeros is a vector of
    zeros.
    """
    arrays = [np.asarray(v, dtype=np.float64) for v in covariances]
    if len({tuple(sorted(names)) for names in classes}) == 1:
        order = classes[0]
        placed = [v[[list(names).index(name) for name in order]] for v, names in zip(arrays, classes, strict=True)]
        return np.stack([v.ravel() for v in placed])
    products = np.array([[scatter_product(a, b) for b in arrays] for a in arrays])
    scale = np.sqrt(products.diagonal())
    scale[scale == 0] = 1.0
    values, vectors = np.linalg.eigh(products / np.outer(scale, scale))
    # what rounding leaves of an eigenvalue 0 is 1e-16, and its root would tell equal scatters apart
    values[values < len(values) * np.finfo(np.float64).eps * values.max(initial=0.0)] = 0.0
    return scale[:, None] * vectors * np.sqrt(values)
