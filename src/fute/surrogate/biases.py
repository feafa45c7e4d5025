"""Bias tuning of a frozen surrogate."""

from typing import Any

import torch
from peft import BeftConfig
from torch import Tensor, nn

from fute.surrogate.adapters import ADAPTER, AdapterTuning
from fute.surrogate.text2text import Surrogate


class BiasTuning(AdapterTuning):
    """A trained bias on the output of every linear layer (BitFit, Ben Zaken et al. 2022), zero at the start.

    BitFit trains the biases that a model has. The linear layers of T5 and Llama have none, so they get one (peft's
    BEFT layers). T5's keys get none: without rotation, a bias on keys adds the same number to all scores of a query,
    and the softmax removes it again. Its gradient is zero, and Adam would make a step out of rounding errors.
    """

    def __init__(self, surrogate: Surrogate, *, layers: int | None = None) -> None:
        super().__init__(surrogate, BeftConfig, lambda kind: not kind.endswith("Attention.k"), layers)
        for _, module in self._modules():
            # peft makes biases (1, out) in the model's dtype; 1-D tensors get no weight decay.
            bias = module.beft_bias[ADAPTER]
            module.beft_bias[ADAPTER] = nn.Parameter(torch.zeros(bias.numel(), device=bias.device))
        self._speed_up()

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [(f"{name}.bias", module.beft_bias[ADAPTER]) for name, module in self._modules()]

    @torch.no_grad()
    def restart(self) -> None:
        for _, bias in self.parameters():
            bias.zero_()

    def basis(self) -> dict[str, Any]:
        return {"tuning": "bias"} | super().basis()

    def _effect(self, module: nn.Module) -> Tensor:
        return module.beft_bias[ADAPTER]
