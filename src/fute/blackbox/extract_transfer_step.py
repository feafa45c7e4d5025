"""Take the scores of one (source, target) pair out of the batches that hold its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fute.artifacts import StaleFile, Step, read_jsonl
from fute.batching import check_sources
from fute.blackbox.scores import score_record
from fute.specs.transfer import ExtractTransfer


def extract_transfer(
    settings: ExtractTransfer, *, batches: Sequence[Path], files: Mapping[str, Path], output: Path
) -> None:
    """Write the score of one (source, target) pair over its seeds, which may lie in several batches.

    files: what the runs were learned from: `model` and `source` (their locks), `train`, `test`. Their hashes are
    compared with those in the batches. Raises StaleFile if a run is in no batch, or was made from other files.
    """
    where: dict[str, tuple[Path, dict[str, Any]]] = {}
    for batch in batches:
        where |= {run["key"]: (batch, run) for run in read_jsonl(batch)}
    runs = []
    for seed, key in sorted(settings.keys.items()):
        if key not in where:
            names = ", ".join(str(path) for path in batches)
            raise StaleFile(
                f"{names}: no run {key[:16]} ({settings.source} -> {settings.target}, seed {seed}); delete the batch "
                "and its .keys, then run again"
            )
        batch, run = where[key]
        check_sources(batch, run["from"], files)
        runs.append(run)
    inputs = [*batches, *files.values()]
    what = settings.model_dump(mode="json")
    with Step(__name__, settings=what, inputs=inputs) as step:
        step.json(output, score_record(settings.model, settings.source, settings.target, sorted(settings.keys), runs))
