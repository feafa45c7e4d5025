"""TuPaTE with low-rank updates instead of the prefix."""

from __future__ import annotations

from accelerate import Accelerator

from fute.config.methods import LoraSettings
from fute.embeddings.tuned import Tuned
from fute.surrogate.lora import LoraTuning
from fute.surrogate.text2text import Surrogate


def method(surrogate: Surrogate, settings: LoraSettings, accelerator: Accelerator) -> Tuned:
    """TuPaTE by LoRA; `fute.embeddings.embedder` calls this function by name."""
    drawn = {"rank": settings.rank, "alpha": settings.alpha, "seed": settings.init_seed}
    return Tuned(surrogate, settings, LoraTuning(surrogate, **drawn, layers=settings.layers))
