"""What the tests with planted black boxes are of: their vectors, and the order that was made."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from fute import paths


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ladder(_Spec):
    """boxes: (model, task, quality)."""

    target: str
    boxes: tuple[tuple[str, str, float], ...]


class Ladders(_Spec):
    methods: tuple[str, ...]
    ladders: tuple[Ladder, ...]


class Retrieval(_Spec):
    """model: fine-tuned on each of the datasets, which are the targets too."""

    methods: tuple[str, ...]
    model: str
    datasets: tuple[str, ...]


class PlantedSettings(_Spec):
    """Settings of the step `planted`.

    models: method -> the model that its vectors are made with.
    """

    models: dict[str, str]
    ladders: dict[str, Ladders]
    retrievals: dict[str, Retrieval]
    draws: int
    seed: int

    def dte(self, method: str, dataset: str) -> str:
        return paths.dte(self.models[method], method, dataset)

    def mte(self, method: str, model: str, task: str) -> str:
        return paths.mte(self.models[method], method, model, task)

    def files(self, method: str) -> Iterator[str]:
        """Vectors of a method that the tests compare."""
        for test in self.ladders.values():
            for ladder in test.ladders if method in test.methods else ():
                yield self.dte(method, ladder.target)
                yield from (self.mte(method, model, task) for model, task, _ in ladder.boxes)
        for retrieval in self.retrievals.values():
            for name in retrieval.datasets if method in retrieval.methods else ():
                yield self.dte(method, name)
                yield self.mte(method, retrieval.model, name)
