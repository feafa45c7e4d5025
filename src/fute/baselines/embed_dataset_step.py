"""Make the TextEmb, TaskEmb and TuPaTE vectors of a labelled dataset on the black box's own architecture."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from transformers.utils import logging as transformers_logging

from fute.artifacts import Step, content_key, sha256_file
from fute.baselines.components import save_components
from fute.baselines.taskemb import taskemb_components
from fute.baselines.textemb import text_embedding
from fute.baselines.tupate import PrefixedBlackBox, tune_prefix
from fute.batching import UnitStore
from fute.blackbox.encoding import Encoded, encode, encode_rows, inputs_of
from fute.blackbox.finetune import examples_to_learn
from fute.blackbox.heads import BlackBox, BlackBoxError, Pretrained, head_parameters, load_black_box, to_device
from fute.code_hash import code_sha256
from fute.data.rows import Row, read_rows
from fute.device import compute_device
from fute.embeddings.vectors import Embedding, save
from fute.progress import Track, TrainingProgress
from fute.specs.dataset_vectors import DatasetVectorSpec
from fute.surrogate.checkpoint import Preempted, heed_sigterm
from fute.surrogate.prefix import mean_over_layers


def first_rows(rows: Sequence[Row], limit: int | None, seed: int) -> list[Row]:
    """At most `limit` rows, in a seeded order; None: all."""
    order = list(rows)
    random.Random(seed).shuffle(order)
    return order[:limit]


class DatasetVectors:
    """Makes the vectors of one dataset. hashes: of the inputs, by name; that of `model` is part of every basis."""

    def __init__(self, spec: DatasetVectorSpec, rows: list[Row], model: Path, hashes: Mapping[str, str]) -> None:
        if not rows:
            raise BlackBoxError(f"{spec.task.dataset}: there are no rows to learn from")
        self.spec, self.rows, self.hashes = spec, rows, hashes
        transformers_logging.disable_progress_bar()
        self.accelerator = Accelerator(cpu=compute_device().type == "cpu")
        self.pretrained = Pretrained(model)

    def _box(self, seed: int) -> BlackBox:
        spec = self.spec
        box = self.pretrained.with_head(
            spec.task, inputs=inputs_of(self.rows), max_tokens=spec.max_tokens, seed=seed
        )  # fmt: skip
        return to_device(box, self.accelerator.device)

    def _embedding(self, method: str, vector: np.ndarray, basis: Mapping[str, Any], **meta: Any) -> Embedding:
        basis = {"baseline": method, "model_sha256": self.hashes["model"], **basis}
        return Embedding(vector, method, basis, meta, vector[None])

    def textemb(self, path: Path) -> None:
        box = self._box(self.spec.seed)
        rows = first_rows(self.rows, self.spec.textemb.rows, self.spec.seed)
        texts = encode(box, [row.segments for row in rows])
        with Track(f"TextEmb of {self.spec.task.dataset}", len(texts), "texts") as track:
            vector = text_embedding(box, texts, batch_size=self.spec.eval_batch_size, progress=track.advance)
        save(self._embedding("textemb", vector, {}, rows=len(texts)), path)

    def taskemb(self, path: Path, folder: Path, stop: Callable[[], object]) -> None:
        """Write TaskEmb's components. folder: the model fine-tuned on the dataset."""
        box = load_black_box(folder)
        if box.task.dataset != self.spec.task.dataset:
            raise BlackBoxError(f"{folder} was fine-tuned on {box.task.dataset}, not on {self.spec.task.dataset}")
        to_device(box, self.accelerator.device)
        settings, seed = self.spec.taskemb, self.spec.seed
        size = settings.size_for(self.spec.task.task)
        examples: list[Encoded] = encode_rows(box, first_rows(self.rows, settings.rows, seed))
        batches = [examples[start : start + size] for start in range(0, len(examples), size)]
        with Track(f"TaskEmb of {self.spec.task.dataset}", len(examples), "texts") as track:

            def advance(count: int) -> None:
                stop()
                track.advance(count)

            components = taskemb_components(box, batches, progress=advance)
        basis = {"baseline": "taskemb", "model_sha256": self.hashes["model"]}
        save_components(components, basis, {"rows": len(examples), "batch_size": size}, path)

    def tupate(self, path: Path, checkpoint: Path) -> None:
        settings, seed = self.spec.tupate, self.spec.seed
        recipe, box = settings.recipe_for(self.spec.task.task), self._box(settings.init_seed)
        head = head_parameters(box.model, self.pretrained.tensors)
        tuned = PrefixedBlackBox(box, head, length=settings.length, init_seed=settings.init_seed)
        examples = examples_to_learn(box, self.rows, recipe, seed)
        with TrainingProgress(f"TuPaTE of {self.spec.task.dataset}", len(examples) * (recipe.epochs or 1)) as progress:
            tuned_prefix = tune_prefix(
                tuned, examples, recipe, seed=seed, accelerator=self.accelerator,
                progress=progress, checkpoint=checkpoint, start=sorted(self.hashes.values()),
            )  # fmt: skip
        vector, init = mean_over_layers(tuned_prefix.prefix), mean_over_layers(tuned_prefix.start)
        log = tuned_prefix.log
        meta = {
            "rows": len(self.rows), "steps": log.steps,
            "loss_start": log.loss_start, "loss_end": log.loss_end,
            "relative_distance": float(np.linalg.norm(vector - init) / np.linalg.norm(init)),
        }  # fmt: skip
        basis = {"length": settings.length, "init_seed": settings.init_seed}
        embedding = self._embedding("tupate", vector, basis, **meta)
        embedding.init = init
        save(embedding, path)


