"""Controls of a prompt ranking by embeddings: does it follow the labels, or noise, or a norm?

Label strings and a shared start already produce category clusters and cosines near 1. So a ranking has a meaning only
if prompts differ by more than reruns do, and more than with permuted labels.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fute.display_names import LEVEL, p_text
from fute.evaluation.correlation import spearman
from fute.evaluation.two_way import two_way


def order_noise(similarities: ArrayLike, order_similarities: ArrayLike) -> dict[str, float | str]:
    """Test if prompts differ in their similarities by more than seeds of the data order do.

    Args:
        similarities: (T,), the similarity of each prompt with one dataset, which ranks the prompts (e.g. from mean
            vectors).
        order_similarities: (T, n_orders), the same from single order seeds.

    The table of prompts and orders is a two-way layout: what an order adds to all prompts alike changes no ranking, and
    noise is what is left. Prompts that are equal as text have equal similarities and count once.

    Returns `sd_prompts` (of `similarities`), `sd_order_noise` (of the noise of one of them, which is that of a single
    order over the root of their number, as for a mean), `order_df`, its degrees of freedom, the statistic `order_f` and
    its p-value `order_p` (F-test, NaN if nothing differs or fewer than 2 prompts are distinct), and a `verdict` in
    words. Raises ValueError for fewer than 2 prompts or order seeds, and for values not finite.
    """
    similarities, repeated = _with_repeats(similarities, order_similarities, "order seeds", least=2)
    # The first value is subtracted, so that equal similarities have a spread of exactly 0.
    sd_prompts = float((similarities - similarities[0]).std(ddof=1))
    distinct = np.unique(repeated, axis=0)
    layout = two_way(distinct) if len(distinct) > 1 else None
    if layout is None or np.isnan(layout.p):
        verdict = "all prompts have the same similarities, so there is nothing to select by"
        return {"sd_prompts": sd_prompts, "sd_order_noise": np.nan, "order_df": np.nan, "order_f": np.nan,
                "order_p": np.nan, "verdict": verdict}  # fmt: skip
    told = "can be told" if layout.p <= LEVEL else "cannot be told"
    return {
        "sd_prompts": sd_prompts,
        "sd_order_noise": float(np.sqrt(layout.residual / repeated.shape[1])),
        "order_df": (len(distinct) - 1) * (distinct.shape[1] - 1),
        "order_f": layout.f,
        "order_p": layout.p,
        "verdict": f"prompts {told} from the noise of order seeds (F = {layout.f:.2f}, p {p_text(layout.p)})",
    }


def null_comparison(similarities: ArrayLike, null_similarities: ArrayLike) -> dict[str, float]:
    """Compare similarities (T,) with those after permuting each prompt's labels over the texts, (T, n_draws).

    Returns `null_mean` and `null_max`, the mean and the largest of all draws; `null_sd_prompts`, their spread over
    prompts (mean over draws); `share_above_null`, the share of prompts above all of their draws; and `null_spearman`,
    the rank correlation with the mean draw. If it is near 1, the ranking follows from the frequencies of the labels,
    not from the texts that have them. Raises ValueError for fewer than 2 prompts or no draw, and for values not finite.
    """
    similarities, null = _with_repeats(similarities, null_similarities, "null draws", least=1)
    return {
        "null_mean": float(null.mean()),
        "null_max": float(null.max()),
        "null_sd_prompts": float(null.std(axis=0, ddof=1).mean()),
        "share_above_null": float((similarities[:, None] > null).all(axis=1).mean()),
        "null_spearman": spearman(similarities, null.mean(axis=1)),
    }


def _with_repeats(
    values: ArrayLike, repeated: ArrayLike, name: str, least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, repeated = np.asarray(values, dtype=float), np.asarray(repeated, dtype=float)
    if values.ndim != 1 or len(values) < 2 or repeated.ndim != 2 or len(repeated) != len(values):
        raise ValueError(f"expected (T,) and (T, {name}) with T >= 2, got shapes {values.shape} and {repeated.shape}")
    if repeated.shape[1] < least:
        raise ValueError(f"needs at least {least} {name}, got {repeated.shape[1]}")
    if not (np.isfinite(values).all() and np.isfinite(repeated).all()):
        raise ValueError("similarities must be finite")
    return values, repeated
