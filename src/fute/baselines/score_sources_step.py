"""Score sources' fine-tuned models by how well their states of a target's labelled rows tell their labels apart."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from fute.artifacts import Step, gzip_bytes, jsonl_bytes
from fute.baselines.transferability import gbc, h_score, logme, n_leep, transrate
from fute.batching import CellStore, hashes_of, write_keys
from fute.blackbox.folders import folder_of
from fute.config.lm_baselines import LmBaseline
from fute.data.rows import Row, read_rows
from fute.embeddings.sentence_encoder import SentenceEncoder
from fute.llm.labelled_rows import drawn_rows
from fute.progress import Track
from fute.specs.source_scores import SourcePair, SourceScoreSpec, methods_of
from fute.surrogate.checkpoint import Preempted, heed_sigterm

SUFFIX = ".jsonl.gz"
OF_CLASSES: dict[LmBaseline, Callable[..., float]] = {
    "logme": logme, "h-score": h_score, "n-leep": n_leep, "transrate": transrate, "gbc": gbc,
}  # fmt: skip


def score_sources(spec: SourceScoreSpec, *, files: Mapping[str, Path], output: Path) -> None:
    """Score all pairs of a batch; after a kill, continue after the last finished pair.

    files: `finetuned:{source}` (the lock of the model that was fine-tuned on it, next to its folder), `train:{target}`
    -> path. output: one line per pair: key, source, target, under `scores` a number of each method that has one (as
    text where it is not finite), and under `from` the hashes of its files. `.keys` and sidecars are written next to it.
    A text's features are the mean of the model's last states over its tokens, at unit length (`SentenceEncoder`).
    """
    origins = {
        pair.key: {"source": files[f"finetuned:{pair.source}"], "train": files[f"train:{pair.target}"]}
        for pair in spec.pairs
    }
    store = CellStore(output, SUFFIX, hashes_of(origins))
    store.adopt([_unit(pair) for pair in spec.pairs])
    rows = {name: drawn_rows(read_rows(files[f"train:{name}"]), spec.rows) for name in spec.targets}
    encoder: tuple[str, SentenceEncoder] | None = None
    with heed_sigterm() as stop_requested, Track(f"sources of {spec.model}", len(spec.pairs), "pairs") as track:
        # pairs of one source follow each other, so that its weights are loaded once
        for pair in sorted(spec.pairs, key=lambda pair: (pair.source, pair.target)):
            if store.missing([_unit(pair)]):
                if encoder is None or encoder[0] != pair.source:
                    folder = folder_of(files[f"finetuned:{pair.source}"])
                    how = {"max_tokens": spec.max_tokens, "batch_size": spec.batch_size}
                    encoder = pair.source, SentenceEncoder(folder, **how)
                numbers = _scores(spec, pair.target, rows[pair.target], encoder[1])
                scores = {name: each if math.isfinite(each) else str(each) for name, each in numbers.items()}
                line = pair.model_dump() | {"scores": scores, "from": store.made_from[pair.key]}
                store.put(_unit(pair), lambda path, line=line: path.write_text(json.dumps(line)))
                if stop_requested():
                    raise Preempted(f"stopped by SIGTERM; pairs up to {pair.cell} are kept; run again to go on")
            track.advance()
    lines = [json.loads(store.path(_unit(pair)).read_text()) for pair in sorted(spec.pairs, key=lambda pair: pair.key)]
    with Step(__name__, settings=spec.model_dump(mode="json"), inputs=[*files.values()]) as step:
        step.bytes(output, gzip_bytes(jsonl_bytes(lines)), pairs=len(lines))
        write_keys(step, output, SUFFIX, {pair.cell: pair.key for pair in spec.pairs})


def _unit(pair: SourcePair) -> str:
    return f"{pair.key}/scores.json"


def _scores(spec: SourceScoreSpec, target: str, rows: list[Row], encoder: SentenceEncoder) -> dict[LmBaseline, float]:
    features, _ = encoder.encode([row.segments for row in rows])
    if spec.targets[target] == "regression":
        return {"logme": logme(features, [row.value for row in rows], regression=True)}
    labels = [row.label for row in rows]
    return {method: OF_CLASSES[method](features, labels) for method in methods_of(spec.targets[target], spec.methods)}
