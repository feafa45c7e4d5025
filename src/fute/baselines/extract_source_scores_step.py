"""Collect the scores of all sources for all targets from the batches that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fute.artifacts import StaleFile, Step, read_jsonl, sha256_file
from fute.batching import check_sources
from fute.specs.source_scores import ExtractSourceScores, pair_cell, pair_origins


def extract_source_scores(
    settings: ExtractSourceScores, *, batches: Sequence[Path], files: Mapping[str, Path], output: Path
) -> None:
    """Write one row per (source, target): model, source, target, and the score of each method; NaN where it has none.

    files: those of the step `score_sources`, which the scores were made from; their hashes are compared with those in
    the batches. Raises StaleFile if a pair is in no batch, or was made from other files.
    """
    where = {line["key"]: (batch, line) for batch in batches for line in read_jsonl(batch)}
    hashes = {path: sha256_file(path) for path in files.values()}
    rows: list[dict[str, Any]] = []
    for source in settings.sources:
        for target in settings.targets:
            if source == target:
                continue
            scores: Mapping[str, Any] = {}
            if key := settings.keys.get(pair_cell(source, target)):
                if key not in where:
                    names = ", ".join(map(str, batches)) or "the batches"
                    raise StaleFile(
                        f"{names}: no scores {key[:16]} ({source} -> {target}); delete the batch and its .keys, then "
                        "run again"
                    )
                batch, line = where[key]
                origins = pair_origins(source, target, files)
                check_sources(batch, line["from"], origins, lambda _, path: hashes[path])
                scores = line["scores"]
            row = {"model": settings.model, "source": source, "target": target}
            rows.append(row | {method: float(scores.get(method, "nan")) for method in settings.methods})
    with Step(__name__, settings=settings.model_dump(mode="json"), inputs=[*batches, *files.values()]) as step:
        step.csv(output, rows)
