"""Models of transformers in folders: whether they are whole, and how long a text they read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from fute.wording import listed


def usable_positions(model: PreTrainedModel) -> int | None:
    """Most tokens of a text that a model has positions for; None where its config names no limit.

    RoBERTa and models like it count positions from one after the padding's id, so that no text uses those before.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None:
        return None
    tables = [table for name, table in model.named_modules() if name.endswith("position_embeddings")]
    padding = [table.padding_idx for table in tables if isinstance(table, nn.Embedding)]
    return positions - max((place + 1 for place in padding if place is not None), default=0)


def check_whole(folder: Path, model: PreTrainedModel, missing: Collection[str]) -> None:
    """Raise ValueError if weights are missing in a model's folder: transformers draws them, others at every load.

    missing: names, as in the `missing_keys` of `from_pretrained`.
    """
    if missing:
        names = listed(sorted(missing), 1)
        raise ValueError(f"{folder} holds no weights for {names} of {type(model).__name__}; fetch the whole model")