def embed_dataset(
    spec: DatasetVectorSpec, *, model: Path, lock: Path, train: Path, outputs: Mapping[str, Path],
    finetuned: Path | None = None, finetuned_lock: Path | None = None,
) -> None:  # fmt: skip
    """Write the vectors of a dataset, one safetensors file per method. A killed step continues where it was.

    outputs: path by method. finetuned, finetuned_lock: folder and lock of the model fine-tuned on the dataset, for
    TaskEmb only. Raises BlackBoxError for a model of another dataset, ValueError for outputs that do not match the
    methods, and the errors of the methods.
    """
    if set(outputs) != set(spec.methods) or ("taskemb" in outputs) != (finetuned_lock is not None):
        raise ValueError(
            f"outputs are {sorted(outputs)}, methods {sorted(spec.methods)}: name one output per method, and the lock "
            "of the fine-tuned model if taskemb is one of them, else no lock"
        )
    files = {"model": lock, "train": train} | ({"finetuned": finetuned_lock} if finetuned_lock else {})
    hashes = {name: sha256_file(path) for name, path in files.items()}
    identity = content_key([spec.model_dump(mode="json"), code_sha256(__name__)])
    store = UnitStore(next(iter(outputs.values())).with_name(spec.task.dataset), "", [identity, *hashes.values()])
    checkpoint = store.path("tupate.training")
    vectors = DatasetVectors(spec, read_rows(train), model, hashes)
    with heed_sigterm() as asked_to_stop:

        def stop() -> None:
            if asked_to_stop():
                raise Preempted(
                    f"stopped by SIGTERM; finished vectors of {spec.task.dataset} are kept; run again to go on"
                )

        for method in store.missing(spec.methods):
            if method == "textemb":
                store.put(method, vectors.textemb)
            elif method == "taskemb":
                store.put(method, lambda path: vectors.taskemb(path, finetuned, stop))
            else:
                store.put(method, lambda path: vectors.tupate(path, checkpoint))
            stop()
    settings, seeds = spec.model_dump(mode="json"), {"order": spec.seed, "init": spec.tupate.init_seed}
    with Step(__name__, settings=settings, inputs=files.values(), seeds=seeds) as step:
        for method, path in outputs.items():
            step.bytes(path, store.path(method).read_bytes())
    shutil.rmtree(store.folder.parent)
