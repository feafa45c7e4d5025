"""TuPaTE as in the paper: a deep prefix tuned on a frozen surrogate."""

from __future__ import annotations

from accelerate import Accelerator

from fute.config.methods import TupateSettings
from fute.embeddings.tuned import Tuned
from fute.surrogate.prefix import PrefixShape, PrefixTuning, initial_prefix
from fute.surrogate.text2text import Surrogate


def prefix_tuning(surrogate: Surrogate, settings: TupateSettings) -> PrefixTuning:
    """A prefix at the common start of all vectors, drawn from `settings.init_seed`."""
    shape = PrefixShape.of(surrogate.model.config, settings.layers, settings.scope)
    start = initial_prefix(shape, length=settings.length, seed=settings.init_seed)
    return PrefixTuning(surrogate, start, scope=settings.scope, layers=settings.layers)


def method(surrogate: Surrogate, settings: TupateSettings, accelerator: Accelerator) -> Tuned:
    """TuPaTE by a prefix; `fute.embeddings.embedder` calls this function by name."""
    return Tuned(surrogate, settings, prefix_tuning(surrogate, settings))
