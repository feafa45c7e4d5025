"""A small model whose training draws dropout, for tests that stop it.

    python -m support.toy_training STATE SECONDS

trains it for a long time with its state in a file, written every so many seconds and at SIGTERM, and says every step.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fute.surrogate.checkpoint import Checkpoint, heed_sigterm
from fute.surrogate.text2text import Example
from fute.surrogate.training import TrainingLog, train

LONG = 200
"""Epochs, of three steps each."""


def numbered(lengths: Iterable[int]) -> list[Example]:
    """Examples of these lengths."""
    return [Example(i, (3,) * n, (4, 1), False, False) for i, n in enumerate(lengths)]


class Toy:
    """A small model with dropout from torch's global generator, as a prefix has it; 9 examples."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.table = nn.Parameter(torch.randn(20, 6))
        self.mix = nn.Parameter(torch.randn(6, 6))
        self.bias = nn.Parameter(torch.zeros(6))
        self.calls = 0
        self.examples = numbered([3, 5, 2, 7, 4, 6, 1, 9, 8])
        self.dev = numbered([2, 4, 6])

    @property
    def named(self) -> list[tuple[str, nn.Parameter]]:
        return [("table", self.table), ("mix", self.mix), ("bias", self.bias)]

    def losses(self, batch: list[Example]) -> Tensor:
        self.calls += 1
        states = self.table[torch.tensor([len(example.input_ids) for example in batch])]
        states = F.dropout(states, 0.3, training=torch.is_grad_enabled())
        wanted = 0.5 if torch.is_grad_enabled() else 0.1  # so that held-out rows are best before the end
        return ((torch.tanh(states @ self.mix) + self.bias - wanted) ** 2).sum(1)

    def train(self, *, early_stop: bool = False, **options: object) -> TrainingLog:
        stopping = {"dev": self.dev, "patience": 2} if early_stop else {}
        fixed = {"epochs": 12 if early_stop else 3, "batch_size": 4, "learning_rate": 0.2, "order_seed": 42}
        return train(self.losses, self.named, self.examples, **fixed | stopping | options)

    def bytes(self) -> bytes:
        return b"".join(parameter.detach().numpy().tobytes() for _, parameter in self.named)


def say_and_wait(done: int, total: int, loss: float) -> None:
    print(done, flush=True)
    time.sleep(0.02)


if __name__ == "__main__":
    checkpoint = Checkpoint(Path(sys.argv[1]), "same", every_s=float(sys.argv[2]))
    with heed_sigterm():
        Toy().train(checkpoint=checkpoint, epochs=LONG, progress=say_and_wait)
