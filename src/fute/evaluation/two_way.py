"""Two-way layout without repeats: what of a table is of its rows, what of its columns, and what is noise.

Rows are what is ranked (prompts, sources), columns are repeats (order seeds, fine-tuning seeds). An effect that a
column has on all rows alike changes no ranking, so noise is what is left after rows and columns. Source: analysis of
variance with one value per cell (Scheffe 1959, The Analysis of Variance, 4.2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class TwoWay(NamedTuple):
    """Facts of a table of values (n, k).

    rows, residual: mean squares of the rows' means (times k) and of the residual, (n - 1) and (n - 1)(k - 1) degrees
    of freedom. f: rows / residual; inf without residual, NaN if both are 0. p: of an F so large if rows do not differ.
    reliability: of the rows' means over the k columns, 1 - 1/F, at least 0: the share of their variance that is not
    noise. It is what the formula of Spearman and Brown gives for k columns (Hoyt 1941), and NaN where f is.
    """

    rows: float
    residual: float
    f: float
    p: float
    reliability: float


def two_way(values: ArrayLike) -> TwoWay:
    """Analyse values (n, k), with n rows and k columns of at least 2. Raises ValueError for fewer, or if not finite."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(f"a two-way layout needs at least 2 rows and 2 columns, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite")
    from scipy.stats import f as f_distribution

    n, k = values.shape
    values = values - values[0, 0]  # so that equal values have squares of exactly 0
    means = values.mean(axis=1, keepdims=True)
    residuals = values - means - values.mean(axis=0) + values.mean()
    scale = 1e-12 * np.abs(values).max()
    residuals[np.abs(residuals) <= scale] = 0  # rounding
    rows = float(k * ((means - means.mean()) ** 2).sum() / (n - 1))
    residual = float((residuals**2).sum() / ((n - 1) * (k - 1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        f = float(np.divide(rows, residual))
    p = float(f_distribution.sf(f, n - 1, (n - 1) * (k - 1)))
    return TwoWay(rows, residual, f, p, max(0.0, 1 - 1 / f) if f > 0 else 0.0 if f == 0 else float("nan"))
