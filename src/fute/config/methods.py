"""The sections `taskemb`, `tupate`, `tupate_lora`, `tupate_bias`, `textemb`: one method each, with its two recipes."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, ValidationError, model_validator

from fute.config.recipes import (
    BiasSettings,
    LoraSettings,
    MethodSettings,
    TaskEmbSettings,
    TextEmbSettings,
    TupateSettings,
)
from fute.config.sections import Section


class MethodConfig(Section):
    """Recipes of one method. pairs: at most so many (x, y) pairs a vector (None: all). mte, dte: how model task
    embeddings and dataset task embeddings are learned. dte_span: what a dataset of extractive QA changes in dte."""

    SAME: ClassVar[tuple[str, ...]] = ()
    """Settings in which mte and dte must agree, or their vectors could not be compared."""

    pairs: int | None = Field(None, ge=1)
    mte: MethodSettings
    dte: MethodSettings
    dte_span: dict[str, Any] = Field({})

    @model_validator(mode="after")
    def _comparable(self) -> MethodConfig:
        for kind, recipe in (("dte", self.dte), ("dte_span", self.dte_for("span"))):
            for name in self.SAME:
                if getattr(self.mte, name) != getattr(recipe, name):
                    raise ValueError(f"mte.{name} and {kind}.{name} differ, so their vectors could not be compared")
        return self

    def dte_for(self, task: str) -> MethodSettings:
        """The recipe of a dataset's embedding, by the task of its registry entry."""
        if task != "span" or not self.dte_span:
            return self.dte
        try:
            return type(self.dte).model_validate(self.dte.model_dump() | self.dte_span)
        except ValidationError as error:
            what = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise ValueError(f"dte with dte_span's {self.dte_span} is no recipe; change dte_span too: {what}") from None


class TaskEmbConfig(MethodConfig):
    SAME = ("reduction", "token_reduction", "labels", "reduce", "trained", "exclude")

    mte: TaskEmbSettings = TaskEmbSettings(epochs=1, batch_size=128)
    dte: TaskEmbSettings = TaskEmbSettings(epochs=3, batch_size=32)


class TupateConfig(MethodConfig):
    SAME = TupateSettings.START

    mte: TupateSettings = TupateSettings(epochs=1, batch_size=128, learning_rate=1e-3, dropout=0.15)
    dte: TupateSettings = TupateSettings(batch_size=32, learning_rate=1e-2, dropout=0.15, max_epochs=120, patience=4)


class LoraConfig(MethodConfig):
    SAME = ("layers", "rank", "alpha", "init_seed")

    mte: LoraSettings = LoraSettings(epochs=1, batch_size=128)
    dte: LoraSettings = LoraSettings(batch_size=32, max_epochs=120, patience=4)


class BiasConfig(MethodConfig):
    SAME = ("layers",)

    mte: BiasSettings = BiasSettings(epochs=1, batch_size=128)
    dte: BiasSettings = BiasSettings(batch_size=32, max_epochs=120, patience=4)


class TextEmbConfig(MethodConfig):
    mte: TextEmbSettings = TextEmbSettings()
    dte: TextEmbSettings = TextEmbSettings()
