"""Dropout: of a transformers model, and of a prefix."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def drop_per_example(tensor: Tensor, rate: float, rows: Sequence[int]) -> Tensor:
    """Inverted dropout of one tensor for each example of a batch: (len(rows), *tensor.shape).

    As in P-tuning v2 and the authors' code, every example has a mask of its own. It depends on the seed that torch's
    generator was given last (that of the optimiser step) and on the example's row: not on the device, nor on which
    other examples a process has.
    """
    seed = torch.initial_seed()
    masks = torch.empty((len(rows), *tensor.shape))
    for mask, row in zip(masks, rows, strict=True):
        drawn = int.from_bytes(hashlib.sha256(f"dropout {seed} {row}".encode()).digest()[:8])
        mask.uniform_(generator=torch.Generator().manual_seed(drawn))
    return tensor * (masks >= rate).to(tensor.device) / (1 - rate)


def set_dropout(model: nn.Module, rate: float) -> None:
    """Set every dropout of a transformers model (modules and attention rates) to `rate`.

    Raises ValueError if the model has none.
    """
    has_dropout = False
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p, has_dropout = rate, True
        for name in ("dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, rate)
                has_dropout = True
    if not has_dropout:
        raise ValueError(f"{type(model).__name__} has no dropout to set to {rate}; use dropout 0")
