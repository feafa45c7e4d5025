"""Score files of direct fine-tuning and of transfer: one form for both; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fute.artifacts import Step, read_jsonl
from fute.batching import check_sources
from fute.specs.transfer import ExtractTransfer


def summary(scores: list[float]) -> dict[str, float]:
    """Mean and standard deviation over seeds (of the sample; 0 for one seed)."""
    return {"mean": float(np.mean(scores)), "sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0}


def score_record(
    model: str, source: str | None, target: str, seeds: list[int], runs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Content of a score file, of direct fine-tuning (source None) and of transfer alike; scores in percent."""
    scores = [run["score"] for run in runs]
    first = runs[0]
    return {
        "model": model,
        "source": source,
        "target": target,
        "metric": first["metric"],
        "seeds": seeds,
        "scores": scores,
        **summary(scores),
        "majority": first["majority"],
        "rows": first["rows"],
    }


def extract_transfer(settings: ExtractTransfer, *, batches: list[Path], files: dict[str, Path], output: Path) -> None:
    """Write the score of one (source, target) pair over its seeds, which may lie in several batches.

    files: what it was learned from (`model`, `source`: their locks; `train`, `test`), compared with what the
    batches recorded. Raises ValueError where a run is in no batch, or was made from other files.
    """
    where: dict[str, tuple[Path, dict[str, Any]]] = {}
    for batch in batches:
        where |= {run["key"]: (batch, run) for run in read_jsonl(batch)}
    runs = []
    for seed, key in sorted(settings.keys.items()):
        if key not in where:
            names = ", ".join(str(path) for path in batches)
            raise ValueError(
                f"{names}: no run {key[:16]} ({settings.source} -> {settings.target}, seed {seed}); delete the batch "
                "and its .keys, then run again"
            )
        batch, run = where[key]
        check_sources(batch, run["from"], files)
        runs.append(run)
    inputs = [*batches, *files.values()]
    what = settings.model_dump(mode="json")
    with Step("extract_transfer", module=__name__, settings=what, inputs=inputs) as step:
        step.json(output, score_record(settings.model, settings.source, settings.target, sorted(settings.keys), runs))
