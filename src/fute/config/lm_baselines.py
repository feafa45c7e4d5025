"""The section `lm.baselines`: which baselines of Tables 1 and 2 are computed, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from fute.config.datasets import Task
from fute.config.finetuning import EPOCHS, RATE, TrainingSettings
from fute.config.sections import Section

LmBaseline = Literal[
    "datasize", "curvegrad", "textemb", "taskemb", "tupate", "logme", "h-score", "n-leep", "transrate", "gbc",
    "task-vector",
]  # fmt: skip
PAPER_LM_BASELINES: dict[LmBaseline, str] = {
    "datasize": "DataSize", "curvegrad": "CurveGrad", "textemb": "TextEmb", "taskemb": "TaskEmb", "tupate": "TuPaTE",
}  # fmt: skip
"""Baseline id -> its row in the tables, in their order: the paper's, which are computed if nothing else is said."""
FITS: tuple[LmBaseline, ...] = ("logme", "h-score", "n-leep", "transrate", "gbc")
"""Baselines that ask how well a source's states of the target's labelled rows tell their labels apart."""
OF_MODELS: tuple[LmBaseline, ...] = (*FITS, "task-vector")
"""Baselines that score each source's fine-tuned model for a target, pair by pair; the last one compares it with the
model that was fine-tuned on the target."""
LM_BASELINES: dict[LmBaseline, str] = PAPER_LM_BASELINES | {
    "logme": "LogME", "h-score": "H-score", "n-leep": "N-LEEP", "transrate": "TransRate", "gbc": "GBC",
    "task-vector": "Task vectors",
}  # fmt: skip
"""The same of all baselines."""
VECTORS: tuple[LmBaseline, ...] = ("textemb", "taskemb", "tupate")
"""Baselines that compare vectors of labelled datasets, learned on the black box's own architecture."""


class TextEmbBaseline(Section):
    """TextEmb: the mean state of a dataset's texts in the pretrained model."""

    rows: int | None = Field(
        None, ge=1, description="Most training rows that are read, the first in a seeded order. `null`: all."
    )


class TaskEmbBaseline(Section):
    """TaskEmb: squared gradients of the fine-tuned model. They are taken per batch, so batch sizes shape the vector."""

    rows: int | None = Field(
        None, ge=1, description="Most training rows that are read, the first in a seeded order. `null`: all."
    )
    batch_size: int = Field(32, ge=1, description="Texts in one batch; the default is Vu et al.'s.")
    span_batch_size: int = Field(
        12, ge=1, description="The same for extractive question answering; the default is Vu et al.'s."
    )

    def size_for(self, task: Task) -> int:
        """Batch size for a task."""
        return self.span_batch_size if task == "span" else self.batch_size


class PrefixRecipe(TrainingSettings):
    """How a prefix is tuned on a dataset."""

    epochs: int | None = Field(default=60, ge=1, description=EPOCHS)
    learning_rate: float = Field(default=1e-2, gt=0, description=RATE)
    dropout: float = Field(
        default=0.15, ge=0, lt=1, description="Dropout rate on the prefix. The frozen model has none."
    )


class SpanPrefixRecipe(PrefixRecipe):
    """How a prefix is tuned on a dataset of extractive question answering."""

    epochs: int | None = Field(default=30, ge=1, description=EPOCHS)
    learning_rate: float = Field(default=5e-3, gt=0, description=RATE)


class TupateBaseline(Section):
    """TuPaTE: a prefix that is tuned on each dataset, on the frozen model."""

    cr: PrefixRecipe = Field(PrefixRecipe(), description="Recipe for datasets of classes or numbers.")
    qa: SpanPrefixRecipe = Field(SpanPrefixRecipe(), description="Recipe for extractive question answering.")
    length: int = Field(16, ge=1, description="Positions of the prefix.")
    init_seed: int = Field(42, description="Seed of the start of prefix and head, which all datasets share.")

    def recipe_for(self, task: Task) -> PrefixRecipe:
        """Recipe for a task."""
        return self.qa if task == "span" else self.cr


class LmBaselines(Section):
    """The baselines of Tables 1 and 2."""

    methods: tuple[LmBaseline, ...] = Field(
        tuple(PAPER_LM_BASELINES),
        description="The baselines that are computed. Those from `logme` on are not the paper's. Of targets with spans "
        "`task-vector` alone of these has a score, of numbers `logme` and `task-vector`: docs/methods.md 4.6.",
    )
    labelled_rows: int = Field(
        256,
        ge=2,
        description="Most training rows of each target that the baselines from `logme` to `gbc` read, by every "
        "source's model.",
    )
    textemb: TextEmbBaseline = Field(TextEmbBaseline(), description="Settings of TextEmb.")
    taskemb: TaskEmbBaseline = Field(TaskEmbBaseline(), description="Settings of TaskEmb.")
    tupate: TupateBaseline = Field(TupateBaseline(), description="Settings of TuPaTE.")

    @field_validator("methods")
    @classmethod
    def _each_once(cls, methods: tuple[LmBaseline, ...]) -> tuple[LmBaseline, ...]:
        if len(set(methods)) < len(methods):
            raise ValueError(f"{list(methods)} repeat one; name each baseline once")
        return methods
