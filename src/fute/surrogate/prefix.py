"""Deep prefix tuning of a frozen surrogate, the tuning of TuPaTE in FUTE.

A prefix gives attention layers P extra keys and values; nothing else is trained (P-tuning v2, Liu et al. 2022).
A causal model gets them as a cache of positions 0..P-1 without rotation, and its text starts at position P. In T5
the `scope` says where they go:

`decoder_self`     decoder self-attention, as a cache; they take the relative position bias of preceding tokens
`encoder_decoder`  encoder and decoder self-attention, each with its own prefix, without position bias
`all`              cross-attention too

The authors' code trains `decoder_self`. It gives T5 prefixes for cross-attention as well, but T5 read the encoder
instead of them, so they kept their random start.

peft's prefix tuning is not used. On T5 it repeats its table, so that layers share prefixes and half of the table
never gets a gradient. It also starts from N(0, 1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, PretrainedConfig

from fute.surrogate.dropout import drop_per_example
from fute.surrogate.frozen import check_layers
from fute.surrogate.prefix_attention import attention_modules, prefixed, use_prefix_attention
from fute.surrogate.text2text import Batch, Surrogate
from fute.surrogate.tuning import Segment, Tuning, sha256_of

PrefixScope = Literal["decoder_self", "encoder_decoder", "all"]

PARTS: dict[PrefixScope, tuple[str, ...]] = {
    "decoder_self": ("decoder",),
    "encoder_decoder": ("encoder", "decoder"),
    "all": ("encoder", "decoder", "cross"),
}
"""Attention parts with a prefix, in the order of the tensor's second dimension, which holds a key and a value each."""


@dataclass(frozen=True)
class PrefixShape:
    """Shape of a prefix: attention layers, tensors per layer, key/value heads, and the size of one head.

    authors_tensors: tensors per layer in the authors' code; they set the size of the start's numbers.
    """

    layers: int
    tensors: int
    heads: int
    head_dim: int
    authors_tensors: int

    @classmethod
    def of(
        cls, config: PretrainedConfig, layers: int | None = None, scope: PrefixScope = "decoder_self"
    ) -> "PrefixShape":
        """The shape for a model's config. layers: only so many last layers of a causal model; None: all.

        Raises ValueError if the scope or the layers do not fit the model.
        """
        check_layers(config, layers)
        tensors = 2 * len(PARTS[scope])
        if config.is_encoder_decoder:
            if scope != "decoder_self" and config.num_layers != config.num_decoder_layers:
                raise ValueError(
                    f"scope {scope!r} averages encoder and decoder prefixes layer by layer, but the surrogate has "
                    f"{config.num_layers} encoder and {config.num_decoder_layers} decoder layers; use decoder_self"
                )
            return cls(config.num_decoder_layers, tensors, config.num_heads, config.d_kv, authors_tensors=4)
        if scope != "decoder_self":
            raise ValueError(f"a causal surrogate has decoder self-attention only: scope {scope!r} does not fit it")
        heads = config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        key_heads = getattr(config, "num_key_value_heads", None) or heads
        return cls(layers or config.num_hidden_layers, tensors, key_heads, head_dim, authors_tensors=2)

    def size(self, length: int) -> tuple[int, int, int, int, int]:
        """Shape of a prefix of `length` positions: (layers, tensors, heads, length, head_dim)."""
        return self.layers, self.tensors, self.heads, length, self.head_dim


def initial_prefix(shape: PrefixShape, *, length: int, seed: int) -> Tensor:
    """Draw the common start of every prefix: (layers, tensors, heads, length, head_dim), fp32.

    Uniform, with the bound of torch's Xavier rule for the authors' 4-D tensor of a layer, (tensors, heads, P,
    head_dim): fan_in = heads * P * head_dim, fan_out = tensors * P * head_dim. The authors have 4 tensors for T5 and
    2 for GPT-2, so T5-base starts within sqrt(6/16384) = 0.0191 in every scope.
    The same seed gives the same bytes on every machine: numbers are drawn on the CPU by a separate generator.
    """
    bound = math.sqrt(6.0 / ((shape.heads + shape.authors_tensors) * length * shape.head_dim))
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape.size(length), generator=generator) * 2 - 1) * bound


