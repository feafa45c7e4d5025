"""Compute the frozen encoder's states of every text of U once for all vectors."""

from __future__ import annotations

from pathlib import Path

from fute.artifacts import Step
from fute.config.methods import TupateSettings
from fute.config.surrogate import SurrogateSettings
from fute.data.rows import read_rows
from fute.device import compute_device
from fute.embeddings.tupate import prefix_tuning
from fute.progress import Track
from fute.surrogate.states import compute_states, save_states
from fute.surrogate.text2text import Pair, eager_attention, encode_pairs, load_surrogate

ANY_TARGET = "-"
"""A pair must have a target, but encoder states do not depend on it."""


def encoder_states(
    settings: SurrogateSettings, *, model: Path, lock: Path, corpus: Path, output: Path, texts: int | None = None
) -> None:
    """Write the encoder's states of the first `texts` texts of a corpus (None: all)."""
    device = compute_device()
    settings = settings.model_copy(update={"form": "text2text"})  # both forms encode texts alike
    surrogate = load_surrogate(model, settings)
    surrogate.model.to(device)
    if device.type == "cpu":  # as in the embedding step, so that both compute the same states
        eager_attention(surrogate.model)
    rows = read_rows(corpus)[:texts]
    examples = encode_pairs(surrogate, [Pair(row.segments, ANY_TARGET) for row in rows])
    with Track("encoder states", len(examples), "texts") as track:
        states = compute_states(prefix_tuning(surrogate, TupateSettings()), examples, progress=track.advance)
    step_settings = {"settings": settings.model_dump(), "texts": texts}
    with Step(__name__, settings=step_settings, inputs=[corpus, lock]) as step:
        step.write(output, lambda path: save_states(states, path), texts=len(examples), tokens=len(states.ids))
