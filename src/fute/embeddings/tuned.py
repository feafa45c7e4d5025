"""TuPaTE: a few parameters that tune a frozen surrogate, averaged over its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fute.config.methods import TunedSettings
from fute.embeddings.vectors import Embedding, EmbeddingError
from fute.surrogate.dropout import set_dropout
from fute.surrogate.states import KeptStates, States
from fute.surrogate.text2text import Example, Surrogate
from fute.surrogate.training import TrainingLog, count_steps, train
from fute.surrogate.tuning import Tuning


class Tuned:
    """TuPaTE by one tuning of a frozen surrogate. Keeps the last examples' states below the tuned part."""

    def __init__(self, surrogate: Surrogate, settings: TunedSettings, tuning: Tuning) -> None:
        self.surrogate, self.settings, self.tuning = surrogate, settings, tuning
        self._states = KeptStates(tuning, keep=not settings.backbone_dropout)
        if settings.backbone_dropout:
            set_dropout(surrogate.model, settings.backbone_dropout)

    def run(
        self, examples: list[Example], dev: list[Example], training: dict, states: States | None
    ) -> tuple[np.ndarray, TrainingLog, None]:
        """Learn one vector from the common start. training: arguments of `train` from the recipe."""
        self.tuning.restart()
        self.surrogate.restart()
        batch_to_learn = self._states.batches("train", examples, states)
        batch_held_out = self._states.batches("dev", dev)
        steps = count_steps(len(examples), epochs=training["epochs"], batch_size=training["batch_size"])
        # In short runs dropout would only add noise to a prefix that is still close to its start.
        dropout = self.settings.dropout if steps >= self.settings.dropout_min_steps else 0.0

        def losses(batch: Sequence[Example]) -> Tensor:
            learning = torch.is_grad_enabled()
            self.surrogate.model.train(learning and self.settings.backbone_dropout > 0)
            make, rate = (batch_to_learn, dropout) if learning else (batch_held_out, 0.0)
            groups = self.surrogate.groups(batch)
            return torch.cat([self.tuning.nll(make(group), rate, [e.index for e in group]) for group in groups])

        trained = self.tuning.parameters() + self.surrogate.head_parameters()
        log = train(losses, trained, examples, dev=dev, **training)
        return self.tuning.embedding(), log, None

    def losses_of(self, examples: list[Example], label: int | None) -> Callable[[Sequence[Example]], Tensor]:
        """Losses of the surrogate as the last run left it; see `fute.embeddings.gate`."""
        self.surrogate.model.eval()
        make = self._states.batches("gate", examples, label=label)
        return lambda batch: self.tuning.nll(make(batch))

    def finish(self, vector, orders, basis, meta, facts) -> Embedding:
        init = self.tuning.start_embedding()
        meta = meta | {"mode": "frozen surrogate in eval mode"}
        if init is not None:
            distance = float(np.linalg.norm(vector - init) / np.linalg.norm(init))
            if distance < self.settings.min_relative_distance:
                raise EmbeddingError(
                    f"the prefix's vector moved by {distance:.3f} of its start's norm, less than "
                    f"min_relative_distance={self.settings.min_relative_distance}. Its cosines would compare the "
                    "common start: train longer or at a higher rate"
                )
            meta["relative_distance"] = distance
        basis = basis | self.tuning.basis()
        segments = self.tuning.segments()
        return Embedding(vector, self.settings.method, basis, meta, orders, init=init, segments=segments)
