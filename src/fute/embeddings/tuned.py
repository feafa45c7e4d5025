"""TuPaTE: a few parameters that tune a frozen surrogate, averaged over its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fute.config.methods import TunedSettings
from fute.embeddings.vectors import Embedding, EmbeddingError
from fute.surrogate.dropout import set_dropout
from fute.surrogate.states import RememberedStates, States, compute_states
from fute.surrogate.text2text import Batch, Example, Surrogate
from fute.surrogate.training import TrainingLog, count_steps, train
from fute.surrogate.tuning import Tuning


class Tuned:
    """TuPaTE by one tuning of a frozen surrogate. Keeps the last examples' states below the tuned part."""

    def __init__(self, surrogate: Surrogate, settings: TunedSettings, tuning: Tuning) -> None:
        self.surrogate, self.settings, self.tuning = surrogate, settings, tuning
        self._kept: dict[str, States] = {}
        # where states do not depend on the label, those of the last list serve all
        self._states_cover_labels = surrogate.family == "causal" and surrogate.settings.form == "text2text"
        has_experts = any(name.endswith("experts") for name, _ in surrogate.model.named_modules())
        self._remembered = RememberedStates() if self._states_cover_labels and not has_experts else None
        self._given: tuple[States, States] | None = None
        if settings.backbone_dropout:
            set_dropout(surrogate.model, settings.backbone_dropout)

    def run(
        self, examples: list[Example], dev: list[Example], training: dict, states: States | None
    ) -> tuple[np.ndarray, TrainingLog, None]:
        """Learn one vector from the common start. training: arguments of `train` from the recipe."""
        self.tuning.restart()
        self.surrogate.restart()
        shared = {"train": self._states("train", examples, states), "dev": self._states("dev", dev, None)}
        steps = count_steps(len(examples), epochs=training["epochs"], batch_size=training["batch_size"])
        # In short runs dropout would only add noise to a prefix that is still close to its start.
        dropout = self.settings.dropout if steps >= self.settings.dropout_min_steps else 0.0

        def losses(batch: Sequence[Example]) -> Tensor:
            learning = torch.is_grad_enabled()
            self.surrogate.model.train(learning and self.settings.backbone_dropout > 0)
            states = shared["train" if learning else "dev"]
            rate = dropout if learning else 0.0
            groups = self.surrogate.groups(batch)
            return torch.cat([self.tuning.nll(self._batch(states, g), rate, [e.index for e in g]) for g in groups])

        trained = self.tuning.parameters() + self.surrogate.head_parameters()
        log = train(losses, trained, examples, dev=dev, **training)
        return self.tuning.embedding(), log, None

    def losses_of(self, examples: list[Example], label: int | None) -> Callable[[Sequence[Example]], Tensor]:
        """Losses of the surrogate as the last run left it; see `fute.embeddings.gate`."""
        self.surrogate.model.eval()
        part = "gate" if label is None or not self._states_cover_labels else f"gate {label}"
        states = self._states(part, examples, None)
        return lambda batch: self.tuning.nll(self._batch(states, batch))

    def _states(self, part: str, examples: list[Example], given: States | None) -> States | None:
        """States of a list of examples: the given ones or those of the last call, if they fit; otherwise computed."""
        if not self.tuning.has_states or self.settings.backbone_dropout or not examples:
            return None
        if given is not None and given.cover(self.surrogate, examples):
            if self._given is None or self._given[0] is not given:
                self._given = given, given.with_cross(self.tuning)
            return self._given[1]
        kept = self._kept.get(part)
        if kept is None or len(kept.lengths) != len(examples) or not kept.cover(self.surrogate, examples):
            states = compute_states(self.tuning, examples, remembered=self._remembered)
            self._kept[part] = states.on(self.surrogate.device).with_cross(self.tuning)
        return self._kept[part]

    def _batch(self, states: States | None, examples: Sequence[Example]) -> Batch:
        return self.surrogate.collate(examples) if states is None else states.batch(self.surrogate, examples)

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
