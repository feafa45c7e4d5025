"""How well a model fits a labelled dataset without training on it: accuracy, LEEP and the scores of transfer learning.

What a user would compute instead of task embeddings, where the target's labelled rows and the model's outputs or states
on them are at hand. In all of them higher is better. labels: n class names (or any values that can be compared).
features (n, d): the model's states of the n texts, for example pooled as in `fute.embeddings.sentence_encoder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def accuracy(predictions: Sequence[Any], labels: Sequence[Any]) -> float:
    """Share of rows whose prediction is the label. Raises ValueError for different lengths or no rows."""
    if len(predictions) != len(labels) or not len(labels):
        raise ValueError(f"needs as many predictions as labels, at least one; got {len(predictions)} and {len(labels)}")
    return float(np.mean([said == label for said, label in zip(predictions, labels, strict=True)]))


def leep(theta: ArrayLike, labels: Sequence[Any]) -> float:
    """LEEP (Nguyen et al. 2020), in nats: mean log-likelihood of the labels, read off the model's own classes.

    theta: (n, z), the probabilities that the model gives to its own z classes, whatever they are. P(y | z) is their
    joint frequency with the labels on these rows, and LEEP = mean_i log sum_z P(y_i | z) theta_iz. At most 0, and at
    least minus the entropy of the labels.
    """
    theta, codes = _rows(theta, labels, "theta")
    if (theta < 0).any() or (np.abs(theta.sum(axis=1) - 1) > 1e-3).any():
        raise ValueError("every row of theta must be a distribution over the model's classes")
    onehot = np.eye(codes.max() + 1)[codes]
    joint = onehot.T @ theta / len(theta)  # (y, z)
    mass = joint.sum(axis=0)
    given = np.divide(joint, mass, out=np.zeros_like(joint), where=mass > 0)
    return float(np.log((given[codes] * theta).sum(axis=1)).mean())


def n_leep(features: ArrayLike, labels: Sequence[Any], *, per_class: int = 5, seed: int = 42) -> float:
    """N-LEEP (Li et al. 2021): LEEP of the clusters of a Gaussian mixture over the features, in place of classes.

    Features are projected on the principal components with 80 % of the variance; the mixture has `per_class` components
    per class, as published, and diagonal covariances (ours: full ones need more rows than small targets have).
    Raises ValueError for a single row.
    """
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    features, codes = _rows(features, labels, "features")
    if len(features) < 2:
        raise ValueError("N-LEEP's mixture needs two rows or more, got one; give more labelled rows of this target")
    components = min(per_class * (codes.max() + 1), len(features))
    projected = PCA(0.8, svd_solver="full").fit_transform(features)
    mixture = GaussianMixture(components, covariance_type="diag", random_state=seed).fit(projected)
    return leep(mixture.predict_proba(projected), codes)


def logme(features: ArrayLike, labels: Sequence[Any], *, regression: bool = False) -> float:
    """LogME (You et al. 2021): largest log-evidence of a Bayesian linear model of the labels per row, in nats.

    y = F w + noise, w ~ N(0, 1 / alpha), noise ~ N(0, 1 / beta), with the alpha and beta of the largest evidence. For
    classes: the mean over them, each against all others. regression: labels are numbers. Features are not centred.
    """
    features, codes = _rows(features, labels, "features")
    targets = np.asarray(labels, dtype=np.float64)[:, None] if regression else np.eye(codes.max() + 1)[codes]
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    return float(np.mean([_log_evidence(left, singular, features.shape[1], y) for y in targets.T]))


def _log_evidence(left: Array, singular: Array, d: int, y: Array) -> float:
    """Log-evidence per row at the best alpha and beta, by MacKay's fixed point. left, singular: of the features."""
    n, squares = len(y), singular**2
    inside = left.T @ y
    outside = max(float(y @ y - inside @ inside), 0.0)
    alpha = beta = 1.0
    for _ in range(1000):
        ratio = alpha / beta
        shrink = squares + ratio
        weights = float(np.square(singular * inside / shrink).sum())
        residual = float(np.square(inside * ratio / shrink).sum()) + outside
        effective = float((squares / shrink).sum())
        alpha = effective / max(weights, 1e-12)
        beta = (n - effective) / max(residual, 1e-12)
        if abs(alpha / beta - ratio) <= 1e-9 * ratio:
            break
    ratio = alpha / beta
    shrink = squares + ratio
    weights = float(np.square(singular * inside / shrink).sum())
    residual = float(np.square(inside * ratio / shrink).sum()) + outside
    log_det = float(np.log(alpha + beta * squares).sum()) + (d - len(squares)) * np.log(alpha)
    evidence = n * np.log(beta / (2 * np.pi)) + d * np.log(alpha) - beta * residual - alpha * weights - log_det
    return float(evidence / (2 * n))


