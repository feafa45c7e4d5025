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

MTE = "Recipe of model task embeddings, learned from U with a black box's labels."
DTE = "Recipe of dataset task embeddings, learned from labelled rows."


class MethodConfig(Section):
    """One method with its recipes: `mte` for model task embeddings, `dte` for dataset task embeddings."""

    SAME: ClassVar[tuple[str, ...]] = ()
    """Settings in which mte and dte must agree, or their vectors could not be compared."""

    pairs: int | None = Field(None, ge=1, description="Most pairs of text and label per vector. `null`: all.")
    mte: MethodSettings = Field(description=MTE)
    dte: MethodSettings = Field(description=DTE)
    dte_span: dict[str, Any] = Field(
        {}, description="Keys of `dte` with another value for datasets of extractive question answering."
    )

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
    """The method `taskemb` of the surrogate: its Fisher information after fine-tuning."""

    SAME = ("reduction", "token_reduction", "labels", "reduce", "trained", "exclude")

    mte: TaskEmbSettings = Field(TaskEmbSettings(epochs=1, batch_size=128), description=MTE)
    dte: TaskEmbSettings = Field(TaskEmbSettings(epochs=3, batch_size=32), description=DTE)


class TupateConfig(MethodConfig):
    """The method `tupate`: a prefix that is tuned on the frozen surrogate."""

    SAME = TupateSettings.START

    mte: TupateSettings = Field(
        TupateSettings(epochs=1, batch_size=128, learning_rate=1e-3, dropout=0.15), description=MTE
    )
    dte: TupateSettings = Field(
        TupateSettings(batch_size=32, learning_rate=1e-2, dropout=0.15, max_epochs=120, patience=4), description=DTE
    )


class LoraConfig(MethodConfig):
    """The method `tupate-lora`: low-rank updates that are tuned on the frozen surrogate."""

    SAME = ("layers", "rank", "alpha", "init_seed")

    mte: LoraSettings = Field(LoraSettings(epochs=1, batch_size=128), description=MTE)
    dte: LoraSettings = Field(LoraSettings(batch_size=32, max_epochs=120, patience=4), description=DTE)


class BiasConfig(MethodConfig):
    """The method `tupate-bias`: bias terms that are tuned on the frozen surrogate."""

    SAME = ("layers",)

    mte: BiasSettings = Field(BiasSettings(epochs=1, batch_size=128), description=MTE)
    dte: BiasSettings = Field(BiasSettings(batch_size=32, max_epochs=120, patience=4), description=DTE)


class TextEmbConfig(MethodConfig):
    """The method `textemb`: the surrogate's states, without training."""

    mte: TextEmbSettings = Field(TextEmbSettings(), description=MTE)
    dte: TextEmbSettings = Field(TextEmbSettings(), description=DTE)
