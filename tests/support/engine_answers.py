"""What an engine says to everything that the engine tests ask."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fute.llm.engine import EngineSettings, Perplexity, ScoreRequest, ScoreResult, load_engine
from fute.llm.scoring import score_requests
from support.thoroughness import LONG

ROWS = 50 if LONG else 15
"""Of each of four datasets."""
COT_LINE = "\nReason step by step before answering."


@dataclass
class Answers:
    """What one engine said to everything."""

    identity: dict[str, Any]
    seconds: float
    plain: list[ScoreResult]
    reasoned: list[ScoreResult]
    sequences: list[ScoreResult]
    perplexity: list[Perplexity]
    perplexity_again: list[Perplexity]
    generated: list[str]


def ask(engine: str, folder: Path, requests: list[ScoreRequest], texts: list[tuple[str, str]]) -> Answers:
    settings = EngineSettings(
        dtype="float32",
        engine=engine,
        reasoning_tokens=16,
        max_length=1024,
        enforce_eager=not torch.cuda.is_available(),
    )
    reasoned = [dataclasses.replace(r, user=r.user + COT_LINE, followup="One word: which?") for r in requests[:6]]
    longer = [dataclasses.replace(r, classes=(("not at all",), ("very much", "Yes"))) for r in requests[:8]]
    model = load_engine(settings, folder)
    try:
        model.score(requests[:4])  # the first call warms up
        start = time.perf_counter()
        plain = model.score(requests)
        seconds = time.perf_counter() - start
        as_sequences = settings.model_copy(update={"score": "sequence"})
        return Answers(
            identity=model.identity(),
            seconds=seconds,
            plain=plain,
            reasoned=model.score(reasoned),
            sequences=score_requests(model, model.prompts, longer, as_sequences),
            perplexity=model.perplexity(texts),
            # A second time: log-probabilities of a prompt must not come from a prefix cache.
            perplexity_again=model.perplexity(texts),
            generated=model.generate([("a", "Name three colours.")], 8),
        )
    finally:
        model.close()
