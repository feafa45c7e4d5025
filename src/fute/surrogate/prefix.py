"""Deep prefix tuning of a frozen surrogate, the TuPaTE side of FUTE.

A prefix gives every attention layer P extra keys and values, and nothing else is trained (P-tuning v2, Liu
et al. 2022). A causal model gets them as a cache of positions 0..P-1 without rotation, its text standing at
positions from P on; an encoder-decoder model gets them in its decoder's self-attention (scope
`decoder_self`), where T5 gives them the relative position bias of preceding tokens.

peft's prefix tuning is not used: on T5 it repeats its table, so that layers share prefixes and half of it
never gets a gradient, and it starts from N(0, 1).
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from fute.surrogate.text2text import (
    Batch,
    Example,
    Surrogate,
    collate,
    negative_log_likelihood,
    target_logits,
)


@dataclass(frozen=True)
class PrefixShape:
    """What a prefix must fit: attention layers, key/value heads, and the size of one head."""

    layers: int
    heads: int
    head_dim: int

    @classmethod
    def of(cls, config: PretrainedConfig, layers: int | None = None) -> "PrefixShape":
        """From a config: the decoder's self-attention of T5, the last `layers` of a causal model (None: all)."""
        if config.is_encoder_decoder:
            if layers is not None:
                raise ValueError("a prefix in the last layers only is for causal surrogates; leave layers unset")
            return cls(config.num_decoder_layers, config.num_heads, config.d_kv)
        if layers is not None and not 1 <= layers <= config.num_hidden_layers:
            raise ValueError(f"a prefix in the last {layers} layers does not fit {config.num_hidden_layers} layers")
        heads = config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        return cls(layers or config.num_hidden_layers, getattr(config, "num_key_value_heads", None) or heads, head_dim)


def initial_prefix(shape: PrefixShape, *, length: int, seed: int) -> Tensor:
    """The common start of every prefix: (layers, 2 = key and value, heads, length, head_dim), fp32.

    Xavier-uniform for each layer's 4-D tensor (2, heads, P, head_dim), with torch's fans for such a tensor:
    fan_in = heads * P * head_dim, fan_out = 2 * P * head_dim. (The authors' bound, sqrt(6/16384) = 0.0191, is
    this rule for their T5-base tensor of (4, 12, 16, 64): 16384 = 12 * 16 * 64 + 4 * 16 * 64.)
    The same seed gives the same bytes on every machine: drawn on the CPU from its own generator.
    """
    size = (shape.layers, 2, shape.heads, length, shape.head_dim)
    bound = math.sqrt(6.0 / ((shape.heads + 2) * length * shape.head_dim))
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(size, generator=generator) * 2 - 1) * bound


class FrozenLinear(nn.Module):
    """A linear layer that is never trained, with a transposed copy of its weight for the way back.

    On CPUs, a bf16 input gradient as `grad @ weight` on 3-D tensors leaves the fast matrix kernels; the same
    product as a forward-shaped linear with the transposed weight stays on them.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.register_buffer("transposed", linear.weight.detach().t().contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return _InputGradientOnly.apply(x, self.weight, self.bias, self.transposed)


class _InputGradientOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, transposed: Tensor) -> Tensor:
        ctx.save_for_backward(transposed)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (transposed,) = ctx.saved_tensors
        return F.linear(gradient.contiguous(), transposed), None, None, None


def speed_up_frozen(model: PreTrainedModel) -> None:
    """Replace the linear layers of a frozen model by `FrozenLinear`, in place (for bf16 on a CPU)."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, FrozenLinear(child))


def split_layers(model: PreTrainedModel, layers: int) -> tuple[nn.Module, PreTrainedModel]:
    """A causal model cut below its last `layers` layers; both parts share its weights.

    Lower part: ids -> states (its forward takes the model's inputs). Upper part: the model itself on
    `inputs_embeds`, with a cache whose layer 0 is its first layer. The given model's layers are renumbered for
    that cache, so it must not be used with one of its own afterwards.
    """
    base = model.base_model
    cut = len(base.layers) - layers
    lower, upper = _part(base, base.layers[:cut]), _part(base, base.layers[cut:])
    lower.norm = nn.Identity()
    for index, layer in enumerate(upper.layers):
        layer.self_attn.layer_idx = index
    whole = _shallow(model)
    setattr(whole, model.base_model_prefix, upper)
    return lower, whole


def _shallow(module: nn.Module) -> nn.Module:
    """A copy with the same submodules, whose replacement leaves the original as it is."""
    made = copy.copy(module)
    made._modules = dict(module._modules)
    return made


def _part(base: nn.Module, layers: Sequence[nn.Module]) -> nn.Module:
    part = _shallow(base)
    part.layers = nn.ModuleList(layers)
    part.config = copy.copy(base.config)
    part.config.num_hidden_layers = len(part.layers)
    return part


