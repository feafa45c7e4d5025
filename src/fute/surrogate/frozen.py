"""Frozen surrogates: cheap gradients through weights that are not trained, and the cut below the tuned layers."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from fute.surrogate.text2text import Batch, Surrogate


class FrozenLinear(nn.Module):
    """A linear layer that is never trained, with a transposed copy of its weight for the backward pass.

    On CPUs, torch computes a bf16 input gradient `grad @ weight` on 3-D tensors without its fast matrix kernels. The
    same product, written as a forward linear layer with the transposed weight, uses them.
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
    """Replace the frozen linear layers of a model by `FrozenLinear`, in place (for bf16 on a CPU).

    Trained layers, such as the factors of LoRA adapters, stay as they are.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and not child.weight.requires_grad:
                setattr(module, name, FrozenLinear(child))


def check_layers(config: PretrainedConfig, layers: int | None) -> None:
    """Raise ValueError unless `layers` is None, or a number of last layers that a causal model has."""
    if layers is None:
        return
    if config.is_encoder_decoder:
        raise ValueError("tuning the last layers only is for causal surrogates; leave layers unset")
    if not 1 <= layers <= config.num_hidden_layers:
        raise ValueError(f"the last {layers} layers do not fit a model of {config.num_hidden_layers} layers")


def blocks_of(model: PreTrainedModel) -> nn.ModuleList:
    """The blocks of a causal model. Raises ValueError for one that does not have them where Llama's family has."""
    blocks = getattr(model.base_model, "layers", None)
    if blocks is None or not hasattr(blocks[0], "self_attn"):
        raise ValueError(
            f"the layers of {type(model).__name__} cannot be tuned one by one: they are not in `.layers`, each with a "
            "`self_attn`, as in Llama's family; use the prefix of all layers (layers: null), or another surrogate"
        )
    return blocks


def split_layers(model: PreTrainedModel, layers: int) -> tuple[nn.Module, PreTrainedModel]:
    """Cut a causal model, with or without its head, below its last `layers` layers; both parts share its weights.

    Returns (lower, upper). Lower part: ids -> states (its forward takes the model's inputs). Upper part: the model
    itself on `inputs_embeds`, with a cache whose layer 0 is the part's first layer. The layers of the given model are
    renumbered for that cache, so the model must not be used with a cache of its own afterwards.
    """
    base, blocks = model.base_model, blocks_of(model)
    cut = len(blocks) - layers
    lower, upper = _part(base, blocks[:cut]), _part(base, blocks[cut:])
    lower.norm = nn.Identity()
    for index, layer in enumerate(upper.layers):
        layer.self_attn.layer_idx = index
    if base is model:
        return lower, upper
    whole = _shallow(model)
    setattr(whole, model.base_model_prefix, upper)
    return lower, whole


_MOST_TOKENS = 2048
"""Tokens on which a cut model is compared with the whole one, if texts may be so long."""

_MOST_DIFFERENCE = 0.01
"""Largest difference of the two, as a share of the largest state. They take the same steps, also in bf16."""


@torch.no_grad()
def _last_states(model: PreTrainedModel, **inputs: Tensor) -> Tensor:
    (given,) = inputs.values()
    mask = torch.ones(given.shape[:2], dtype=torch.long, device=given.device)
    positions = torch.arange(given.shape[1], device=given.device)[None]
    return model.base_model(**inputs, attention_mask=mask, position_ids=positions, use_cache=False).last_hidden_state


class Cut:
    """A frozen surrogate, cut below the part that is trained; what lies below it gives the same states in every step.

    surrogate: loaded frozen. layers: number of last layers of a causal surrogate that are trained; None: all. `model`
    is the part that is trained, or a frozen one that parameters are trained in: the whole model, or the last layers
    with what follows them. Raises ValueError for a model that cannot be cut there.
    """

    has_states: bool
    """True if a part of the surrogate comes before everything trained, so that its `states` can be kept."""

    def __init__(self, surrogate: Surrogate, layers: int | None = None) -> None:
        if not surrogate.frozen:
            raise ValueError("only a frozen surrogate can be cut; load it with frozen=True")
        check_layers(surrogate.model.config, layers)
        self.surrogate, self.layers = surrogate, layers
        self.model, self.lower = surrogate.model, None
        if layers is not None:
            self.lower, self.model = self._split(layers)
        self.has_states = surrogate.family == "encoder-decoder" or layers is not None

    def _split(self, layers: int) -> tuple[nn.Module, PreTrainedModel]:
        """`split_layers` of the surrogate. Raises ValueError if both parts together are not the whole model."""
        model = self.surrogate.model
        settings = self.surrogate.settings
        tokens = min(settings.max_input_tokens + settings.max_target_tokens, _MOST_TOKENS)
        ids = torch.arange(tokens, device=self.surrogate.device)[None] % model.config.vocab_size
        expected = _last_states(model, input_ids=ids)
        lower, upper = split_layers(model, layers)
        found = _last_states(upper, inputs_embeds=_last_states(lower, input_ids=ids))
        if (found - expected).abs().max() > _MOST_DIFFERENCE * expected.abs().max():
            raise ValueError(
                f"{type(model).__name__} cannot be cut below its last {layers} layers: from the states there they do "
                "not give what the whole model gives, as where it scales its inputs or only some layers have a window; "
                "set layers: null, or use another surrogate"
            )
        return lower, upper

    @property
    def scope(self) -> str:
        """Name of the trained part of the surrogate."""
        if self.surrogate.family == "encoder-decoder":
            return "decoder"
        return "all_layers" if self.layers is None else f"last_{self.layers}_layers"

    @torch.no_grad()
    def states(self, batch: Batch) -> Tensor:
        """States of a collated batch right below the trained part: (B, S, d)."""
        self._check_states()
        if self.lower is None:
            return self.model.get_encoder()(batch["input_ids"], batch["attention_mask"]).last_hidden_state
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
        return self.lower(**inputs, use_cache=False).last_hidden_state

    def _check_states(self) -> None:
        if not self.has_states:
            raise ValueError(f"scope {self.scope!r} leaves no untrained part of the surrogate to take states from")

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

    def inputs(self, batch: Batch) -> dict[str, Any]:
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
        return inputs | {"inputs_embeds": states.to(self.model.dtype)}


def names_above(cut: Cut) -> dict[str, str]:
    """Parameters of the last layers, without embeddings and the language-model head: name there -> in the surrogate."""
    whole = {id(parameter): name for name, parameter in cut.surrogate.model.named_parameters()}
    ends = (cut.model.get_input_embeddings(), cut.model.get_output_embeddings())
    left_out = {id(parameter) for module in ends if module is not None for parameter in module.parameters()}
    return {name: whole[id(p)] for name, p in cut.model.named_parameters() if id(p) not in left_out}


def _shallow(module: nn.Module) -> nn.Module:
    """A copy with the same submodules; replacing one of them leaves the original as it is."""
    shallow = copy.copy(module)
    shallow._modules = dict(module._modules)
    return shallow


def _part(base: nn.Module, layers: Sequence[nn.Module]) -> nn.Module:
    part = _shallow(base)
    part.layers = nn.ModuleList(layers)
    part.config = copy.copy(base.config)
    part.config.num_hidden_layers = len(part.layers)
    return part
