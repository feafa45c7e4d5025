"""A surrogate loaded once that turns many sets of pairs into vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from fute.artifacts import content_key
from fute.code_hash import code_sha256
from fute.config.methods import (
    MethodSettings,
    TaskEmbSettings,
    TextEmbSettings,
    TupateSettings,
    form_module,
    method_module,
)
from fute.config.surrogate import SurrogateSettings
from fute.device import compute_device, warn_of_slow_bfloat16
from fute.embeddings.gate import HeldOut, measure, verdict
from fute.embeddings.vector_record import MANY_UNKNOWN_TOKENS
from fute.embeddings.vectors import Embedding, EmbeddingError
from fute.pretrained import usable_positions
from fute.surrogate.checkpoint import Checkpoint
from fute.surrogate.forms import load_form
from fute.surrogate.labelled import Labelled
from fute.surrogate.states import States
from fute.surrogate.text2text import Example, Pair, eager_attention
from fute.surrogate.training import Progress, count_steps
from fute.surrogate.unknown import unknown_tokens

MOST_UNUSABLE = 0.5
"""A larger share of pairs that the surrogate cannot read is an error; a smaller one is left out and counted."""


class Embedder:
    """Loads a surrogate once and turns sets of pairs into vectors, each from the same starting weights.

    surrogate_sha: hash of the surrogate's files, which becomes part of every basis.
    """

    def __init__(
        self,
        surrogate_path: Path,
        surrogate_settings: SurrogateSettings,
        method_settings: MethodSettings,
        surrogate_sha: str,
    ) -> None:
        self.settings = method_settings
        self.accelerator = Accelerator(cpu=compute_device().type == "cpu")
        frozen = not isinstance(method_settings, TaskEmbSettings) or method_settings.layers is not None
        if surrogate_settings.form == "heads" and isinstance(method_settings, TextEmbSettings):
            raise EmbeddingError("textemb reads states at y, but the heads form has no y; use form text2text")
        self.surrogate = load_form(surrogate_path, surrogate_settings, frozen=frozen)
        self.surrogate.model.to(self.accelerator.device)
        warn_of_slow_bfloat16(self.surrogate.model.dtype, self.accelerator.device, "surrogate.settings.dtype")
        if self.accelerator.device.type == "cpu":
            eager_attention(self.surrogate.model)
        self._basis = {"method": method_settings.method, "surrogate_sha256": surrogate_sha}
        self._basis |= {"family": surrogate_settings.family, "form": surrogate_settings.form}
        if surrogate_settings.form == "heads":
            self._basis["head_seed"] = surrogate_settings.head_seed
        load = import_module(method_module(method_settings.method)).method
        self._method = load(self.surrogate, method_settings, self.accelerator)

    def embed(
        self,
        pairs: Sequence[Pair] | Sequence[Labelled],
        dev: Sequence[Pair] | Sequence[Labelled] | None = None,
        *,
        held_out: Sequence[Pair] | Sequence[Labelled] = (),
        accuracy: bool = False,
        progress: Progress | None = None,
        states: States | None = None,
        checkpoints: Path | None = None,
    ) -> Embedding:
        """Learn the embedding of `pairs`. With held-out rows `dev`, training stops early (see the recipe).

        pairs, dev, held_out: `Pair`s for the text-to-text form, `Labelled` for the heads form.
        held_out: pairs that the gate is measured on (`fute.embeddings.gate`); none: the record says that it was not.
            accuracy: measure it with the accuracy on them too, for a dataset's pairs.
        progress: called after each step with steps done and all steps, of one order seed, and the loss.
        states: the encoder's states of a corpus whose first texts are the x of these pairs; None: computed here.
        checkpoints: folder for the state of a training under way, from which a killed training continues.

        Raises EmbeddingError for too few steps, for a TuPaTE vector that stayed at its start, or if the surrogate knows
        no token of many pairs; PairError for pairs that cannot be encoded; FloatingPointError for a loss that is not
        finite.
        """
        if dev is not None and not self.settings.early_stops:
            raise EmbeddingError("held-out rows were given, but the recipe has no max_epochs and patience; set both")
        if dev is not None and not dev:
            raise EmbeddingError("there are no held-out rows to stop early by; give some, or a recipe without patience")
        if not pairs:
            raise EmbeddingError("there are no pairs to learn from; give at least one")
        pairs, unknown = self._usable(pairs)
        self.surrogate.prepare(pairs)
        examples = self._encoded(pairs)
        meta: dict[str, Any] = {
            "pairs": len(examples),
            **unknown,
            "inputs_cut": sum(example.input_cut for example in examples),
            "targets_cut": sum(example.target_cut for example in examples),
            "recipe": self.settings.model_dump(mode="json"),
            "surrogate": self.surrogate.settings.model_dump(mode="json"),
            "processes": self.accelerator.num_processes,
        }
        meta |= self.surrogate.facts()
        if isinstance(self.settings, TextEmbSettings):
            vector = self._method.run(examples, progress)
            meta["mode"] = "surrogate in eval mode, not trained"
            return Embedding(vector, self.settings.method, self._basis | {"states": "targets"}, meta, vector[None])
        dev_examples = self._encoded(dev) if dev is not None else []
        gate = self._gate(held_out, examples)
        epochs = self._epochs(len(pairs), early_stop=dev is not None)
        vectors, logs, facts, measured = [], [], [], []
        for seed in self.settings.order_seeds:
            training = self._training(seed, epochs, dev is not None, progress)
            checkpoint = self._checkpoint(checkpoints, training, examples, dev_examples)
            learned, log, fact = self._method.run(examples, dev_examples, training | {"checkpoint": checkpoint}, states)
            vectors.append(learned)
            logs.append(log)
            facts.append(fact)
            if gate:
                measured.append(measure(gate, self._method.losses_of, accuracy=accuracy))
        orders = np.stack(vectors)
        vector = orders[0] if len(orders) == 1 else orders.mean(0, dtype=np.float64).astype(np.float32)
        meta |= {
            "loss_start": float(np.mean([log.loss_start for log in logs])),
            "loss_end": float(np.mean([log.loss_end for log in logs])),
            "steps": sum(log.steps for log in logs),
            "dev_losses": [[x if math.isfinite(x) else None for x in log.dev_losses] for log in logs],
            "best_epochs": [log.best_epoch for log in logs],
            "gate": verdict(gate, measured) if gate else None,
        }
        return self._method.finish(vector, orders, self._basis, meta, facts)

    def _gate(self, pairs: Sequence[Pair] | Sequence[Labelled], learned: list[Example]) -> HeldOut | None:
        """The held-out pairs that the surrogate can read; None if there are none."""
        unusable = set(unknown_tokens(self.surrogate.tokenizer, pairs).unusable)
        usable = [pair for index, pair in enumerate(pairs) if index not in unusable]
        if not usable:
            return None
        task = getattr(self.surrogate, "task", None)
        kind = task.kind if task else "text"
        return HeldOut(self._encoded(usable), learned, kind, self.surrogate.groups)

    def _encoded(self, pairs: Sequence[Pair] | Sequence[Labelled]) -> list[Example]:
        """Token ids of pairs. Raises EmbeddingError for a pair that is longer than the surrogate can read."""
        examples = self.surrogate.encode(pairs)
        prefix = self.settings.length if isinstance(self.settings, TupateSettings) else 0
        longest = max((len(self.surrogate.sequence(example)) for example in examples), default=0) + prefix
        if (positions := usable_positions(self.surrogate.model)) is not None and longest > positions:
            raise EmbeddingError(
                f"a pair has {longest} tokens{' with the prefix' if prefix else ''}, but the surrogate has {positions} "
                "positions for one; lower surrogate.settings.max_input_tokens"
            )
        return examples

    def _usable(self, pairs: Sequence[Pair] | Sequence[Labelled]) -> tuple[list[Pair] | list[Labelled], dict[str, Any]]:
        """Pairs of which the surrogate knows a token of x and one of y; and facts for the record.

        Raises EmbeddingError if this leaves out too many.
        """
        unknown = unknown_tokens(self.surrogate.tokenizer, pairs)
        unusable = set(unknown.unusable)
        left_out = len(unusable)
        advice = "take a surrogate whose tokenizer knows this language, or has a byte fallback"
        if left_out > MOST_UNUSABLE * len(pairs):
            first = pairs[unknown.unusable[0]]
            y = f", y {first.y!r}" if isinstance(first, Pair) else ""
            raise EmbeddingError(
                f"the surrogate's tokenizer knows no token of x or of y in {left_out} of {len(pairs)} pairs, first in "
                f"pair {unknown.unusable[0]} (x {' '.join(first.x)[:60]!r}{y}): {advice}"
            )
        if unknown.share > MANY_UNKNOWN_TOKENS and self.accelerator.is_main_process:
            print(f"warning: the surrogate does not know {unknown.share:.1%} of the tokens of these pairs: {advice}")
        kept = [pair for index, pair in enumerate(pairs) if index not in unusable] if left_out else pairs
        return kept, {"unknown_tokens": round(unknown.share, 6), "unusable_pairs": left_out}

    def _epochs(self, pairs: int, *, early_stop: bool) -> int:
        """Epochs of a training. Raises EmbeddingError if they give too few optimiser steps."""
        settings = self.settings
        epochs = settings.max_epochs if early_stop else settings.epochs
        steps = count_steps(pairs, epochs=epochs, batch_size=settings.batch_size)
        if steps < settings.min_steps:
            raise EmbeddingError(
                f"{pairs} pairs in {epochs} epoch(s) of batches of {settings.batch_size} are {steps} "
                f"optimiser steps, fewer than min_steps={settings.min_steps}: use more pairs, more epochs or "
                "smaller batches"
            )
        return epochs

    def _training(self, order_seed: int, epochs: int, early_stop: bool, progress: Progress | None) -> dict[str, Any]:
        """Keyword arguments of `train` from the recipe."""
        recipe = self.settings
        named = ("batch_size", "learning_rate", "weight_decay", "warmup", "clip", "bucket_batches")
        return {
            **{name: getattr(recipe, name) for name in named},
            "epochs": epochs,
            "order_seed": order_seed,
            "patience": recipe.patience if early_stop else None,
            "progress": progress,
            "accelerator": self.accelerator,
        }

    def _checkpoint(
        self, folder: Path | None, training: dict[str, Any], examples: list[Example], held_out: list[Example]
    ) -> Checkpoint | None:
        if folder is None:
            return None
        ids = [[(e.input_ids, e.target_ids) for e in part] for part in (examples, held_out)]
        identity = [
            code_sha256(__name__, method_module(self.settings.method), form_module(self.surrogate.settings.form)),
            self._basis,
            self.settings.model_dump(),
            self.surrogate.settings.model_dump(),
            training["epochs"],
            ids,
        ]
        return Checkpoint(folder / f"order-{training['order_seed']}.safetensors", content_key(identity))
