"""LoRA tuning of a frozen surrogate."""

import math
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn

from fute.surrogate.adapters import ADAPTER, AdapterTuning
from fute.surrogate.text2text import Surrogate
from fute.surrogate.tuning import sha256_of


class LoraTuning(AdapterTuning):
    """Low-rank updates dW = (alpha / rank) B A of the query and value projections (Hu et al. 2021).

    A (rank, in) is drawn from `seed`, kaiming-uniform as in peft; B (out, rank) starts at zero. The vector holds dW,
    (out, in), which does not depend on how it is factored: 4 * 768 * 768 = 2,359,296 numbers for T5-base.
    """

    def __init__(
        self, surrogate: Surrogate, *, rank: int = 8, alpha: float = 16, seed: int, layers: int | None = None
    ) -> None:
        def config(**targets: Any) -> LoraConfig:
            return LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", **targets)

        super().__init__(surrogate, config, lambda kind: kind.split(".")[-1] in {"q", "v", "q_proj", "v_proj"}, layers)
        self.rank, self.alpha = rank, alpha
        generator = torch.Generator().manual_seed(seed)
        self.start: list[Tensor] = []
        for _, module in self._modules():
            a, b = module.lora_A[ADAPTER], module.lora_B[ADAPTER]
            drawn = torch.empty(a.weight.shape)
            self.start.append(nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator))
            # peft makes them in the model's dtype, but bf16 is too coarse for updates at a small learning rate.
            a.weight = nn.Parameter(a.weight.detach().float())
            b.weight = nn.Parameter(b.weight.detach().float())
        self.restart()
        self._speed_up()

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [
            (f"{name}.{factor}", getattr(module, f"lora_{factor}")[ADAPTER].weight)
            for name, module in self._modules()
            for factor in "AB"
        ]

    @torch.no_grad()
    def restart(self) -> None:
        for (_, module), start in zip(self._modules(), self.start, strict=True):
            module.lora_A[ADAPTER].weight.copy_(start)
            module.lora_B[ADAPTER].weight.zero_()

    def basis(self) -> dict[str, Any]:
        start = {"rank": self.rank, "alpha": self.alpha, "init_sha256": sha256_of(self.start)}
        return {"tuning": "lora"} | super().basis() | start

    def _effect(self, module: nn.Module) -> Tensor:
        return module.get_delta_weight(ADAPTER)
