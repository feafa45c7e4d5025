"""The interface of all tunings: parameters that TuPaTE trains on a frozen surrogate, and the vector made from them."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from fute.surrogate.frozen import check_layers, speed_up_frozen, split_layers
from fute.surrogate.text2text import Batch, Surrogate

Segment = tuple[str, int, int]
"""A named part of a vector: name, start, stop."""


class Tuning(ABC):
    """A few fp32 parameters trained on a frozen surrogate. One object per surrogate serves any number of trainings.

    A new tuning is at its start, and again after `restart`.
    layers: number of last layers of a causal surrogate that are tuned; None: all.
    """

    has_states: bool
    """True if a part of the surrogate comes before everything trained, so that its `states` can be kept."""

    def __init__(self, surrogate: Surrogate, layers: int | None = None) -> None:
        if not surrogate.frozen:
            raise ValueError("a tuning is trained on a frozen surrogate; load it with frozen=True")
        check_layers(surrogate.model.config, layers)
        self.surrogate, self.layers = surrogate, layers
        self.model, self.lower = surrogate.model, None
        if layers is not None:
            self.lower, self.model = split_layers(self.model, layers)
        self.has_states = surrogate.family == "encoder-decoder" or layers is not None

    @abstractmethod
    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Trained parameters with their names, in a fixed order; the same objects at every call."""

    @abstractmethod
    def restart(self) -> None:
        """Return to the common start, byte for byte."""

    @abstractmethod
    def nll(self, batch: Batch, dropout: float = 0.0, rows: Sequence[int] | None = None) -> Tensor:
        """-log P(y given x) of each example, in nats, summed over its target tokens: (B,) fp32.

        batch: from the surrogate's `collate`, or the same with `states` (B, S, d) in place of `input_ids`.
        dropout: rate on the trained parameters. rows: number of each example in its list, which its mask depends on
            (`drop_per_example`); None: 0, 1, 2, ...
        """

    @abstractmethod
    def embedding(self) -> np.ndarray:
        """The vector of the present parameters: (d,) fp32."""

    @abstractmethod
    def start_embedding(self) -> np.ndarray | None:
        """The vector of the start; None where it is zero."""

    @abstractmethod
    def segments(self) -> list[Segment]:
        """Parts of the vector that come from different kinds of tensor; empty if there is one kind only."""

    @abstractmethod
    def basis(self) -> dict[str, Any]:
        """Facts that two vectors must share to be comparable."""

    @property
    def scope(self) -> str:
        """Name of the tuned part of the surrogate."""
        if self.surrogate.family == "encoder-decoder":
            return "decoder"
        return "all_layers" if self.layers is None else f"last_{self.layers}_layers"

    @torch.no_grad()
    def states(self, batch: Batch) -> Tensor:
        """States of a collated batch right below the tuned layers: (B, S, d)."""
        self._check_states()
        if self.lower is None:
            return self.model.get_encoder()(batch["input_ids"], batch["attention_mask"]).last_hidden_state
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
        return self.lower(**inputs, use_cache=False).last_hidden_state

    def _check_states(self) -> None:
        if not self.has_states:
            raise ValueError(f"scope {self.scope!r} leaves no untuned part of the surrogate to take states from")

    @property
    def has_fixed_cross_attention(self) -> bool:
        """True if keys and values of cross-attention depend on kept states alone, not on what is trained."""
        return False

    @torch.no_grad()
    def cross_attention(self, states: Tensor) -> Tensor:
        """Keys and values of a T5 decoder's cross-attentions: (tokens, d) -> (tokens, 2 * layers, heads, head_dim)."""
        modules = [block.layer[1].EncDecAttention for block in self.model.decoder.block]
        projected = [linear(states) for module in modules for linear in (module.k, module.v)]
        config = self.model.config
        return torch.stack(projected, 1).unflatten(2, (config.num_heads, config.d_kv))

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        """A batch as `self.model` takes it: with given states, or with states computed for a cut model."""
        inputs: dict[str, Any] = dict(batch)
        if "states" in inputs:
            self._check_states()
            states = inputs.pop("states")
        elif self.lower is not None:
            states = self.states(batch)
            del inputs["input_ids"]
        else:
            return inputs
        if self.lower is None:
            return inputs | {"encoder_outputs": BaseModelOutput(last_hidden_state=states)}
        return inputs | {"inputs_embeds": states}

    def _losses(self, inputs: dict[str, Any], **model_inputs: Any) -> Tensor:
        return self.surrogate.losses(self.model, inputs, **model_inputs)

    def _speed_up(self) -> None:
        """Replace frozen layers by faster ones; a subclass calls this when all its trained parameters are in place."""
        if self.surrogate.device.type == "cpu" and self.surrogate.model.dtype == torch.bfloat16:
            speed_up_frozen(self.model)


def sha256_of(tensors: Iterable[Tensor]) -> str:
    """Hash of the tensors' bytes, in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
