"""How long a text a model can read."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel


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