def h_score(features: ArrayLike, labels: Sequence[Any]) -> float:
    """H-score with shrinkage (Bao et al. 2019; Ibrahim et al. 2022): tr(cov_a(f)^-1 (1 - a) cov(mean of f's class)).

    cov_a is the Ledoit-Wolf estimate, a its shrinkage. The share of the features' (whitened) variance that lies between
    the classes, summed over directions; at most the number of classes less one.
    """
    from sklearn.covariance import LedoitWolf

    features, codes = _rows(features, labels, "features")
    features = features - features[0]  # else the mean of equal rows differs from them by rounding
    estimate = LedoitWolf().fit(features)
    between = _class_means(features, codes)[codes] - features.mean(axis=0)
    covariance = between.T @ between / len(features)
    return float((1 - estimate.shrinkage_) * np.trace(np.linalg.pinv(estimate.covariance_) @ covariance))


def transrate(features: ArrayLike, labels: Sequence[Any], *, eps: float = 1e-4) -> float:
    """TransRate (Huang et al. 2022), in nats: coding rate of all features less the mean rate within the classes.

    R(Z) = 1/2 log det(I + Z^T Z / (n eps)) of centred features. The rates of the classes have the weights n_c / n, as a
    mutual information needs them (the authors' code: 1 / classes).
    """
    features, codes = _rows(features, labels, "features")
    centred = features - features.mean(axis=0)
    within = [(codes == c).mean() * _coding_rate(centred[codes == c], eps) for c in range(codes.max() + 1)]
    return _coding_rate(centred, eps) - float(sum(within))


def _coding_rate(z: Array, eps: float) -> float:
    # the smaller of the two Gram matrices has the same determinant
    gram = z.T @ z if z.shape[1] <= len(z) else z @ z.T
    return float(np.linalg.slogdet(np.eye(len(gram)) + gram / (len(z) * eps))[1] / 2)


def gbc(features: ArrayLike, labels: Sequence[Any], *, dimensions: int = 64) -> float:
    """GBC (Pandy et al. 2022): minus the sum over ordered pairs of classes of their Bhattacharyya coefficient.

    Each class is a Gaussian with a diagonal covariance, over the first principal components (64 as published). 0 for
    classes that do not overlap, -classes (classes - 1) for classes that are the same.
    """
    features, codes = _rows(features, labels, "features")
    centred = features - features.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    projected = centred @ axes[:dimensions].T
    means = _class_means(projected, codes)
    # a class of equal rows has no width: it gets a billionth of the whole; the square of the rest is no 0
    least = 1e-9 * projected.var(axis=0).mean() + 1e-150
    variances = np.array([projected[codes == c].var(axis=0) for c in range(codes.max() + 1)]) + least
    total = 0.0
    for one in range(len(means)):
        for other in range(len(means)):
            if one != other:
                mean = (variances[one] + variances[other]) / 2
                distance = np.square(means[one] - means[other]) / mean / 8
                distance = distance + np.log(mean / np.sqrt(variances[one] * variances[other])) / 2
                total -= np.exp(-distance.sum())
    return float(total)


def task_vector_cosine(start: Mapping[str, ArrayLike], a: Mapping[str, ArrayLike], b: Mapping[str, ArrayLike]) -> float:
    """Cosine of two task vectors (Ilharco et al. 2023): what fine-tuning changed in all weights of one architecture.

    start: name -> weights before fine-tuning. a, b: the same tensors of two fine-tuned models; tensors that `start`
    lacks (new heads) are left out. Raises ValueError if a tensor is missing or of another shape, and if nothing
    changed.
    """
    product = norm_a = norm_b = 0.0
    for name, before in start.items():
        before = np.asarray(before, dtype=np.float64)
        if name not in a or name not in b or np.shape(a[name]) != before.shape or np.shape(b[name]) != before.shape:
            raise ValueError(f"tensor {name!r} is not of one shape in all three: they are not of one architecture")
        change_a = np.asarray(a[name], dtype=np.float64) - before
        change_b = np.asarray(b[name], dtype=np.float64) - before
        product += float((change_a * change_b).sum())
        norm_a += float(np.square(change_a).sum())
        norm_b += float(np.square(change_b).sum())
    if not norm_a * norm_b > 0:
        raise ValueError("one of the models is the one before fine-tuning, so it has no task vector")
    return float(np.clip(product / np.sqrt(norm_a * norm_b), -1.0, 1.0))


def _class_means(features: Array, codes: NDArray[np.int64]) -> Array:
    return np.array([features[codes == c].mean(axis=0) for c in range(codes.max() + 1)])


def _rows(values: ArrayLike, labels: Sequence[Any], name: str) -> tuple[Array, NDArray[np.int64]]:
    """Rows as an array (n, d), and their labels as numbers from 0. Raises ValueError for what cannot be used."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.size or len(values) != len(labels):
        raise ValueError(f"{name} must be (n, d) with one label per row, got {values.shape} and {len(labels)} labels")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} hold values that are not finite")
    return values, np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64)
