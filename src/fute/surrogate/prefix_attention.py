"""Attention with a prefix: for T5 (encoder, decoder, cross-attention) and for encoders such as BERT.

A cache can carry a prefix into a decoder's self-attention only: encoders take no cache, and T5's cross-attention
reads a filled cache *instead of* the encoder. So this is a separate attention function, registered with transformers:
a module with a `prefix` attends to it before its own keys and values.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask

PREFIX_ATTENTION = "fute_prefix"


def prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention over the keys and, if the module has one, its `prefix`: (2 = key, value; 1 or B; heads; P; head_dim).

    Every query sees the whole prefix, without relative position bias: a prefix has no position.
    attention_mask: (B, 1, 1 or Q, K), additive; None: nothing is masked. position_bias: (1, heads, Q, K); None: the
    model has none.
    """
    prefix = getattr(module, "prefix", None)
    if prefix is not None:
        keys, values = prefix.to(key.dtype).expand(-1, len(key), -1, -1, -1)
        key, value = torch.cat((keys, key), 2), torch.cat((values, value), 2)
        columns = (prefix.shape[3], 0)
        if position_bias is not None:
            position_bias = F.pad(position_bias, columns)
        if attention_mask is not None:
            attention_mask = F.pad(attention_mask, columns)
    # The mask holds causality. With is_causal=True, SDPA would count the prefix as keys of the first positions.
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, position_bias=position_bias, is_causal=False, **kwargs
    )


# Without a mask function of the same name, transformers builds no masks and gives no warning.
AttentionInterface.register(PREFIX_ATTENTION, prefix_attention)
AttentionMaskInterface.register(PREFIX_ATTENTION, eager_mask)


def use_prefix_attention(model: PreTrainedModel) -> None:
    """Make T5 or an encoder use `prefix_attention`; without prefixes the results stay the same.

    Raises ValueError for a model whose attention cannot be replaced.
    """
    # T5's own method does not reach its two stacks, because their configs are copies.
    for part in (model.encoder, model.decoder) if model.config.is_encoder_decoder else (model,):
        part.set_attn_implementation(PREFIX_ATTENTION)
        if part.config._attn_implementation != PREFIX_ATTENTION:
            raise ValueError(f"the attention of {type(model).__name__} cannot take a prefix; use another model")


def attention_modules(model: PreTrainedModel, part: str) -> list[nn.Module]:
    """Attention modules of a T5 model, one per layer. part: `encoder`, `decoder` (self-attention) or `cross`."""
    if part == "cross":
        return [block.layer[1].EncDecAttention for block in model.decoder.block]
    return [block.layer[0].SelfAttention for block in getattr(model, part).block]


@contextmanager
def prefixed(modules: Sequence[nn.Module], prefixes: Sequence[Tensor]) -> Iterator[None]:
    """Give each attention module its prefix, (2, 1 or B, heads, P, head_dim), inside the block."""
    for module, prefix in zip(modules, prefixes, strict=True):
        module.prefix = prefix
    try:
        yield
    finally:
        for module in modules:
            del module.prefix
