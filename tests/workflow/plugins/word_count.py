"""A black box without weights: the class that texts of such a length have most often in the training rows."""

from __future__ import annotations

from collections import Counter


def _length(segments: tuple[str, ...]) -> int:
    return sum(len(segment.split()) for segment in segments) // 8


def by_length(texts: list[tuple[str, ...]], train: list[tuple[tuple[str, ...], str]]) -> list[str]:
    """The commonest label among training rows of a text's length, or of all of them where there is none."""
    labels: dict[int, Counter[str]] = {}
    for segments, label in train:
        labels.setdefault(_length(segments), Counter())[label] += 1
    everything = sum(labels.values(), Counter())
    return [labels.get(_length(segments), everything).most_common(1)[0][0] for segments in texts]
