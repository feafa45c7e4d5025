"""TuPaTE with bias terms instead of the prefix."""

from __future__ import annotations

from accelerate import Accelerator

from fute.config.methods import BiasSettings
from fute.embeddings.tuned import Tuned
from fute.surrogate.biases import BiasTuning
from fute.surrogate.text2text import Surrogate


def method(surrogate: Surrogate, settings: BiasSettings, accelerator: Accelerator) -> Tuned:
    """TuPaTE by biases; `fute.embeddings.embedder` calls this function by name."""
    return Tuned(surrogate, settings, BiasTuning(surrogate, layers=settings.layers))
