"""What lies inside an encoder of BERT's shape: its layers, and the self-attention of each."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from fute.blackbox.finetune import blocks
from fute.blackbox.heads import BlackBox, BlackBoxError

PROJECTIONS = {"query", "key", "value"}


class EncoderLayer(NamedTuple):
    """A layer, and the module in it whose output are the context vectors, before the output projection."""

    block: nn.Module
    attention: nn.Module


def encoder_layers(box: BlackBox) -> list[EncoderLayer]:
    """Layers of BERT, RoBERTa, ELECTRA and whatever else names its parts as they do.

    Raises BlackBoxError, naming the model and what it lacks, for any other.
    """
    name = f"{box.model.config.model_type} ({type(box.model).__name__})"
    remedy = "transfer with an encoder such as BERT, or leave taskemb and tupate out of lm.baselines.methods"
    if box.family != "encoder":
        raise BlackBoxError(f"{name} is no encoder, but an {box.family} model; {remedy}")
    found = []
    for index, block in enumerate(blocks(box.model)):
        own = [module for module in block.modules() if _linear_children(module) == PROJECTIONS]
        if len(own) != 1:
            raise BlackBoxError(
                f"layer {index} of {name} has {len(own)} modules of exactly the projections query, key and value, and "
                f"not one, so that its context vectors are not known; {remedy}"
            )
        found.append(EncoderLayer(block, own[0]))
    return found


def _linear_children(module: nn.Module) -> set[str]:
    return {name for name, child in module.named_children() if isinstance(child, nn.Linear)}
