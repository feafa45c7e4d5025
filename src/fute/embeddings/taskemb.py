"""TaskEmb: the diagonal of a fine-tuned surrogate's Fisher information as a vector."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from fute.artifacts import sha256_text
from fute.config.methods import TaskEmbSettings
from fute.embeddings.vectors import Embedding, EmbeddingError
from fute.progress import Track
from fute.surrogate.checkpoint import Checkpoint
from fute.surrogate.dropout import set_dropout
from fute.surrogate.fisher.diagonal import FisherDiagonal, check_modules, fisher_pass
from fute.surrogate.frozen import Cut, names_above
from fute.surrogate.states import KeptStates, MakeBatch, States
from fute.surrogate.text2text import Batch, Example, Surrogate
from fute.surrogate.training import TrainingLog, step_seed, train


def taskemb_embedding(values: dict[str, Tensor]) -> tuple[np.ndarray, list[tuple[str, int, int]]]:
    """Join the tensors of a Fisher diagonal end to end; returns the vector and (name, start, stop) of each tensor."""
    flat = {name: value.flatten().cpu().numpy() for name, value in values.items()}
    stops = np.cumsum([len(value) for value in flat.values()]).tolist()
    starts = [0, *stops[:-1]]
    return np.concatenate(list(flat.values())), list(zip(flat, starts, stops, strict=True))


class TaskEmb:
    """TaskEmb over one surrogate. Its fp32 starting weights are restored before every vector.

    Fine-tuned is the whole surrogate (the paper), or its last layers (`layers`): their blocks and the norm above them,
    in fp32, on states of the frozen layers below, which are computed once. The vector covers what is fine-tuned.
    """

    def __init__(self, surrogate: Surrogate, settings: TaskEmbSettings, accelerator: Accelerator) -> None:
        self.surrogate, self.settings, self.accelerator = surrogate, settings, accelerator
        self.model, self._cut, self._states = surrogate.model, None, None
        names = {name: name for name, _ in self.model.named_parameters()}
        if settings.layers is not None:
            self._cut = Cut(surrogate, settings.layers)
            names = names_above(self._cut)
            self.model = self._cut.model = copy.deepcopy(self._cut.model).float()
            self._states = KeptStates(self._cut)
        self._parameters = {name: parameter for name, parameter in self.model.named_parameters() if name in names}
        self._names = names
        self._start = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._excluded = [re.compile(pattern) for pattern in self.settings.exclude]
        if not any(map(self.include, names)):
            raise EmbeddingError("taskemb.exclude leaves out every parameter that is trained; keep some for the vector")
        if settings.reduction == "mean_of_squares":
            check_modules(self.model, self.include)
        if self.settings.dropout:
            set_dropout(self.model, self.settings.dropout)

    def include(self, name: str) -> bool:
        """True if a parameter of the model that is fine-tuned enters the vector."""
        return name in self._names and not any(pattern.search(self._names[name]) for pattern in self._excluded)

    def restore(self) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(self._start[name])

    def run(
        self, examples: list[Example], dev: list[Example], training: dict[str, Any], states: States | None
    ) -> tuple[np.ndarray, TrainingLog, tuple]:
        """Fine-tune from the start and compute the Fisher diagonal.

        training: arguments of `train`. states: not used, because the encoder is trained.
        Returns the vector, the training's log, and (segments, squared gradient norm of each example).
        """
        self.restore()
        self.surrogate.restart()
        batch_to_learn, batch_held_out = self._batches("train", examples), self._batches("dev", dev)
        self.model.requires_grad_(False)
        for parameter in self._parameters.values():
            parameter.requires_grad_(True)

        def losses(batch: Sequence[Example]) -> Tensor:
            return self._losses(batch, batch_to_learn if torch.is_grad_enabled() else batch_held_out)

        head = self.surrogate.head_parameters()
        log = train(losses, [*self._parameters.items(), *head], examples, dev=dev, **training)
        self.model.zero_grad(set_to_none=True)
        for _, parameter in head:
            parameter.requires_grad_(False)
        fisher = self._fisher(examples, batch_to_learn, training["order_seed"], training["checkpoint"])
        vector, segments = taskemb_embedding({self._names[name]: value for name, value in fisher.values.items()})
        return vector, log, (segments, fisher.traces)

    def losses_of(self, examples: list[Example], label: int | None) -> Callable[[Sequence[Example]], Tensor]:
        """Losses of the surrogate as the last run left it; see `fute.embeddings.gate`."""
        make = self._batches("gate", examples, label)
        return lambda batch: self._losses(batch, make)

    def _batches(self, part: str, examples: list[Example], label: int | None = None) -> MakeBatch:
        if self._states is None:
            return self.surrogate.collate
        return self._states.batches(part, examples, label=label)

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        """A batch as the model that is fine-tuned takes it."""
        return batch if self._cut is None else self._cut.inputs(batch)

    def _losses(self, batch: Sequence[Example], make: MakeBatch) -> Tensor:
        self.model.train(self.settings.dropout > 0 and torch.is_grad_enabled())
        losses = []
        for group in self.surrogate.groups(batch):
            losses.append(self.surrogate.losses(self.model, self._inputs(make(group)), use_cache=False))
        return torch.cat(losses)

    def _fisher(
        self, examples: list[Example], make: MakeBatch, seed: int, checkpoint: Checkpoint | None
    ) -> FisherDiagonal:
        """Fisher diagonal over batches of similar length; the sum does not depend on their order."""
        accelerator, size = self.accelerator, self.settings.fisher_batch_size
        batches = []
        for group in self.surrogate.groups(examples):
            ordered = sorted(group, key=lambda example: (len(example.input_ids), example.index))
            batches += [ordered[i : i + size] for i in range(0, len(ordered), size)]
        numbered = list(enumerate(batches, start=1))
        share = numbered[accelerator.process_index :: accelerator.num_processes]
        generator = torch.Generator()

        def inputs(track: Track) -> Iterator[Batch]:
            for number, batch in share:
                if checkpoint is not None:
                    checkpoint.stop_if_asked()
                generator.manual_seed(step_seed(seed, number))  # sampled labels depend on the batch, not on the process
                yield self._inputs(make(batch))
                track.advance(len(batch))

        with Track("  Fisher pass", sum(len(batch) for _, batch in share), "texts", brief=True) as track:
            return fisher_pass(
                self.model,
                inputs(track),
                reduction=self.settings.reduction,
                token_reduction=self.settings.token_reduction,
                labels=self.settings.labels,
                generator=generator,
                include=self.include,
                reduce=self.settings.reduce,
                traces=True,
                sum_over_ranks=lambda tensor: accelerator.reduce(tensor, "sum"),
                losses=self.surrogate.losses,
            )

    def finish(self, vector, orders, basis, meta, facts) -> Embedding:
        if not vector.any():
            raise EmbeddingError(
                "the Fisher information is 0 everywhere, so the vector has no direction: all gradients of the "
                "fine-tuned surrogate vanish; lower the learning rate or the epochs, or look at the surrogate's weights"
            )
        segments, traces = facts[0]
        settings = self.settings
        layout = json.dumps([(name, stop - start) for name, start, stop in segments])
        basis = basis | {
            "layers": settings.layers,
            "reduction": settings.reduction,
            "token_reduction": settings.token_reduction,
            "labels": settings.labels,
            "reduce": settings.reduce,
            **({"batch": settings.fisher_batch_size} if settings.reduction == "batch_mean_square" else {}),
            "tensors_sha256": sha256_text(layout),
        }
        meta = meta | {"mode": "Fisher information in eval mode", **_tail_shares(vector)}
        if traces := gather_object(traces.tolist()):
            meta["largest_example_share"] = max(traces) / sum(traces)
        return Embedding(vector, "taskemb", basis, meta, orders, segments=segments)


def _tail_shares(vector: np.ndarray) -> dict[str, float]:
    """Shares of the squared norm that the 10 and the 1,000 largest entries have."""
    squares = np.square(vector, dtype=np.float64)
    largest = -np.sort(-np.partition(squares, -min(1000, len(squares)))[-1000:])
    return {f"top_{k}_share": float(largest[:k].sum() / squares.sum()) for k in (10, 1000)}


def method(surrogate: Surrogate, settings: TaskEmbSettings, accelerator: Accelerator) -> TaskEmb:
    """TaskEmb over a surrogate; `fute.embeddings.embedder` calls this function by name."""
    return TaskEmb(surrogate, settings, accelerator)