class PrefixTuning(Tuning):
    """A prefix, trained from `start`, on a frozen surrogate.

    start: (layers, tensors, heads, P, head_dim), from `initial_prefix`. The vector is the prefix's mean over layers,
    flattened in the order tensor, head, position, dimension. For T5-base with P = 16 it has 24,576 numbers in scope
    decoder_self, 49,152 in encoder_decoder and 73,728 in all.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        start: Tensor,
        *,
        scope: PrefixScope = "decoder_self",
        layers: int | None = None,
    ) -> None:
        super().__init__(surrogate, layers)
        size = PrefixShape.of(surrogate.model.config, layers, scope).size(start.shape[3])
        if start.shape != size:
            raise ValueError(f"the start has shape {tuple(start.shape)}, but scope {scope!r} needs {size}")
        self.start, self.prefix_scope = start, scope
        self.prefix = nn.Parameter(start.to(surrogate.device, copy=True))
        if scope != "decoder_self":
            self.has_states = False
            use_prefix_attention(self.model)
        self._speed_up()

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [("prefix", self.prefix)]

    @torch.no_grad()
    def restart(self) -> None:
        self.prefix.copy_(self.start)

    def nll(self, batch: Batch, dropout: float = 0.0, rows: Sequence[int] | None = None) -> Tensor:
        prefix = self.prefix[None]
        if dropout:
            prefix = drop_per_example(self.prefix, dropout, range(len(batch["labels"])) if rows is None else rows)
        prefix = prefix.to(self.model.dtype)
        if self.prefix_scope != "decoder_self":
            return self._nll_with_prefix_attention(prefix, batch)
        inputs, cache = self.inputs(batch), _cache(prefix, len(batch["labels"]))
        if self.surrogate.family == "encoder-decoder":
            # T5 reads a filled cross-attention cache instead of the encoder's states
            cross = _cross_cache(inputs.pop("cross")) if "cross" in inputs else DynamicCache()
            return self._losses(inputs, past_key_values=EncoderDecoderCache(cache, cross), use_cache=True)
        length = self.prefix.shape[3]
        inputs["attention_mask"] = F.pad(inputs["attention_mask"], (length, 0), value=1)
        inputs["position_ids"] = inputs["position_ids"] + length
        return self._losses(inputs, past_key_values=cache, use_cache=True)

    def _nll_with_prefix_attention(self, prefix: Tensor, batch: Batch) -> Tensor:
        parts = PARTS[self.prefix_scope]
        modules = [module for part in parts for module in attention_modules(self.model, part)]
        of_layers = prefix.transpose(0, 2)  # (tensors, layers, 1 or B, ...)
        prefixes = [
            of_layers[2 * index : 2 * index + 2, layer]
            for index in range(len(parts))
            for layer in range(of_layers.shape[1])
        ]
        with prefixed(modules, prefixes):
            return self._losses(self.inputs(batch), use_cache=False)

    def embedding(self) -> np.ndarray:
        return mean_over_layers(self.prefix)

    def start_embedding(self) -> np.ndarray:
        return mean_over_layers(self.start)

    def segments(self) -> list[Segment]:
        return []

    @property
    def has_fixed_cross_attention(self) -> bool:
        return self.surrogate.family == "encoder-decoder" and self.prefix_scope == "decoder_self"

    @property
    def scope(self) -> str:
        return self.prefix_scope if self.surrogate.family == "encoder-decoder" else super().scope

    def basis(self) -> dict[str, Any]:
        return {
            "tuning": "prefix",
            "scope": self.scope,
            "average": "layers",
            "prefix_shape": list(self.start.shape),
            "init_sha256": sha256_of([self.start]),
        }


def _cache(prefix: Tensor, size: int) -> DynamicCache:
    """A cache for `size` examples. prefix: (1 or `size`, layers, 2 = key and value, heads, P, head_dim)."""
    cache = DynamicCache()
    for layer, key_value in enumerate(prefix.expand(size, -1, -1, -1, -1, -1).unbind(1)):
        keys, values = key_value.unbind(1)
        cache.update(keys, values, layer)
    return cache


def _cross_cache(cross: Tensor) -> DynamicCache:
    """A cross-attention cache from kept keys and values, (B, S, 2 * layers, heads, head_dim)."""
    cache = DynamicCache()
    keys_values = cross.permute(2, 0, 3, 1, 4)
    for layer in range(len(keys_values) // 2):
        cache.update(keys_values[2 * layer], keys_values[2 * layer + 1], layer)
    return cache


def mean_over_layers(prefix: Tensor) -> np.ndarray:
    """Vector of a prefix: (layers, tensors, heads, P, head_dim) -> (tensors * heads * P * head_dim,), fp32."""
    return prefix.detach().float().mean(0).flatten().cpu().numpy()
