"""Score every source's fine-tuned model by how well its states of a target's labelled rows tell their labels apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fute.artifacts import Step, content_key, sha256_file
from fute.baselines.transferability import gbc, h_score, logme, n_leep, transrate
from fute.batching import UnitStore
from fute.blackbox.folders import folder_of
from fute.code_hash import code_sha256
from fute.config.lm_baselines import LmBaseline
from fute.data.rows import Row, read_rows
from fute.embeddings.sentence_encoder import SentenceEncoder
from fute.llm.labelled_rows import drawn
from fute.progress import Track
from fute.specs.source_scores import SourceScoreSettings
from fute.surrogate.checkpoint import Preempted, heed_sigterm

OF_CLASSES: dict[LmBaseline, Callable[..., float]] = {
    "logme": logme, "h-score": h_score, "n-leep": n_leep, "transrate": transrate, "gbc": gbc,
}  # fmt: skip


def score_sources(
    settings: SourceScoreSettings, *, locks: Mapping[str, Path], rows: Mapping[str, Path], output: Path
) -> None:
    """Write one row per (source, target): model, source, target, and the score of each method.

    locks: source -> lock of the model that was fine-tuned on it, next to its folder. rows: target -> training rows.
    A text's features are the mean of the model's last states over its tokens, at unit length (`SentenceEncoder`).
    Classes: all methods. Numbers: LogME alone. Spans: none; the score is NaN then.
    A killed step keeps the pairs that were finished.
    """
    files = [*locks.values(), *rows.values()]
    identity = content_key([settings.model_dump(mode="json"), code_sha256(__name__)])
    store = UnitStore(output, ".csv", [identity, *map(sha256_file, files)])
    texts = {target: _drawn(rows[target], settings.rows) for target in settings.targets if _methods(settings, target)}
    pairs = [(source, target) for source in locks for target in texts if source != target]
    with heed_sigterm() as stop_requested, Track(f"sources of {settings.model}", len(pairs), "pairs") as track:
        encoder: tuple[str, SentenceEncoder] | None = None
        for source, target in pairs:
            if store.missing([unit := f"{source}>{target}.json"]):
                if encoder is None or encoder[0] != source:
                    folder = folder_of(locks[source])
                    how = {"max_tokens": settings.max_tokens, "batch_size": settings.batch_size}
                    encoder = source, SentenceEncoder(folder, **how)
                scores = _scores(settings, target, texts[target], encoder[1])
                store.put(unit, lambda path, scores=scores: path.write_text(json.dumps(scores)))
                if stop_requested():
                    raise Preempted(f"stopped by SIGTERM; pairs up to {source} > {target} are kept; run again to go on")
            track.advance()
    table = []
    for source in locks:
        for target in settings.targets:
            if source == target:
                continue
            scores = json.loads(store.path(f"{source}>{target}.json").read_text()) if target in texts else {}
            row = {"model": settings.model, "source": source, "target": target}
            table.append(row | {method: scores.get(method, float("nan")) for method in settings.methods})
    with Step(__name__, settings=settings.model_dump(mode="json"), inputs=files) as step:
        step.csv(output, table)
    shutil.rmtree(store.folder.parent)


def _methods(settings: SourceScoreSettings, target: str) -> tuple[LmBaseline, ...]:
    """The methods that have a score of a target."""
    task = settings.targets[target]
    if task == "classification":
        return settings.methods
    return tuple(name for name in settings.methods if task == "regression" and name == "logme")


def _drawn(path: Path, count: int) -> list[Row]:
    rows = read_rows(path)
    return [rows[place] for place in drawn([row.id for row in rows], count)]


def _scores(settings: SourceScoreSettings, target: str, rows: list[Row], encoder: SentenceEncoder) -> dict[str, Any]:
    features, _ = encoder.encode([row.segments for row in rows])
    if settings.targets[target] == "regression":
        return {"logme": logme(features, [row.value for row in rows], regression=True)}
    labels = [row.label for row in rows]
    return {method: OF_CLASSES[method](features, labels) for method in _methods(settings, target)}
