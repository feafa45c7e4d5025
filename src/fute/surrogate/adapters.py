"""Tuning of a frozen surrogate through peft's adapters: the common part of LoRA and bias tuning.

Both change linear layers of the decoder's blocks only (in a causal model: of its layers). So the encoder states
of a text stay the same for every black box.
"""

import math
import re
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from peft import PeftConfig, inject_adapter_in_model
from torch import Tensor, nn

from fute.surrogate.frozen import blocks_of
from fute.surrogate.text2text import Batch, Surrogate
from fute.surrogate.tuning import Segment, Tuning

ADAPTER = "default"
"""peft's name of the one adapter of a layer."""


class AdapterTuning(Tuning):
    """Adapters on some kinds of linear layer. The vector holds, for each kind, the mean of their effect over layers.

    A kind is a linear layer's name within its block, such as `SelfAttention.q` or `mlp.up_proj`. The
    vector has the kinds in the order of the model's own modules.
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
        blocks = nn.ModuleList(self.model.decoder.block if encoder_decoder else blocks_of(self.model))
        names = {_kind(name): name for name in _linears(blocks[0]) if takes(_kind(name))}
        if not names:
            raise ValueError(
                f"no linear layer of {type(blocks[0]).__name__} can be tuned this way; it has "
                f"{', '.join(map(_kind, _linears(blocks[0])))}"
            )
        # peft draws random values that are overwritten later; they must not move the process's own random stream.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected that the base layer has no bias", UserWarning)
            inject_adapter_in_model(config(target_modules=list(names)), blocks)
        self.adapted = {kind: [block.get_submodule(name) for block in blocks] for kind, name in names.items()}

    def nll(self, batch: Batch, dropout: float = 0.0, rows: Sequence[int] | None = None) -> Tensor:
        if dropout:
            raise ValueError(f"{type(self).__name__} has no dropout; set dropout to 0")
        return self._losses(self.inputs(batch), use_cache=False)

    def embedding(self) -> np.ndarray:
        with torch.no_grad():
            means = [sum(map(self._effect, modules)) / len(modules) for modules in self.adapted.values()]
        return torch.cat([mean.flatten() for mean in means]).cpu().numpy()

    def start_embedding(self) -> None:
        return None

    def segments(self) -> list[Segment]:
        segments, start = [], 0
        for kind, size in self._sizes().items():
            segments.append((kind, start, start + math.prod(size)))
            start = segments[-1][2]
        return segments

    def basis(self) -> dict[str, Any]:
        return {"scope": self.scope, "average": "layers", "targets": self._sizes()}

    @abstractmethod
    def _effect(self, module: nn.Module) -> Tensor:
        """The change that an adapter makes to its layer, fp32."""

    def _sizes(self) -> dict[str, list[int]]:
        return {kind: list(self._effect(modules[0]).shape) for kind, modules in self.adapted.items()}

    def _modules(self) -> list[tuple[str, nn.Module]]:
        return [(f"{i}.{kind}", module) for kind, modules in self.adapted.items() for i, module in enumerate(modules)]


def _linears(block: nn.Module) -> list[str]:
    return [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]


def _kind(name: str) -> str:
    """Name of a linear layer within its block, without T5's sublayer numbers."""
    return re.sub(r"^layer\.\d+\.", "", name)
