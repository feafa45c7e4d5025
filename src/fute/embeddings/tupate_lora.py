"""TuPaTE with low-rank updates in the place of the prefix."""

from __future__ import annotations

from accelerate import Accelerator

from fute.config.recipes import LoraSettings
from fute.embeddings.tuned import Tuned
from fute.surrogate.lora import LoraTuning
from fute.surrogate.text2text import Surrogate


def method(surrogate: Surrogate, settings: LoraSettings, accelerator: Accelerator) -> Tuned:
    """TuPaTE by LoRA, as `fute.embeddings.embedder` asks for it."""
    drawn = {"rank": settings.rank, "alpha": settings.alpha, "seed": settings.init_seed}
    return Tuned(surrogate, settings, LoraTuning(surrogate, **drawn, layers=settings.layers))
