"""How a model is fine-tuned on a dataset: the recipes of the section `lm.finetune`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from fute.config.sections import Section


class TrainingSettings(Section):
    """Length and optimiser of a training on a dataset's rows.

    epochs: passes over all rows; or steps: so many optimiser steps, on rows in a seeded order, from the first
    again where they do not suffice. warmup: share of the steps. Fewer optimiser steps than min_steps are an error.
    """

    epochs: int | None = Field(default=3, ge=1)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-5, gt=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    min_steps: int = Field(default=10, ge=1)
    bucket_batches: int = Field(default=16, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _steps_take_the_place_of_epochs(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("steps") is not None and "epochs" not in given:
            return given | {"epochs": None}
        return given

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSettings:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        return self

    def optimiser(self) -> dict[str, Any]:
        """Keyword arguments of `fute.surrogate.training.train`."""
        named = ("batch_size", "learning_rate", "weight_decay", "warmup", "clip", "bucket_batches")
        return {"epochs": self.epochs or 1} | {name: getattr(self, name) for name in named}


class FinetuneSettings(TrainingSettings):
    """How a model is fine-tuned on a dataset; the defaults are the authors' for classification and regression.

    max_tokens: of one input, both segments with their marks; longer ones are cut. layers: only the last so many
    blocks and what stands above them are trained (None: all). autocast: matrix products in bf16; weights and
    optimiser stay in fp32. dropout: the model's own; without it a short run is a quarter faster on a CPU.
    """

    max_tokens: int = Field(default=128, ge=4)
    layers: int | None = Field(default=None, ge=1)
    autocast: bool = False
    eval_batch_size: int = Field(default=32, ge=1)
    dropout: bool = True
