"""The section `lm.planted`: tests with black boxes whose right order is known, because it was made."""

from __future__ import annotations

from pydantic import Field, model_validator

from fute.config.methods import MethodId
from fute.config.sections import Id, Section

BOX = "a plug-in's name, or `model/dataset` for a fine-tuned model"
METHODS = "Methods that are tested. `null`: all of the run."


class LadderConfig(Section):
    """Black boxes for one target, from good to bad."""

    target: Id = Field(description="Dataset that the boxes are good or bad for: one of this experiment's.")
    boxes: dict[str, float] = Field(
        min_length=3,
        description=f"Box ({BOX}) -> its quality. Any numbers whose order is right will do; equal numbers say that no "
        "order is right.",
    )


class LaddersConfig(Section):
    """A test of rankings: does the similarity to the target order the boxes as they were made?"""

    ladders: tuple[LadderConfig, ...] = Field(
        min_length=1,
        description="One or several ladders with equally many boxes, the first box of one standing for the first of "
        "the others. The test is of their mean.",
    )
    methods: tuple[MethodId, ...] | None = Field(None, description=METHODS)

    @model_validator(mode="after")
    def _can_be_ordered(self) -> LaddersConfig:
        if len({len(ladder.boxes) for ladder in self.ladders}) > 1:
            raise ValueError("the ladders of one test must have equally many boxes; make two tests of them")
        for ladder in self.ladders:
            if len(set(ladder.boxes.values())) == 1:
                raise ValueError(f"all boxes for {ladder.target!r} have the same quality, so nothing can be ordered")
        return self


class RetrievalConfig(Section):
    """A test of retrieval: among models fine-tuned on several datasets, is each dataset's own the nearest?"""

    model: Id = Field(description="The model that is fine-tuned on each dataset: one of `lm.models`.")
    datasets: tuple[Id, ...] = Field(min_length=3, description="The datasets: some of `lm.datasets.cr` and `qa`.")
    methods: tuple[MethodId, ...] | None = Field(None, description=METHODS)


class PlantedConfig(Section):
    """Tests with black boxes whose right order is known, because it was made."""

    ladders: dict[Id, LaddersConfig] = Field({}, description="Tests of rankings, by name.")
    retrievals: dict[Id, RetrievalConfig] = Field({}, description="Tests of retrieval, by name.")

    @model_validator(mode="after")
    def _names_differ(self) -> PlantedConfig:
        if both := sorted(set(self.ladders) & set(self.retrievals)):
            raise ValueError(f"ladders and retrievals both name a test {both[0]!r}; rename one")
        return self
