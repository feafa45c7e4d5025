"""Make the TextEmb, TaskEmb and TuPaTE vectors of labelled datasets on the black box's own architecture."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fute.artifacts import Step
from fute.baselines.components import save_components
from fute.baselines.taskemb import taskemb_components
from fute.baselines.textemb import text_embedding
from fute.baselines.tupate import PrefixedBlackBox, tune_prefix
from fute.batching import FolderBatch
from fute.blackbox.bench import Bench
from fute.blackbox.encoding import Encoded, encode, encode_rows, inputs_of
from fute.blackbox.finetune import examples_to_learn
from fute.blackbox.heads import BlackBox, BlackBoxError, head_parameters, load_finetuned, to_device
from fute.data.rows import Row, read_rows
from fute.embeddings.vectors import Embedding, save
from fute.progress import Track, TrainingProgress
from fute.specs.dataset_vectors import DatasetItem, DatasetVectorSpec
from fute.surrogate.checkpoint import Preempted, heed_sigterm
from fute.surrogate.prefix import mean_over_layers


def first_rows(rows: Sequence[Row], limit: int | None, seed: int) -> list[Row]:
    """At most `limit` rows, in a seeded order; None: all."""
    order = list(rows)
    random.Random(seed).shuffle(order)
    return order[:limit]


class DatasetVectors:
    """Makes the vectors of one dataset.

    bench: of the pretrained model that all datasets are embedded on. hashes: kind -> hash of what the vectors are made
    from; that of `model`, its lock, is a part of every basis. Raises BlackBoxError if there are no rows.
    """

    def __init__(
        self, spec: DatasetVectorSpec, item: DatasetItem, rows: list[Row], bench: Bench, hashes: Mapping[str, str]
    ) -> None:
        if not rows:
            raise BlackBoxError(f"{item.task.dataset}: there are no rows to learn from; build the dataset again")
        self.spec, self.item, self.rows, self.bench, self.hashes = spec, item, rows, bench, hashes

    def _box(self, seed: int) -> BlackBox:
        task, inputs = self.item.task, inputs_of(self.rows)
        box = self.bench.pretrained.with_head(task, inputs=inputs, max_tokens=self.item.max_tokens, seed=seed)
        return to_device(box, self.bench.accelerator.device)

    def _basis(self, method: str, **settings: Any) -> dict[str, Any]:
        """What must be equal in vectors that are compared."""
        return {"baseline": method, "model_sha256": self.hashes["model"], **settings}

    def textemb(self, path: Path) -> None:
        """Write TextEmb's vector."""
        box = self._box(self.spec.seed)
        rows = first_rows(self.rows, self.spec.textemb.rows, self.spec.seed)
        texts = encode(box, [row.segments for row in rows])
        with Track(f"TextEmb of {self.item.task.dataset}", len(texts), "texts") as track:
            vector = text_embedding(box, texts, batch_size=self.item.eval_batch_size, progress=track.advance)
        save(Embedding(vector, "textemb", self._basis("textemb"), {"rows": len(texts)}, vector[None]), path)

    def taskemb(self, path: Path, finetuned: Path, stop: Callable[[], object]) -> None:
        """Write TaskEmb's components. finetuned: lock of the model fine-tuned on the dataset."""
        box = to_device(load_finetuned(finetuned, self.item.task.dataset), self.bench.accelerator.device)
        settings, seed = self.spec.taskemb, self.spec.seed
        size = settings.size_for(self.item.task.task)
        examples: list[Encoded] = encode_rows(box, first_rows(self.rows, settings.rows, seed))
        batches = [examples[start : start + size] for start in range(0, len(examples), size)]
        with Track(f"TaskEmb of {self.item.task.dataset}", len(examples), "texts") as track:

            def advance(count: int) -> None:
                stop()
                track.advance(count)

            components = taskemb_components(box, batches, progress=advance)
        save_components(components, self._basis("taskemb"), {"rows": len(examples), "batch_size": size}, path)

    def tupate(self, path: Path, checkpoint: Path) -> None:
        """Write TuPaTE's vector. checkpoint: file of the state that a killed training goes on from."""
        settings, seed = self.spec.tupate, self.spec.seed
        recipe, box = settings.recipe_for(self.item.task.task), self._box(settings.init_seed)
        head = head_parameters(box.model, self.bench.pretrained.tensors)
        tuned = PrefixedBlackBox(box, head, length=settings.length, init_seed=settings.init_seed)
        examples = examples_to_learn(box, self.rows, recipe, seed)
        with TrainingProgress(f"TuPaTE of {self.item.task.dataset}", len(examples) * (recipe.epochs or 1)) as progress:
            tuned_prefix = tune_prefix(
                tuned, examples, recipe, seed=seed, accelerator=self.bench.accelerator,
                progress=progress, checkpoint=checkpoint, start=sorted(self.hashes.values()),
            )  # fmt: skip
        vector, init = mean_over_layers(tuned_prefix.prefix), mean_over_layers(tuned_prefix.start)
        log = tuned_prefix.log
        meta = {
            "rows": len(self.rows), "steps": log.steps,
            "loss_start": log.loss_start, "loss_end": log.loss_end,
            "relative_distance": float(np.linalg.norm(vector - init) / np.linalg.norm(init)),
        }  # fmt: skip
        basis = self._basis("tupate", length=settings.length, init_seed=settings.init_seed)
        save(Embedding(vector, "tupate", basis, meta, vector[None], init), path)


