"""Frozen surrogates: cheap gradients through weights that are not trained, and the cut below the tuned layers."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel


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


def split_layers(model: PreTrainedModel, layers: int) -> tuple[nn.Module, PreTrainedModel]:
    """Cut a causal model, with or without its head, below its last `layers` layers; both parts share its weights.

    Returns (lower, upper). Lower part: ids -> states (its forward takes the model's inputs). Upper part: the model
    itself on `inputs_embeds`, with a cache whose layer 0 is the part's first layer. The layers of the given model are
    renumbered for that cache, so the model must not be used with a cache of its own afterwards.
    """
    base = model.base_model
    cut = len(base.layers) - layers
    lower, upper = _part(base, base.layers[:cut]), _part(base, base.layers[cut:])
    lower.norm = nn.Identity()
    for index, layer in enumerate(upper.layers):
        layer.self_attn.layer_idx = index
    if base is model:
        return lower, upper
    whole = _shallow(model)
    setattr(whole, model.base_model_prefix, upper)
    return lower, whole


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
