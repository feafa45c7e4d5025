"""The gate: whether a surrogate has learned the task of a vector, measured on pairs that it was not trained on.

A surrogate that knows only how often each label occurs (the label prior) knows nothing of a text. A vector made from a
surrogate that does no better stands for its labels' words and its start, not for a dataset or a black box.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fute.surrogate.text2text import Example

MOST_LABELS = 20
"""With more different labels (numbers, spans), accuracy is not measured."""

CERTAIN = 0.05
"""Held-out loss of texts and classes, in nats, that always counts as learned: a black box that gives one answer has a
label prior of 0."""

BATCH = 32

LossesOf = Callable[[list[Example], int | None], Callable[[Sequence[Example]], Tensor]]
"""Called with all held-out examples, and the number of the label that they carry (None: their own). It gives a function
for the loss of each example of a batch of them, (B,), by the trained surrogate."""


@dataclass(frozen=True)
class HeldOut:
    """Pairs of the gate beside those that are learned from.

    kind: of the targets: `text`, or the task of a head: `class`, `soft`, `number` or `span`. groups: splits examples
    into parts that a batch may hold together (the surrogate's `groups`).
    """

    examples: list[Example]
    learned: list[Example]
    kind: str
    groups: Callable[[Sequence[Example]], list[list[Example]]]

    @property
    def labels(self) -> list[tuple]:
        """The different targets of the pairs that are learned from, in a fixed order; empty if accuracy is not
        measured."""
        labels = sorted({example.target_ids for example in self.learned}) if self.kind in {"text", "class"} else []
        return labels if len(labels) <= MOST_LABELS else []

    def prior_losses(self) -> list[float]:
        """Loss of each held-out pair for a surrogate that knows the targets of the learned pairs, but reads no text.

        text, class: -log of the label's share; a label that was not seen counts as one more pair. soft: with the mean
        probabilities. number: with the mean. span: with every place equally likely, because places do not recur.
        """
        targets = [example.target_ids for example in self.examples]
        if self.kind == "span":
            return [2 * math.log(max(2, len(example.input_ids))) for example in self.examples]
        if self.kind == "number":
            mean = np.mean([example.target_ids[0] for example in self.learned])
            return [float((target[0] - mean) ** 2) for target in targets]
        if self.kind == "soft":
            mean = np.mean([example.target_ids[0] for example in self.learned], axis=0).clip(1e-6, 1 - 1e-6)
            given = np.array([target[0] for target in targets])
            return (-(given * np.log(mean) + (1 - given) * np.log1p(-mean)).mean(1)).tolist()
        counts, n = Counter(example.target_ids for example in self.learned), len(self.learned)
        return [math.log(n / counts[target]) if target in counts else math.log(n + 1) for target in targets]

    def majority(self) -> float:
        """Share of the held-out pairs that have the most frequent label of the learned pairs (the first of equals)."""
        counts = Counter(example.target_ids for example in self.learned)
        most = max(sorted(counts), key=lambda label: counts[label])
        return float(np.mean([example.target_ids == most for example in self.examples]))


@dataclass(frozen=True)
class Measured:
    """What one trained surrogate does on the held-out pairs. accuracy: None where it is not measured."""

    loss: float
    accuracy: float | None


@torch.no_grad()
def measure(held_out: HeldOut, losses_of: LossesOf, *, accuracy: bool) -> Measured:
    """Mean loss on the held-out pairs, and if asked for the share whose likeliest label is the given one.

    accuracy: True for a dataset's vector. It takes one pass over the held-out pairs per label.
    """
    examples, labels = held_out.examples, held_out.labels if accuracy else []
    if len(labels) < 2:
        return Measured(float(_losses(held_out, examples, losses_of(examples, None)).mean()), None)
    by_label = []
    for number, label in enumerate(labels):
        relabelled = [replace(example, target_ids=label) for example in examples]
        by_label.append(_losses(held_out, relabelled, losses_of(relabelled, number)))
    likeliest = [labels[best] for best in np.argmin(by_label, axis=0)]
    right = float(np.mean([label == example.target_ids for label, example in zip(likeliest, examples, strict=True)]))
    if {example.target_ids for example in examples} <= set(labels):
        own = [by_label[labels.index(example.target_ids)][i] for i, example in enumerate(examples)]
        return Measured(float(np.mean(own)), right)
    return Measured(float(_losses(held_out, examples, losses_of(examples, None)).mean()), right)


def _losses(
    held_out: HeldOut, examples: Sequence[Example], losses: Callable[[Sequence[Example]], Tensor]
) -> NDArray[np.float64]:
    """Loss of each example, in the order of their `index`. Raises FloatingPointError for one that is not finite."""
    values = np.empty(len(examples))
    for group in held_out.groups(examples):
        group = sorted(group, key=lambda example: (len(example.input_ids), example.index))
        for start in range(0, len(group), BATCH):
            batch = group[start : start + BATCH]
            values[[example.index for example in batch]] = losses(batch).double().cpu().numpy()
    if len(broken := np.flatnonzero(~np.isfinite(values))):
        raise FloatingPointError(
            f"after the training, the loss of held-out pair {broken[0]} is {values[broken[0]]}; lower the learning "
            "rate, or look at this pair"
        )
    return values


def verdict(held_out: HeldOut, measured: Sequence[Measured]) -> dict[str, Any]:
    """Facts of the gate for a vector's record, from the surrogates of all order seeds.

    held_out_loss, prior_loss: mean per pair, in nats (numbers: squared error), over the order seeds. order_losses: of
    each seed. held_out_accuracy, majority: shares, or None. needed_accuracy: the majority and two standard errors of
    it. learned: whether the loss is under that of the label prior, and the accuracy above what is needed.
    """
    rows = len(held_out.examples)
    loss, prior = float(np.mean([m.loss for m in measured])), float(np.mean(held_out.prior_losses()))
    facts = {"rows": rows, "held_out_loss": loss, "prior_loss": prior, "order_losses": [m.loss for m in measured]}
    accuracies = [m.accuracy for m in measured if m.accuracy is not None]
    accuracy = majority = needed = None
    enough = max(prior, CERTAIN) if held_out.kind in {"text", "class"} else prior
    learned = loss < enough
    if accuracies:
        accuracy, majority = float(np.mean(accuracies)), held_out.majority()
        needed = majority + 2 * math.sqrt(majority * (1 - majority) / rows)
        learned = learned and accuracy > needed
    return facts | {
        "held_out_accuracy": accuracy,
        "majority": majority,
        "needed_accuracy": needed,
        "learned": learned,
    }


def gate_words(meta: dict[str, Any]) -> str:
    """The gate of a vector's record, as the end of a line for the terminal."""
    if not (gate := meta.get("gate")):
        return ""
    accuracy = gate["held_out_accuracy"]
    shown = "" if accuracy is None else f", accuracy {accuracy:.0%} (needed: over {gate['needed_accuracy']:.0%})"
    mark = "learned" if gate["learned"] else "DID NOT LEARN: do not rank by this vector"
    loss = f"{gate['held_out_loss']:.3f} nats (label prior: {gate['prior_loss']:.3f})"
    return f"; on {gate['rows']} held-out pairs {loss}{shown}: {mark}"
