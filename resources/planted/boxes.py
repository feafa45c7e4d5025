"""Black boxes whose right order is known, because it was made: half of the texts of U get one word, half the other.

Every box but the constant one says each word for exactly half of the texts, so no method can tell boxes apart by how
often they say a word. Each names the dataset whose classes its words are; the rows of it that a box gets as `train` are
not read.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from typing import Any

Text = tuple[str, ...]
Train = Sequence[tuple[Text, str]]


def judged(
    texts: list[Text],
    outputs: Sequence[dict[str, Any]],
    raised: str,
    low: str,
    high: str,
    flipped: float = 0.0,
    seed: int = 42,
    train: Train = (),
) -> list[str]:
    """Say `high` of the half of the texts of which another box says the class `raised` with most probability.

    flipped: share of the texts of each half whose word is then replaced by the other; 1 is the inverted box. Which
    ones is drawn from the seed, and a larger share flips the same texts and more.
    """
    scores = [said["probabilities"][said["classes"].index(raised)] for said in outputs]
    whole = _halves(scores, low, high)
    labels = list(whole)
    for word, other in ((low, high), (high, low)):
        half = [index for index, label in enumerate(whole) if label == word]
        random.Random(seed).shuffle(half)
        for index in half[: round(flipped * len(half))]:
            labels[index] = other
    return labels


def length(texts: list[Text], low: str, high: str, train: Train = ()) -> list[str]:
    """Say `high` of the longer half of the texts, by characters."""
    return _halves([sum(map(len, segments)) for segments in texts], low, high)


def projection(texts: list[Text], low: str, high: str, seed: int = 42, train: Train = ()) -> list[str]:
    """Say `high` of the half of the texts whose words have the larger mean weight; a word's weight is drawn."""

    def weight(word: str) -> float:
        return random.Random(zlib.crc32(f"{seed} {word}".encode())).gauss(0.0, 1.0)

    words = [" ".join(segments).lower().split() for segments in texts]
    return _halves([sum(map(weight, each)) / max(1, len(each)) for each in words], low, high)


def constant(texts: list[Text], word: str, train: Train = ()) -> list[str]:
    """Say the same of every text."""
    return [word] * len(texts)


def _halves(scores: Sequence[float], low: str, high: str) -> list[str]:
    """`high` for the larger half of the scores, `low` for the others; of equal scores the first ones are lower."""
    order = sorted(range(len(scores)), key=lambda index: (scores[index], index))
    above = set(order[(len(order) + 1) // 2 :])
    return [high if index in above else low for index in range(len(scores))]