class PrefixedSurrogate:
    """The loss of a frozen surrogate as a function of a prefix.

    layers: a causal model's prefix stands in its last so many layers; None: in all.
    """

    def __init__(self, surrogate: Surrogate, layers: int | None = None) -> None:
        if not surrogate.frozen:
            raise ValueError("a prefix is trained on a frozen surrogate; load it with frozen=True")
        self.surrogate = surrogate
        self.model, self.lower = surrogate.model, None
        if surrogate.device.type == "cpu" and self.model.dtype == torch.bfloat16:
            speed_up_frozen(self.model)
        if layers is not None:
            self.lower, self.model = split_layers(self.model, layers)

    def nll(self, prefix: Tensor, batch: Batch) -> Tensor:
        """-log P(y given x) of each example under `prefix`, summed over its target tokens: (B,) fp32.

        `batch` comes from `collate`, or from `KeptStates.batch` where states are kept.
        """
        size, length = len(batch["labels"]), prefix.shape[3]
        cache = self._cache(prefix, size)
        if self.surrogate.family == "encoder-decoder":
            inputs = dict(batch)
            if "states" in inputs:
                inputs["encoder_outputs"] = BaseModelOutput(last_hidden_state=inputs.pop("states"))
            past = EncoderDecoderCache(cache, DynamicCache())
            logits, targets = target_logits(self.model, inputs, past_key_values=past, use_cache=True)
        else:
            inputs = batch | {
                "attention_mask": F.pad(batch["attention_mask"], (length, 0), value=1),
                "position_ids": batch["position_ids"] + length,
            }
            if self.lower is not None:
                states = inputs.pop("states") if "states" in inputs else self.states(batch)
                inputs.pop("input_ids", None)
                inputs["inputs_embeds"] = states
            logits, targets = target_logits(self.model, inputs, past_key_values=cache, use_cache=True)
        return negative_log_likelihood(logits, targets).sum(1)

    @property
    def has_states(self) -> bool:
        """Whether a part of the surrogate lies before the first layer with a prefix."""
        return self.surrogate.family == "encoder-decoder" or self.lower is not None

    @torch.no_grad()
    def states(self, batch: Batch) -> Tensor:
        """States of a collated batch below the first layer with a prefix: (B, S, d)."""
        if self.surrogate.family == "encoder-decoder":
            encoder = self.surrogate.model.get_encoder()
            return encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
        return self.lower(**inputs, use_cache=False).last_hidden_state

    def _cache(self, prefix: Tensor, size: int) -> DynamicCache:
        """A cache that holds the prefix, in the model's dtype, for each of `size` examples."""
        cache = DynamicCache()
        for layer, key_value in enumerate(prefix.to(self.surrogate.model.dtype)):
            keys, values = key_value[:, None].expand(-1, size, -1, -1, -1)
            cache.update(keys, values, layer)
        return cache


class KeptStates:
    """States of a list of examples below the prefix, computed once and used by every step.

    They are the same for every step, epoch and order seed, and with an encoder for every black box. They depend,
    in the last bits, on which texts share a batch, so they are computed from the given list alone and are reused
    for exactly that list: a vector does not depend on what was embedded before it.
    """

    def __init__(self, prefixed: PrefixedSurrogate, examples: Sequence[Example], batch_size: int) -> None:
        self.surrogate = prefixed.surrogate
        self.sequences = sequences(self.surrogate, examples)
        self._states: list[Tensor] = [torch.empty(0)] * len(examples)
        by_length = sorted(examples, key=lambda example: (len(self.sequences[example.index]), example.index))
        for start in range(0, len(by_length), batch_size):
            part = by_length[start : start + batch_size]
            batch = collate(self.surrogate, part)
            found = prefixed.states(batch)
            for example, state, mask in zip(part, found, batch["attention_mask"], strict=True):
                self._states[example.index] = state[mask.bool()].clone()

    def batch(self, examples: Sequence[Example]) -> Batch:
        """`collate` with the input ids replaced by states, (B, S, d) padded with zeros on the collated side."""
        batch = collate(self.surrogate, examples)
        del batch["input_ids"]
        side = "right" if self.surrogate.family == "encoder-decoder" else "left"
        states = [self._states[example.index] for example in examples]
        return batch | {"states": nn.utils.rnn.pad_sequence(states, batch_first=True, padding_side=side)}


def sequences(surrogate: Surrogate, examples: Sequence[Example]) -> list[tuple[int, ...]]:
    """What kept states depend on: the ids that are read, by a causal model with the target's, in order."""
    if surrogate.family == "encoder-decoder":
        return [example.input_ids for example in examples]
    return [example.input_ids + example.target_ids for example in examples]
