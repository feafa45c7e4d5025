"""The dropout of a transformers model."""

from torch import nn


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
