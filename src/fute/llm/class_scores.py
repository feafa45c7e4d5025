"""Class log-scores as arrays: their probabilities, the best class, and calibration by an offset."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def normalise(log_scores: ArrayLike) -> NDArray[np.float64]:
    """Class probabilities: softmax over the last axis of (..., classes).

    Raises:
        ValueError: a score is NaN or +inf, or a row has no finite score.
    """
    scores = np.asarray(log_scores, float)
    best = scores.max(axis=-1, keepdims=True)
    if not np.isfinite(best).all():
        raise ValueError(f"class scores have no finite maximum: {scores.tolist()}")
    mass = np.exp(scores - best)
    return mass / mass.sum(axis=-1, keepdims=True)


def decided(log_scores: Sequence[float] | NDArray, seen: Sequence[bool]) -> int | None:
    """Index of the best class if that is certain, else None.

    log_scores, seen: (classes,); the score of a class that was not seen is an upper bound. None: no class was seen, or
    the bound of one that was not is above the best score. Ties go to the lower index.
    """
    best = int(np.argmax(log_scores))
    return best if seen[best] else None


def calibrate(log_scores: ArrayLike, offset: ArrayLike) -> NDArray[np.float64]:
    """Class log-scores (..., classes) minus the mean class log-score `offset` (classes,).

    Raises:
        ValueError: the numbers of classes differ.
    """
    scores, shift = np.asarray(log_scores, float), np.asarray(offset, float)
    if shift.ndim != 1 or scores.shape[-1:] != shift.shape:
        raise ValueError(f"offset of shape {shift.shape} does not fit class scores of shape {scores.shape}")
    return scores - shift
