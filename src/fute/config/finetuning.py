"""How a model is fine-tuned on a dataset: the recipes of the section `lm.finetune`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from fute.config.sections import Section

RATE = "Highest learning rate (AdamW); it falls linearly to 0 after the warm-up."
EPOCHS = "Passes over all training rows. Give either `epochs` or `steps`."
MAX_TOKENS = "Most tokens of one input, both segments and their marks. A longer one is cut."


class TrainingSettings(Section):
    """Length and optimiser of a training on a dataset's rows."""

    epochs: int | None = Field(default=3, ge=1, description=EPOCHS)
    steps: int | None = Field(
        default=None,
        ge=1,
        description="Optimiser steps, on rows in a seeded order that starts again where the rows do not suffice. It "
        "takes the place of `epochs`.",
    )
    batch_size: int = Field(default=32, ge=1, description="Texts in one optimiser step.")
    learning_rate: float = Field(default=2e-5, gt=0, description=RATE)
    warmup: float = Field(
        default=0.05, ge=0, le=1, description="Share of the steps over which the learning rate rises."
    )
    weight_decay: float = Field(default=0.01, ge=0, description="Weight decay of AdamW, on matrices only.")
    clip: float = Field(default=1.0, gt=0, description="Largest norm of the gradient; a larger one is scaled down.")
    min_steps: int = Field(default=10, ge=1, description="Fewest optimiser steps. A shorter training is an error.")
    bucket_batches: int = Field(
        default=16,
        ge=1,
        description="Batches whose texts are sorted by length together, which saves padding. 1: plain random order.",
    )

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
    """How a model is fine-tuned on a dataset; the defaults are the authors'."""

    max_tokens: int = Field(default=128, ge=4, description=MAX_TOKENS)
    layers: int | None = Field(
        default=None,
        ge=1,
        description="Train only the last so many layers and what stands above them. `null`: the whole model.",
    )
    autocast: bool = Field(
        default=False,
        description="Multiply matrices in bf16 where nothing is trained: predictions and scores of the finished model. "
        "Training and gradients are fp32 in any case (TF32 on a GPU).",
    )
    eval_batch_size: int = Field(default=32, ge=1, description="Texts in one batch where nothing is trained.")
    dropout: bool = Field(
        default=True,
        description="Train with the model's own dropout. Without it a short run is a quarter faster on a CPU.",
    )
