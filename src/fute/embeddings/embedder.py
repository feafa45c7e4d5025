"""A surrogate loaded once that turns many sets of pairs into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from fute.embeddings.taskemb import TaskEmb
from fute.embeddings.tupate import Tupate
from fute.embeddings.vectors import Embedding
from fute.recipes import MethodSettings, SurrogateSettings, TupateSettings
from fute.surrogate.text2text import (
    Example,
    Pair,
    encode_pairs,
    load_surrogate,
)
from fute.surrogate.training import Progress, count_steps


class Embedder:
    """Loads a surrogate once and turns sets of pairs into vectors, each from the same starting weights.

    surrogate_sha: hash of the surrogate's files, from whoever keeps them; it goes into every basis.
    start: TuPaTE's common start, as `initial_prefix` draws it (None: drawn here from the recipe's `init_seed`).
    """

    def __init__(
        self,
        surrogate_path: Path,
        surrogate_settings: SurrogateSettings,
        method_settings: MethodSettings,
        surrogate_sha: str,
        start: Tensor | None = None,
    ) -> None:
        self.settings = method_settings
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        frozen = isinstance(method_settings, TupateSettings)
        self.surrogate = load_surrogate(surrogate_path, surrogate_settings, frozen=frozen)
        self.surrogate.model.to(self.accelerator.device)
        if self.accelerator.device.type == "cpu":  # where fused attention is several times slower backwards
            self.surrogate.model.set_attn_implementation("eager")
        self._basis = {"method": method_settings.method, "surrogate_sha256": surrogate_sha}
        self._basis["family"] = surrogate_settings.family
        self._method: TaskEmb | Tupate
        if isinstance(method_settings, TupateSettings):
            self._method = Tupate(self.surrogate, method_settings, self.training, start)
        else:
            self._method = TaskEmb(self.surrogate, method_settings, self.training, self.accelerator)

    def embed(
        self, pairs: Sequence[Pair], dev: Sequence[Pair] | None = None, progress: Progress | None = None
    ) -> Embedding:
        """The embedding of `pairs`; with held-out rows `dev`, training stops early (see the recipe).

        progress: called after each step with steps done and steps in all, of one order seed, and the loss.
        Raises ValueError for too few steps, for pairs that cannot be encoded, or for a TuPaTE vector that
        stayed at its start; FloatingPointError for a loss that is not finite.
        """
        settings = self.settings
        if dev is not None and settings.patience is None:
            raise ValueError("held-out rows were given, but the recipe has no max_epochs and patience")
        epochs = settings.epochs if dev is None else settings.max_epochs
        steps = count_steps(len(pairs), epochs=epochs, batch_size=settings.batch_size)
        if steps < settings.min_steps:
            raise ValueError(
                f"{len(pairs)} pairs in {epochs} epoch(s) of batches of {settings.batch_size} are {steps} "
                f"optimiser steps, fewer than min_steps={settings.min_steps}: use more pairs, more epochs or "
                "smaller batches"
            )
        examples = encode_pairs(self.surrogate, pairs)
        held_out = encode_pairs(self.surrogate, dev) if dev is not None else []
        runs = [self._method.run(examples, held_out, epochs, seed, progress) for seed in settings.order_seeds]
        vectors, logs, facts = zip(*runs, strict=True)
        orders = np.stack(vectors)
        vector = orders[0] if len(orders) == 1 else orders.mean(0, dtype=np.float64).astype(np.float32)
        meta = {
            "pairs": len(examples),
            "inputs_cut": sum(example.input_cut for example in examples),
            "targets_cut": sum(example.target_cut for example in examples),
            "loss_start": float(np.mean([log.loss_start for log in logs])),
            "loss_end": float(np.mean([log.loss_end for log in logs])),
            "steps": sum(log.steps for log in logs),
            "dev_losses": [list(log.dev_losses) for log in logs],
            "best_epochs": [log.best_epoch for log in logs],
            "recipe": settings.model_dump(mode="json"),
            "surrogate": self.surrogate.settings.model_dump(mode="json"),
            "processes": self.accelerator.num_processes,
        }
        return self._method.finish(vector, orders, self._basis, meta, facts)

    def training(self, order_seed: int, epochs: int, dev: list[Example], progress: Progress | None) -> dict:
        """Keyword arguments of `train` from the recipe."""
        recipe = self.settings
        return {
            "epochs": epochs,
            "batch_size": recipe.batch_size,
            "learning_rate": recipe.learning_rate,
            "order_seed": order_seed,
            "weight_decay": recipe.weight_decay,
            "warmup": recipe.warmup,
            "clip": recipe.clip,
            "bucket_batches": recipe.bucket_batches,
            "dev": dev,
            "patience": recipe.patience if dev else None,
            "progress": progress,
            "accelerator": self.accelerator,
        }
