"""Score sources' fine-tuned models for targets: by their states of its labelled rows, and against its own model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from torch import Tensor

from fute.artifacts import Step, gzip_bytes, jsonl_bytes
from fute.baselines.transferability import gbc, h_score, logme, n_leep, task_vector_cosine, transrate
from fute.batching import CellStore, hashes_of, write_keys
from fute.blackbox.folders import folder_of
from fute.blackbox.heads import Pretrained, encoder_tensors, load_finetuned
from fute.config.datasets import Task
from fute.config.lm_baselines import LmBaseline
from fute.data.rows import Row, read_rows
from fute.embeddings.sentence_encoder import SentenceEncoder
from fute.llm.labelled_rows import drawn_rows
from fute.progress import Track
from fute.specs.source_scores import SourcePair, SourceScoreSpec, methods_of, pair_origins
from fute.surrogate.checkpoint import Preempted, heed_sigterm

SUFFIX = ".jsonl.gz"
OF_CLASSES: dict[LmBaseline, Callable[..., float]] = {
    "logme": logme, "h-score": h_score, "n-leep": n_leep, "transrate": transrate, "gbc": gbc,
}  # fmt: skip


def score_sources(spec: SourceScoreSpec, *, files: Mapping[str, Path], output: Path) -> None:
    """Score all pairs of a batch; after a kill, continue after the last finished pair.

    files: `finetuned:{dataset}` (the lock of the model that was fine-tuned on it, next to its folder),
    `train:{target}`, and for task vectors `model` (the lock of the model before) -> path.
    output: one line per pair: key, source, target, under `scores` a number of each method that has one (as text where
    it is not finite), and under `from` the hashes of its files. `.keys` and sidecars are written next to it.
    A text's features are the mean of the model's last states over its tokens, at unit length (`SentenceEncoder`).
    """
    origins = {pair.key: pair_origins(pair.source, pair.target, files) for pair in spec.pairs}
    store = CellStore(output, SUFFIX, hashes_of(origins))
    units = [_unit(pair) for pair in spec.pairs]
    store.adopt(units)
    resumed = store.begun
    missing = set(store.missing(units))
    print(f"{spec.model}: {len(units)} pairs, {len(units) - len(missing)} already finished", flush=True)
    read = [name for name, task in spec.targets.items() if _of_rows(task, spec.methods)]
    rows = {name: drawn_rows(read_rows(files[f"train:{name}"]), spec.rows) for name in read}
    models = FinetunedModels(spec, files)
    with heed_sigterm() as stop_requested, Track(f"sources of {spec.model}", len(missing), "pairs") as track:
        # pairs of one source follow each other, so that its weights are loaded once
        for pair in sorted(spec.pairs, key=lambda pair: (pair.source, pair.target)):
            if _unit(pair) not in missing:
                continue
            numbers = _scores(spec, pair, rows.get(pair.target, []), models)
            scores = {name: each if math.isfinite(each) else str(each) for name, each in numbers.items()}
            line = pair.model_dump() | {"scores": scores, "from": store.made_from[pair.key]}
            store.put(_unit(pair), lambda path, line=line: path.write_text(json.dumps(line)))
            track.advance()
            if stop_requested():
                raise Preempted(f"stopped by SIGTERM; pairs up to {pair.cell} are kept; run again to go on")
    lines = [json.loads(store.path(_unit(pair)).read_text()) for pair in sorted(spec.pairs, key=lambda pair: pair.key)]
    with Step(__name__, settings=spec.model_dump(mode="json"), inputs=[*files.values()]) as step:
        step.resumed = resumed
        step.bytes(output, gzip_bytes(jsonl_bytes(lines)), pairs=len(lines))
        write_keys(step, output, SUFFIX, {pair.cell: pair.key for pair in spec.pairs})


class FinetunedModels:
    """The models of a batch; of the last source that was asked for, encoder and weights are kept."""

    def __init__(self, spec: SourceScoreSpec, files: Mapping[str, Path]) -> None:
        self.spec, self.files = spec, files
        self._encoder: tuple[str, SentenceEncoder] | None = None
        self._source: tuple[str, Mapping[str, Tensor]] | None = None

    def encoder(self, source: str) -> SentenceEncoder:
        """A source's model, to read texts with."""
        if self._encoder is None or self._encoder[0] != source:
            lock = self.files[f"finetuned:{source}"]
            how = {"max_tokens": self.spec.max_tokens, "batch_size": self.spec.batch_size}
            model = load_finetuned(lock, source).model.base_model
            self._encoder = source, SentenceEncoder(folder_of(lock), **how, model=model)
        return self._encoder[1]

    def task_vector_cosine(self, pair: SourcePair) -> float:
        """Cosine of what fine-tuning on source and on target changed in the weights below head and pooler."""
        if self._source is None or self._source[0] != pair.source:
            self._source = pair.source, self._tuned(pair.source)
        return task_vector_cosine(self._start, self._source[1], self._tuned(pair.target))

    @cached_property
    def _start(self) -> Mapping[str, Tensor]:
        """The weights before, each once: T5's embeddings have three names. A model for spans has no pooler."""
        tensors = Pretrained(folder_of(self.files["model"])).tensors
        each_once = {tensor.data_ptr(): name for name, tensor in tensors.items() if "pooler" not in name}
        return {name: tensors[name] for name in each_once.values()}

    def _tuned(self, dataset: str) -> Mapping[str, Tensor]:
        return encoder_tensors(load_finetuned(self.files[f"finetuned:{dataset}"], dataset).model, self._start)


def _unit(pair: SourcePair) -> str:
    return f"{pair.key}/scores.json"


def _of_rows(task: Task, methods: tuple[LmBaseline, ...]) -> tuple[LmBaseline, ...]:
    """Those of some methods that read labelled rows of targets of a task."""
    return tuple(method for method in methods_of(task, methods) if method in OF_CLASSES)


def _scores(
    spec: SourceScoreSpec, pair: SourcePair, rows: list[Row], models: FinetunedModels
) -> dict[LmBaseline, float]:
    task = spec.targets[pair.target]
    scores: dict[LmBaseline, float] = {}
    if "task-vector" in spec.methods:
        scores["task-vector"] = models.task_vector_cosine(pair)
    if fits := _of_rows(task, spec.methods):
        features, _ = models.encoder(pair.source).encode([row.segments for row in rows])
        if task == "regression":
            return scores | {"logme": logme(features, [row.value for row in rows], regression=True)}
        labels = [row.label for row in rows]
        scores |= {method: OF_CLASSES[method](features, labels) for method in fits}
    return scores
