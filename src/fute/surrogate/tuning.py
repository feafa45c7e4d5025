"""The interface of all tunings: parameters that TuPaTE trains on a frozen surrogate, and the vector made from them."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fute.surrogate.frozen import Cut, speed_up_frozen
from fute.surrogate.text2text import Batch

Segment = tuple[str, int, int]
"""A named part of a vector: name, start, stop."""


class Tuning(Cut, ABC):
    """A few fp32 parameters trained in a frozen surrogate. One object per surrogate serves any number of trainings.

    A new tuning is at its start, and again after `restart`.
    """

    @abstractmethod
    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Trained parameters with their names, in a fixed order; the same objects at every call."""

    @abstractmethod
    def restart(self) -> None:
        """Return to the common start, byte for byte."""

    @abstractmethod
    def nll(self, batch: Batch, dropout: float = 0.0, rows: Sequence[int] | None = None) -> Tensor:
        """-log P(y given x) of each example, in nats, summed over its target tokens: (B,) fp32.

        batch: from the surrogate's `collate`, or the same with `states` (B, S, d) in place of `input_ids`.
        dropout: rate on the trained parameters. rows: number of each example in its list, which its mask depends on
            (`drop_per_example`); None: 0, 1, 2, ...
        """

    @abstractmethod
    def embedding(self) -> np.ndarray:
        """The vector of the present parameters: (d,) fp32."""

    @abstractmethod
    def start_embedding(self) -> np.ndarray | None:
        """The vector of the start; None where it is zero."""

    @abstractmethod
    def segments(self) -> list[Segment]:
        """Parts of the vector that come from different kinds of tensor; empty if there is one kind only."""

    @abstractmethod
    def basis(self) -> dict[str, Any]:
        """Facts that two vectors must share to be comparable."""

    def _losses(self, inputs: dict[str, Any], **model_inputs: Any) -> Tensor:
        return self.surrogate.losses(self.model, inputs, **model_inputs)

    def _speed_up(self) -> None:
        """Replace frozen layers by faster ones; a subclass calls this when all its trained parameters are in place."""
        if self.surrogate.device.type == "cpu" and self.surrogate.model.dtype == torch.bfloat16:
            speed_up_frozen(self.model)


def sha256_of(tensors: Iterable[Tensor]) -> str:
    """Hash of the tensors' bytes, in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
