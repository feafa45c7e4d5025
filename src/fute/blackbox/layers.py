"""The layers of an encoder of BERT's shape, and the self-attention of each."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from fute.blackbox.finetune import blocks
from fute.blackbox.heads import BlackBox, BlackBoxError

PROJECTIONS = {"query", "key", "value"}


class EncoderLayer(NamedTuple):
    """A layer, and the module in it that outputs the context vectors, before the output projection."""

    block: nn.Module
    attention: nn.Module


def encoder_layers(box: BlackBox) -> list[EncoderLayer]:
    """Layers of BERT, RoBERTa, ELECTRA and any other model that names its parts as they do.

    Raises BlackBoxError for any other model; the message names the model and what it lacks.
    """
    name = f"{box.model.config.model_type} ({type(box.model).__name__})"
    remedy = "transfer with an encoder such as BERT, or leave taskemb and tupate out of lm.baselines.methods"
    if box.family != "encoder":
        raise BlackBoxError(f"{name} is no encoder, but an {box.family} model; {remedy}")
    layers = []
    for index, block in enumerate(blocks(box.model)):
        attention = [module for module in block.modules() if _linear_children(module) == PROJECTIONS]
        if len(attention) != 1:
            raise BlackBoxError(
                f"layer {index} of {name} has {len(attention)} modules of exactly the projections query, key, value; "
                f"it needs one, which gives its context vectors; {remedy}"
            )
        layers.append(EncoderLayer(block, attention[0]))
    return layers


def _linear_children(module: nn.Module) -> set[str]:
    return {name for name, child in module.named_children() if isinstance(child, nn.Linear)}
