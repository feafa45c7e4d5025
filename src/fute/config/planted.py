"""The section `lm.planted`: tests with black boxes whose right order is known, because it was made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fute.config.methods import MethodId
from fute.config.sections import Id, Section

SCORE = "score"
BOX = "a plug-in's name, or `model/dataset` for a fine-tuned model"
METHODS = "Methods that are tested. `null`: all of the run."
NULLS = (
    "boxes that say nothing of it, such as answers dealt at random. They are no candidates: one similarity more is "
    "centred on the mean of their vectors, so there are two or more."
)


def _check_nulls(nulls: tuple[str, ...]) -> None:
    if len(set(nulls)) < 2:
        raise ValueError(f"the nulls {list(nulls)} give no centre; give two or more different ones, or none")


class LadderConfig(Section):
    """A test of rankings: does the similarity to a target order the boxes as they were made?"""

    boxes: dict[Id, dict[str, float | Literal["score"]]] = Field(
        min_length=1,
        description=f"Target, a dataset of this experiment -> box ({BOX}) -> its quality. Any numbers whose order is "
        "right will do; equal numbers say that no order is right. `score` is the score of a model fine-tuned on the "
        "target, on its evaluation rows. All targets have equally many boxes, the first box "
        "of one standing for the first of the others, and the test is of their mean. Two boxes have 2 orders and three "
        "have 6, too few for a test to pass.",
    )
    nulls: dict[Id, tuple[str, ...]] = Field({}, description=f"Target -> {NULLS}")
    methods: tuple[MethodId, ...] | None = Field(None, description=METHODS)

    @model_validator(mode="after")
    def _can_be_ordered(self) -> LadderConfig:
        if len({len(qualities) for qualities in self.boxes.values()}) > 1:
            raise ValueError("the targets of one test must have equally many boxes; make two tests of them")
        for target, qualities in self.boxes.items():
            if len(qualities) < 2:
                raise ValueError(f"{target!r} has {len(qualities)} box, so nothing can be ordered; give two or more")
            if scored := [box for box, q in qualities.items() if q == SCORE and box.partition("/")[2] != target]:
                raise ValueError(f"{scored[0]!r} has no score on {target!r}: it is not fine-tuned on it; give a number")
            if set(qualities.values()) != {SCORE} and len(set(qualities.values())) == 1:
                raise ValueError(f"all boxes for {target!r} have the same quality, so nothing can be ordered")
        if self.nulls and self.nulls.keys() != self.boxes.keys():
            raise ValueError(f"nulls are of {sorted(self.nulls)}, boxes of {sorted(self.boxes)}; give both the same")
        for target, nulls in self.nulls.items():
            _check_nulls(nulls)
            if both := [box for box in nulls if box in self.boxes[target]]:
                raise ValueError(f"{both[0]!r} is a box and a null of {target!r}; a null is none of the candidates")
        return self


class RetrievalConfig(Section):
    """A test of retrieval: among models fine-tuned on several datasets, is each dataset's own the nearest?"""

    model: Id = Field(description="The model that is fine-tuned on each dataset: one of `lm.models`.")
    datasets: tuple[Id, ...] = Field(min_length=3, description="The datasets: some of `lm.datasets.cr` and `qa`.")
    nulls: tuple[str, ...] = Field((), description=f"Of all datasets, {NULLS}")
    methods: tuple[MethodId, ...] | None = Field(None, description=METHODS)

    @model_validator(mode="after")
    def _nulls_suffice(self) -> RetrievalConfig:
        if self.nulls:
            _check_nulls(self.nulls)
        if both := [box for box in self.nulls if box in {f"{self.model}/{dataset}" for dataset in self.datasets}]:
            raise ValueError(f"{both[0]!r} is a candidate and a null; a null is none of the candidates")
        return self


class PlantedConfig(Section):
    """Tests with black boxes whose right order is known, because it was made."""

    ladders: dict[Id, LadderConfig] = Field({}, description="Tests of rankings, by name.")
    retrievals: dict[Id, RetrievalConfig] = Field({}, description="Tests of retrieval, by name.")

    @property
    def tests(self) -> dict[str, LadderConfig | RetrievalConfig]:
        """All tests, by name."""
        return self.ladders | self.retrievals

    @model_validator(mode="after")
    def _names_differ(self) -> PlantedConfig:
        if both := sorted(set(self.ladders) & set(self.retrievals)):
            raise ValueError(f"ladders and retrievals both name a test {both[0]!r}; rename one")
        return self
