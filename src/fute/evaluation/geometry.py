"""Geometry of task embeddings for the figures: clusters in the original space, and maps to two dimensions.

Vectors are compared by cosine everywhere. The maps use L2-normalised vectors, where Euclidean distance has the same
order. Distances between clusters of a t-SNE map have no meaning: use the numbers.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Silhouette(NamedTuple):
    """`value` in [-1, 1], or NaN with a `note` that gives the reason."""

    value: float
    note: str


def silhouette_by(vectors: ArrayLike, labels: ArrayLike) -> Silhouette:
    """Mean silhouette (Rousseeuw 1987; cosine distance) of vectors (n, d) grouped by labels (n,), in [-1, 1].

    NaN with a note if there is only one group, or a group of one vector, which has no distance within.
    """
    unit = _unit(vectors)
    labels = _labels(labels, len(unit))
    names, sizes = np.unique(labels, return_counts=True)
    if len(names) < 2:
        all_of_them = f"all {len(unit)} vectors are" if len(unit) > 1 else "the only vector is"
        return Silhouette(float("nan"), f"{all_of_them} of one group, {names[0]}")
    if sizes.min() == 1:
        alone = ", ".join(str(name) for name in names[sizes == 1])
        return Silhouette(float("nan"), f"groups of one vector: {alone}")
    from sklearn.metrics import silhouette_score

    return Silhouette(float(silhouette_score(unit, labels, metric="cosine")), "")


def _cosines(vectors: ArrayLike) -> NDArray[np.float64]:
    unit = _unit(vectors)
    # Rounded, so that equal vectors tie in spite of the summation order of the matrix product.
    return np.round(unit @ unit.T, 12)


def nearest(vectors: ArrayLike, k: int = 5, within: ArrayLike | None = None) -> list[NDArray[np.int64]]:
    """Indices of the k nearest vectors (cosine) of each of n vectors, nearest first, without the vector itself.

    within: (n,); if given, neighbours have the same value as the vector. There are fewer than k indices if there are
    not enough neighbours. Equal cosines are ordered by index.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    cosines = _cosines(vectors)
    groups = np.zeros(len(cosines)) if within is None else _labels(within, len(cosines))
    neighbours = []
    for index, row in enumerate(cosines):
        others = np.flatnonzero(groups == groups[index])
        others = others[others != index]
        neighbours.append(others[np.argsort(-row[others], kind="stable")][:k])
    return neighbours


def neighbour_purity(vectors: ArrayLike, labels: ArrayLike, k: int = 5, within: ArrayLike | None = None) -> float:
    """Share of a vector's k nearest neighbours that have its label, in [0, 1]; mean over vectors.

    within: as in `nearest`, e.g. purity of models within a category. Vectors without neighbours are left out; NaN if no
    vector has one.
    """
    neighbours = nearest(vectors, k, within)
    labels = _labels(labels, len(neighbours))
    shares = [(labels[near] == labels[i]).mean() for i, near in enumerate(neighbours) if len(near)]
    return float(np.mean(shares)) if shares else float("nan")


class Shared(NamedTuple):
    """Shares in [0, 1], or NaN if nothing could be shared. value: the measured share; chance: the share by chance."""

    value: float
    chance: float


def label_shared_across(
    vectors: ArrayLike, labels: ArrayLike, groups: ArrayLike, members: ArrayLike | None = None
) -> Shared:
    """Share of vectors (n, d) whose nearest vector (cosine) of another group has the same label (n,).

    It shows, for example, if models of one dataset (labels) are close to each other across architectures (groups,
    (n,)). Vectors with a label that no other group has are left out, and those that are False in `members` (n,), whose
    vectors can still be the nearest. Equal cosines are ordered by index.
    """
    cosines = _cosines(vectors)
    labels, groups = _labels(labels, len(cosines)), _labels(groups, len(cosines))
    members = np.ones(len(cosines), dtype=bool) if members is None else _labels(members, len(cosines))
    shared, chances = [], []
    for index, row in enumerate(cosines):
        others = np.flatnonzero(groups != groups[index])
        alike = labels[others] == labels[index]
        if members[index] and alike.any():
            shared.append(alike[np.argmax(row[others])])
            chances.append(alike.mean())
    return Shared(float(np.mean(shared)), float(np.mean(chances))) if shared else Shared(float("nan"), float("nan"))


