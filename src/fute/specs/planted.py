"""What the tests with planted black boxes are of: their vectors, and the order that was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from fute.config.sections import Section


class Ladder(Section):
    """Boxes of known quality for one target.

    boxes: (model, task, quality); None for the score of a model fine-tuned on the target. nulls: (model, task) of boxes
    that say nothing of it.
    """

    target: str
    boxes: tuple[tuple[str, str, float | None], ...]
    nulls: tuple[tuple[str, str], ...] = ()


class Ladders(Section):
    """One test: ladders of one or several targets, by the vectors of some methods."""

    methods: tuple[str, ...]
    ladders: tuple[Ladder, ...]


class Retrieval(Section):
    """One test: each dataset looks for its own box among those of all.

    model: fine-tuned on each of the datasets, which are the targets too. nulls: as in `Ladder`.
    """

    methods: tuple[str, ...]
    model: str
    datasets: tuple[str, ...]
    nulls: tuple[tuple[str, str], ...] = ()


Test = TypeVar("Test", Ladders, Retrieval)


class PlantedSettings(Section):
    """Settings of the step `planted`.

    models: method -> the model that its vectors are made with.
    """

    models: dict[str, str]
    ladders: dict[str, Ladders]
    retrievals: dict[str, Retrieval]
    draws: int
    seed: int

    def targets(self, method: str) -> Iterator[str]:
        """Datasets whose DTEs a method is tested with, some of them twice."""
        for ladders in self._of(method, self.ladders):
            yield from (ladder.target for ladder in ladders.ladders)
        for retrieval in self._of(method, self.retrievals):
            yield from retrieval.datasets

    def boxes(self, method: str) -> Iterator[tuple[str, str]]:
        """(model, task) of the black boxes whose MTEs a method is tested with, some of them twice."""
        for ladders in self._of(method, self.ladders):
            yield from ((model, task) for ladder in ladders.ladders for model, task, _ in ladder.boxes)
            yield from (null for ladder in ladders.ladders for null in ladder.nulls)
        for retrieval in self._of(method, self.retrievals):
            yield from ((retrieval.model, dataset) for dataset in retrieval.datasets)
            yield from retrieval.nulls

    def scored(self) -> Iterator[tuple[str, str]]:
        """(model, dataset) of the boxes whose quality is their score, some of them twice."""
        ladders = (ladder for test in self.ladders.values() for ladder in test.ladders)
        return ((model, task) for ladder in ladders for model, task, quality in ladder.boxes if quality is None)

    def retrieved(self) -> Iterator[tuple[str, str]]:
        """(model, dataset) of the black boxes of all tests of retrieval, some of them twice."""
        return ((test.model, dataset) for test in self.retrievals.values() for dataset in test.datasets)

    @staticmethod
    def _of(method: str, tests: Mapping[str, Test]) -> Iterator[Test]:
        return (test for test in tests.values() if method in test.methods)
