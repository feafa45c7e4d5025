"""TuPaTE: a deep prefix trained on a frozen surrogate, averaged over its layers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fute.embeddings.vectors import Embedding
from fute.recipes import TupateSettings
from fute.surrogate.prefix import KeptStates, PrefixedSurrogate, PrefixShape, initial_prefix, sequences
from fute.surrogate.text2text import Example, Surrogate, collate
from fute.surrogate.training import Progress, TrainingLog, count_steps, train

LEAST_STEPS_FOR_DROPOUT = 100
"""Shorter runs take none: dropout would only add noise to a prefix that is still leaving its start."""


def tupate_embedding(prefix: Tensor) -> np.ndarray:
    """Mean of a prefix over its layers, flattened in the order key/value, head, position, dimension.

    prefix: (layers, 2, heads, P, head_dim). For T5-base 24,576 numbers.
    """
    return prefix.detach().float().mean(0).flatten().cpu().numpy()


class Tupate:
    """TuPaTE over one frozen surrogate; the start and the last list's states below the prefix are kept.

    training: from order seed, epochs, held-out examples and a progress callback to the arguments of `train`.
    start: the given common start, which must be what the recipe draws; None: drawn here.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        settings: TupateSettings,
        training: Callable[..., dict[str, Any]],
        start: Tensor | None,
    ) -> None:
        self.surrogate, self.settings, self.training = surrogate, settings, training
        self.prefixed = PrefixedSurrogate(self.surrogate, self.settings.layers)
        shape = PrefixShape.of(self.surrogate.model.config, self.settings.layers)
        drawn = initial_prefix(shape, length=self.settings.length, seed=self.settings.init_seed)
        self.start = drawn if start is None else start
        if not torch.equal(self.start, drawn):
            raise ValueError("the given start is not what the recipe's length and init_seed draw for this surrogate")
        self._kept: dict[str, KeptStates] = {}

    def run(
        self,
        examples: list[Example],
        dev: list[Example],
        epochs: int,
        seed: int,
        progress: Progress | None,
    ) -> tuple[np.ndarray, TrainingLog, None]:
        prefix = nn.Parameter(self.start.to(self.surrogate.device, copy=True))
        batches = {"train": self._batches("train", examples), "dev": self._batches("dev", dev)}
        steps = count_steps(len(examples), epochs=epochs, batch_size=self.settings.batch_size)
        rate = self.settings.dropout if steps >= LEAST_STEPS_FOR_DROPOUT else 0.0
        generator = torch.Generator().manual_seed(seed)

        def losses(batch: Sequence[Example]) -> Tensor:
            held_out = not torch.is_grad_enabled()
            dropped = prefix
            if rate and not held_out:
                kept = torch.rand(prefix.shape, generator=generator).to(prefix.device) >= rate
                dropped = prefix * kept / (1 - rate)
            return self.prefixed.nll(dropped, batches["dev" if held_out else "train"](batch))

        log = train(losses, [("prefix", prefix)], examples, **self.training(seed, epochs, dev, progress))
        return tupate_embedding(prefix), log, None

    def _batches(self, part: str, examples: list[Example]):
        """How examples become a batch: from states that are computed once for a list, where there are any."""
        if not self.prefixed.has_states:
            return lambda batch: collate(self.surrogate, batch)
        kept = self._kept.get(part)
        if kept is None or kept.sequences != sequences(self.surrogate, examples):
            self._kept[part] = KeptStates(self.prefixed, examples, self.settings.batch_size)
        return self._kept[part].batch

    def finish(self, vector, orders, basis, meta, facts) -> Embedding:
        init = tupate_embedding(self.start)
        distance = float(np.linalg.norm(vector - init) / np.linalg.norm(init))
        if distance < self.settings.min_relative_distance:
            raise ValueError(
                f"the prefix's vector moved by {distance:.3f} of its start's norm, less than "
                f"min_relative_distance={self.settings.min_relative_distance}: its cosines would compare the "
                "common start; train longer or at a higher rate"
            )
        basis = basis | {
            "scope": self._scope(),
            "average": "layers",
            "prefix_shape": list(self.start.shape),
            "init_sha256": hashlib.sha256(self.start.numpy().tobytes()).hexdigest(),
        }
        meta = meta | {"relative_distance": distance, "mode": "frozen surrogate in eval mode"}
        return Embedding(vector, "tupate", basis, meta, orders, init=init)

    def _scope(self) -> str:
        if self.surrogate.family == "encoder-decoder":
            return "decoder_self"
        return "all_layers" if self.settings.layers is None else f"last_{self.settings.layers}_layers"
