"""Content of the score files of direct fine-tuning and of transfer: one form for both; needs no torch."""

from __future__ import annotations

from typing import Any

import numpy as np


def score_record(
    model: str, source: str | None, target: str, seeds: list[int], runs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Content of a score file, for direct fine-tuning (source None) and for transfer; scores in percent.

    mean, sd: over seeds; sd is the sample's, 0 for one seed.
    """
    scores = [run["score"] for run in runs]
    first = runs[0]
    return {
        "model": model,
        "source": source,
        "target": target,
        "metric": first["metric"],
        "seeds": seeds,
        "scores": scores,
        "mean": float(np.mean(scores)),
        "sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
        "majority": first["majority"],
        "rows": first["rows"],
    }
