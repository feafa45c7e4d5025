"""Rows that an LLM gave no label: how many are too many, and the error that says what the LLM answered instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

MOST_UNLABELLED = 0.1
"""Largest share of a corpus that may stay without a label."""
TOKENS_NAMED = 3


class UnlabelledError(ValueError):
    """Too many rows of one (model, prompt, corpus) have no label, so its labels would say nothing of the model."""


def check_unlabelled(
    first_tokens: Sequence[str], rows: int, *, prompt: str, corpus: str, lock: Path, calibrated: bool = False
) -> None:
    """Raise UnlabelledError if more than a tenth of the rows of a corpus have no label.

    first_tokens: the likeliest first token of each row without a label. rows: number of rows of the corpus. lock: of
    the model, which the file is named for. calibrated: True if the decision was taken on calibrated scores.
    """
    if len(first_tokens) <= MOST_UNLABELLED * rows:
        return
    common = [
        f"{token!r} ({count / len(first_tokens):.0%})"
        for token, count in Counter(first_tokens).most_common(TOKENS_NAMED)
    ]
    model = lock.name.removesuffix(".lock.json")
    raise UnlabelledError(
        f"model {model}, prompt {prompt} on {corpus}: {len(first_tokens)} of {rows} texts have no label (at most "
        f"{MOST_UNLABELLED:.0%} may), because the words of the best class were not among the returned tokens. Their "
        f"commonest first tokens: {', '.join(common)}. Choose verbalizers that the model writes, ask for them in the "
        "prompt, let a vLLM server score whole words (llm.engine.score: sequence), or let a reasoning model answer "
        "without thinking"
        + ("; or set llm.calibration: none, since bounds of words that were not returned are shifted, too"
           if calibrated else "")
    )  # fmt: skip
