"""The dropout of a transformers model."""

from torch import nn


def set_dropout(model: nn.Module, rate: float) -> None:
    """Set every dropout of a transformers model, modules and attention rates, to `rate`."""
    found = False
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p, found = rate, True
        for name in ("dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, rate)
                found = True
    if not found:
        raise ValueError(f"{type(model).__name__} has no dropout to set to {rate}; use dropout 0")