def label_shared_by_strings(labels: ArrayLike, groups: ArrayLike, strings: ArrayLike) -> NDArray[np.float64]:
    """Chance that a baseline which knows only label strings finds the label of each vector in another group: (n,).

    labels, groups: (n,), as in `label_shared_across`; labels are datasets. strings: (n,), equal for vectors whose
    datasets have the same label strings. The baseline takes one of the vectors of other groups with the same strings at
    random. NaN for vectors with a label that no other group has.
    """
    labels = np.asarray(labels)
    groups, strings = _labels(groups, len(labels)), _labels(strings, len(labels))
    chances = np.full(len(labels), np.nan)
    for index in range(len(labels)):
        others = labels[(groups != groups[index]) & (strings == strings[index])]
        if (others == labels[index]).any():
            chances[index] = (others == labels[index]).mean()
    return chances


ALIKE = 1e-12
"""Unit vectors whose entries differ by less point the same way."""
TSNE_VECTORS = 4
"""With fewer vectors the perplexity, a number of neighbours, is below 1."""


@dataclass(frozen=True)
class Projection:
    """Two-dimensional views of n vectors.

    tsne: (n, 2); NaN for fewer than 4 vectors. pca: (n, 2). explained: shares of variance of the two principal
    components, in [0, 1]. All NaN for fewer than two different vectors.
    """

    tsne: NDArray[np.float64]
    pca: NDArray[np.float64]
    explained: tuple[float, float]


def project(vectors: ArrayLike, seed: int = 42) -> Projection:
    """Both maps of vectors (n, d): t-SNE's is NaN for fewer than 4 of them, both for fewer than two different ones."""
    unit = _unit(vectors)
    if len(unit) < 2 or np.ptp(unit, axis=0).max() < ALIKE:
        nowhere = np.full((len(unit), 2), np.nan)
        return Projection(nowhere, nowhere, (float("nan"), float("nan")))
    left, scale, _ = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    pca = _fix_signs(left[:, :2] * scale[:2])
    shares = (pca**2).sum(axis=0) / float(((unit - unit.mean(axis=0)) ** 2).sum())
    tsne = _tsne(unit, seed) if len(unit) >= TSNE_VECTORS else np.full_like(pca, np.nan)
    return Projection(tsne, pca, (float(shares[0]), float(shares[1])))


def _tsne(unit: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """t-SNE map (n, 2) of unit vectors (n, d), n >= 4, with perplexity min(30, (n - 1) / 3).

    The paper states no settings; here they are PCA start, automatic learning rate and 1,000 iterations. The method is
    the exact one, because figures have under 100 points, where the approximate one saves no time.
    """
    from sklearn.manifold import TSNE

    mapped = TSNE(
        n_components=2,
        perplexity=min(30.0, (len(unit) - 1) / 3),
        init="pca",
        learning_rate="auto",
        max_iter=1000,
        method="exact",
        random_state=seed,
    ).fit_transform(unit)
    return _fix_signs(mapped.astype(float))


def _fix_signs(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fix the arbitrary sign of each axis: its entry of largest size becomes positive."""
    largest = points[np.abs(points).argmax(axis=0), np.arange(points.shape[1])]
    return points * np.where(largest < 0, -1.0, 1.0)


def _unit(vectors: ArrayLike) -> NDArray[np.float64]:
    vectors = np.asarray(vectors, dtype=float)
    if vectors.ndim != 2 or vectors.size == 0:
        raise ValueError(f"vectors must have shape (n, d) and not be empty, got {vectors.shape}")
    norms = np.linalg.norm(vectors, axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if bad.size:
        raise ValueError(f"vectors {bad.tolist()} are zero or not finite, so they have no cosine")
    return vectors / norms[:, None]


def _labels(labels: ArrayLike, n: int) -> NDArray:
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ValueError(f"expected one label for each of {n} vectors, got shape {labels.shape}")
    return labels
