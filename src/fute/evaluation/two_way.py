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

    residual: mean square of the residual, in squared units of the values, with (n - 1)(k - 1) degrees of freedom.
    f: mean square of the rows, with n - 1 degrees of freedom, over that of the residual; inf without residual, NaN if
    both are 0. p: of an F so large if rows do not differ; NaN where f is.
    """

    residual: float
    f: float
    p: float


def two_way(values: ArrayLike) -> TwoWay:
    """Analyse values (n, k), with n rows and k columns of at least 2. Raises ValueError for fewer, or if not finite."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(f"a two-way layout needs at least 2 rows and 2 columns, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite")
    from scipy.stats import f as f_distribution

    n, k = values.shape
    rounding = 1e-12 * np.abs(values).max()
    means = values.mean(axis=1, keepdims=True)
    residuals = values - means - values.mean(axis=0) + values.mean()
    residuals[np.abs(residuals) <= rounding] = 0
    deviations = means - means.mean()
    deviations[np.abs(deviations) <= rounding] = 0
    rows = float(k * (deviations**2).sum() / (n - 1))
    residual = float((residuals**2).sum() / ((n - 1) * (k - 1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        f = float(np.divide(rows, residual))
    p = float(f_distribution.sf(f, n - 1, (n - 1) * (k - 1)))
    return TwoWay(residual, f, p)
