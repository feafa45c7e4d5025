"""Which baselines of Tables 1 and 2 are computed, and how; read at planning time, so nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from fute.config.datasets import Task
from fute.config.finetuning import TrainingSettings
from fute.config.sections import Section

LmBaseline = Literal["datasize", "curvegrad", "textemb", "taskemb", "tupate"]
LM_BASELINES: dict[LmBaseline, str] = {
    "datasize": "DataSize", "curvegrad": "CurveGrad", "textemb": "TextEmb", "taskemb": "TaskEmb", "tupate": "TuPaTE",
}  # fmt: skip
"""Baseline id -> its row in the tables, in their order."""
VECTORS: tuple[LmBaseline, ...] = ("textemb", "taskemb", "tupate")
"""Baselines that compare vectors of labelled datasets, learned on the black box's own architecture."""


class TextEmbBaseline(Section):
    """TextEmb. rows: of at most so many training rows, the first in a seeded order (None: all)."""

    rows: int | None = Field(None, ge=1)


class TaskEmbBaseline(Section):
    """TaskEmb. rows: as TextEmb's. Batch sizes shape the vector, which is made of squares of batch means; the
    defaults are Vu et al.'s, `span_batch_size` that of extractive question answering."""

    rows: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1)
    span_batch_size: int = Field(12, ge=1)

    def size_for(self, task: Task) -> int:
        return self.span_batch_size if task == "span" else self.batch_size


class PrefixRecipe(TrainingSettings):
    """How a prefix is tuned on a dataset. dropout: of the prefix; the frozen model has none."""

    epochs: int | None = Field(default=60, ge=1)
    learning_rate: float = Field(default=1e-2, gt=0)
    dropout: float = Field(default=0.15, ge=0, lt=1)


class SpanPrefixRecipe(PrefixRecipe):
    """The same for extractive question answering."""

    epochs: int | None = Field(default=30, ge=1)
    learning_rate: float = Field(default=5e-3, gt=0)


class TupateBaseline(Section):
    """TuPaTE. cr, qa: recipes by what is learned, as those of `lm.finetune`. length: positions of the prefix.
    init_seed: of the start of prefix and head, which all datasets share."""

    cr: PrefixRecipe = PrefixRecipe()
    qa: SpanPrefixRecipe = SpanPrefixRecipe()
    length: int = Field(16, ge=1)
    init_seed: int = 42

    def recipe_for(self, task: Task) -> PrefixRecipe:
        return self.qa if task == "span" else self.cr


class LmBaselines(Section):
    """The section `lm.baselines`. methods: ids of the baselines that are computed."""

    methods: tuple[LmBaseline, ...] = tuple(LM_BASELINES)
    textemb: TextEmbBaseline = TextEmbBaseline()
    taskemb: TaskEmbBaseline = TaskEmbBaseline()
    tupate: TupateBaseline = TupateBaseline()

    @field_validator("methods")
    @classmethod
    def _each_once(cls, methods: tuple[LmBaseline, ...]) -> tuple[LmBaseline, ...]:
        if len(set(methods)) < len(methods):
            raise ValueError(f"{list(methods)} repeat one; name each baseline once")
        return methods
