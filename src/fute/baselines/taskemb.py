"""TaskEmb of Vu et al. (EMNLP 2020): squared gradients of a model that was fine-tuned on the dataset.

There is one component per parameter tensor below the head and one per kind of activation; each is compared separately
(`fute.baselines.similarity`). Unlike the Fisher diagonal of the paper's Equation 3 (`fute.surrogate.fisher`), these are
squares of batch means, not means of squares.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fute.blackbox.encoding import Encoded
from fute.blackbox.finetune import example_losses
from fute.blackbox.heads import BlackBox
from fute.blackbox.layers import encoder_layers

CLS = "cls_output"


@contextlib.contextmanager
def kept_activations(box: BlackBox) -> Iterator[dict[str, Tensor]]:
    """Yield a mapping that holds the activations of the latest forward pass, by component name.

    `layer.{i}.multihead_output`: context vectors before the output projection, (B, T, hidden).
    `layer.{i}.layer_output`: (B, T, hidden). `cls_output`: (B, hidden), if the model has a pooler.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            kept[name] = output[0] if isinstance(output, tuple) else output

        return hook

    hooks = []
    for index, layer in enumerate(encoder_layers(box)):
        hooks.append(layer.attention.register_forward_hook(keep(f"layer.{index}.multihead_output")))
        hooks.append(layer.block.register_forward_hook(keep(f"layer.{index}.layer_output")))
    if (pooler := getattr(box.model.base_model, "pooler", None)) is not None:
        hooks.append(pooler.register_forward_hook(keep(CLS)))
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def taskemb_components(
    box: BlackBox, batches: Sequence[Sequence[Encoded]], *, progress: Callable[[int], object] | None = None
) -> dict[str, NDArray[np.float32]]:
    """Components of a dataset by name, summed over batches and divided by the number of examples.

    Each batch adds squares of the gradient of its mean loss with the given labels, with the model in eval mode:
    - for a parameter tensor below the head, the squared gradient in the tensor's shape;
    - for an activation, the gradient without padding, summed over batch and positions, squared, and divided by the
      batch's number of tokens without padding, (hidden,).
    Tensors that the loss does not depend on have no component.
    """
    box.model.eval().requires_grad_(True)
    below = {name: parameter for name, parameter in box.model.base_model.named_parameters()}
    totals: dict[str, Tensor] = {}
    with kept_activations(box) as activations:
        for batch in batches:
            loss = example_losses(box, batch).mean()
            tensors = below | activations
            gradients = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True)
            lengths = torch.tensor([len(text.input_ids) for text in batch], device=box.device)
            for name, gradient in zip(tensors, gradients, strict=True):
                if gradient is None:
                    continue
                if name in activations:
                    gradient = _summed(gradient, lengths)
                    square = gradient.square() / lengths.sum()
                else:
                    square = gradient.square()
                totals[name] = totals[name] + square if name in totals else square
            activations.clear()
            if progress:
                progress(len(batch))
    examples = sum(len(batch) for batch in batches)
    return {name: (total / examples).cpu().numpy() for name, total in totals.items()}


def _summed(gradient: Tensor, lengths: Tensor) -> Tensor:
    """Sum of a gradient, (B, T, hidden) without padding or (B, hidden), over batch and positions: (hidden,)."""
    if gradient.ndim == 3:
        is_token = torch.arange(gradient.shape[1], device=gradient.device) < lengths[:, None]
        gradient = (gradient * is_token[:, :, None]).sum(1)
    return gradient.sum(0)