def embed_dataset(spec: DatasetVectorSpec, *, model: Path, lock: Path, files: Mapping[str, Path], output: Path) -> None:
    """Write the vectors of every dataset of a batch, one file per method. A killed step continues where it was.

    files: `train:{dataset}`, and for TaskEmb `finetuned:{dataset}`, the lock of the model that was fine-tuned on it,
    next to its folder. output: lock of the batch; its files, `.keys` and sidecars are written next to it.
    Raises BlackBoxError for a model of another dataset, and the errors of the methods.
    """
    kinds = ("train", "finetuned") if "taskemb" in spec.methods else ("train",)
    made_from = {
        item.key: {"model": lock} | {kind: files[f"{kind}:{item.task.dataset}"] for kind in kinds}
        for item in spec.items
    }
    batch = FolderBatch(output, made_from)
    units = [_unit(item, method) for item in spec.items for method in spec.methods]
    batch.adopt(units)
    resumed = batch.begun
    bench: Bench | None = None
    with heed_sigterm() as asked_to_stop:

        def stop(dataset: str) -> None:
            if asked_to_stop():
                raise Preempted(f"stopped by SIGTERM; finished vectors up to {dataset} are kept; run again to go on")

        for item in spec.items:
            dataset, origins = item.task.dataset, made_from[item.key]
            missing = [method for method in spec.methods if batch.missing([_unit(item, method)])]
            if not missing:
                continue
            bench = bench or Bench(model)
            rows = read_rows(origins["train"])
            vectors = DatasetVectors(spec, item, rows, bench, batch.made_from[item.key])
            for method in missing:
                if method == "textemb":
                    write = vectors.textemb
                elif method == "taskemb":
                    write = partial(vectors.taskemb, finetuned=origins["finetuned"], stop=partial(stop, dataset))
                else:
                    write = partial(vectors.tupate, checkpoint=batch.path(f"{item.key}/.tupate.training"))
                batch.put(_unit(item, method), write)
                stop(dataset)
    settings, seeds = spec.model_dump(mode="json"), {"order": spec.seed, "init": spec.tupate.init_seed}
    with Step(__name__, settings=settings, inputs=[lock, *files.values()], seeds=seeds) as step:
        step.resumed = resumed
        batch.write(step, spec.model, {item.task.dataset: item.key for item in spec.items}, units)


def _unit(item: DatasetItem, method: str) -> str:
    return f"{item.key}/{method}.safetensors"
