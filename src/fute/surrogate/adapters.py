"""LoRA and bias tuning of a frozen surrogate, through peft's adapters.

Both change the linear layers of the decoder's blocks only (of a causal model's layers), so that the encoder
states of a text stay the same for every black box.
"""

import math
import re
import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from peft import BeftConfig, LoraConfig, PeftConfig, inject_adapter_in_model
from torch import Tensor, nn

from fute.surrogate.text2text import Batch, Surrogate
from fute.surrogate.tuning import Segment, Tuning, sha256_of

ADAPTER = "default"
"""peft's name of the one adapter that a layer gets."""


class AdapterTuning(Tuning):
    """Adapters on some kinds of linear layer; the vector is, for each kind, the mean over layers of their effect.

    A kind is a linear layer's name within its block, such as `SelfAttention.q` or `mlp.up_proj`; kinds stand in
    the vector in the order of the model's own modules.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        config: Callable[..., PeftConfig],
        takes: Callable[[str], bool],
        layers: int | None,
    ) -> None:
        super().__init__(surrogate, layers)
        encoder_decoder = surrogate.family == "encoder-decoder"
        blocks = nn.ModuleList(self.model.decoder.block if encoder_decoder else self.model.base_model.layers)
        names = {_kind(name): name for name in _linears(blocks[0]) if takes(_kind(name))}
        if not names:
            raise ValueError(
                f"no linear layer of {type(blocks[0]).__name__} can be tuned this way; it has "
                f"{', '.join(map(_kind, _linears(blocks[0])))}"
            )
        # peft draws random values that are overwritten; they must not move the process's own random stream.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected that the base layer has no bias", UserWarning)
            inject_adapter_in_model(config(target_modules=list(names)), blocks)
        self.adapted = {kind: [block.get_submodule(name) for block in blocks] for kind, name in names.items()}

    def nll(self, batch: Batch, dropout: float = 0.0) -> Tensor:
        if dropout:
            raise ValueError(f"{type(self).__name__} has no dropout; set dropout to 0")
        return self._losses(self._inputs(batch), use_cache=False)

    def embedding(self) -> np.ndarray:
        with torch.no_grad():
            means = [sum(map(self._effect, modules)) / len(modules) for modules in self.adapted.values()]
        return torch.cat([mean.flatten() for mean in means]).cpu().numpy()

    def start_embedding(self) -> None:
        return None

    def segments(self) -> list[Segment]:
        found, start = [], 0
        for kind, size in self._sizes().items():
            found.append((kind, start, start + math.prod(size)))
            start = found[-1][2]
        return found

    def basis(self) -> dict[str, Any]:
        return {"scope": self.scope, "average": "layers", "targets": self._sizes()}

    @abstractmethod
    def _effect(self, module: nn.Module) -> Tensor:
        """What an adapter adds to its layer, fp32."""

    def _sizes(self) -> dict[str, list[int]]:
        return {kind: list(self._effect(modules[0]).shape) for kind, modules in self.adapted.items()}

    def _modules(self) -> list[tuple[str, nn.Module]]:
        return [(f"{i}.{kind}", module) for kind, modules in self.adapted.items() for i, module in enumerate(modules)]


class LoraTuning(AdapterTuning):
    """Low-rank updates dW = (alpha / rank) B A of the query and value projections (Hu et al. 2021).

    A (rank, in) is drawn from `seed`, kaiming-uniform as in peft, B (out, rank) starts at zero. The vector holds
    dW, (out, in), which is the same however it is factored; for T5-base 4 * 768 * 768 = 2,359,296 numbers.
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
            # peft makes them in the model's dtype, and updates of a small rate are under the resolution of bf16.
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


class BiasTuning(AdapterTuning):
    """A trained bias on the output of every linear layer (BitFit, Ben Zaken et al. 2022), zero at the start.

    BitFit trains the biases that a model has; the linear layers of T5 and Llama have none, so they get one (peft's
    BEFT layers). T5's keys get none: without rotation, a bias on keys adds the same number to all scores of a
    query, which the softmax takes out again, so its gradient is zero and Adam would make a step out of rounding.
    """

    def __init__(self, surrogate: Surrogate, *, layers: int | None = None) -> None:
        super().__init__(surrogate, BeftConfig, lambda kind: not kind.endswith("Attention.k"), layers)
        for _, module in self._modules():
            # peft makes them (1, out) in the model's dtype; as vectors they are left out of weight decay.
            made = module.beft_bias[ADAPTER]
            module.beft_bias[ADAPTER] = nn.Parameter(torch.zeros(made.numel(), device=made.device))
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


def _linears(block: nn.Module) -> list[str]:
    return [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]


def _kind(name: str) -> str:
    """A linear layer's name within its block, without T5's numbers of sublayers."""
    return re.sub(r"^layer\.\d+\.", "", name)
