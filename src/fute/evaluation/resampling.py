"""Uncertainty of a mean: bootstrap counts and percentile intervals (Efron and Tibshirani 1993, chapter 13)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def bootstrap_counts(n: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Counts of each of n items in bootstrap draws, (draws, n): every draw takes n items with replacement."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)


def interval(values: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Ends `lo` and `hi` (rows,) of the 95 % percentile interval of each row of draws (rows, draws)."""
    # Rounded, and 0 without a sign: a difference of nothing is not just below 0.
    lower, upper = np.percentile(np.asarray(values, dtype=float), [2.5, 97.5], axis=1).round(9) + 0.0
    return {"lo": lower, "hi": upper}
