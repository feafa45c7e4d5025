"""How vectors are made, as plain settings: read at planning time, so nothing heavy is imported here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SurrogateSettings(_Frozen):
    """How a surrogate is loaded and how pairs are cut.

    `dtype` is that of weights that stay frozen (TuPaTE); weights that are trained are fp32 always, since an
    update at a learning rate of 2e-5 is under the resolution of bf16. `autocast` runs their matrix products
    in bf16.
    """

    family: Literal["encoder-decoder", "causal"]
    dtype: Literal["float32", "bfloat16"] = "float32"
    autocast: bool = False
    max_input_tokens: int = Field(default=496, ge=1)
    max_target_tokens: int = Field(default=32, ge=1)


class _Recipe(_Frozen):
    """How the surrogate, or its prefix, is trained; the vector is the mean over `order_seeds`.

    `epochs` holds where no held-out rows are given; with them, at most `max_epochs` and stopping after
    `patience` epochs without a better held-out loss. Fewer optimiser steps than `min_steps` are an error.
    """

    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    order_seeds: tuple[int, ...] = Field(default=(42,), min_length=1)
    min_steps: int = Field(default=10, ge=1)
    bucket_batches: int = Field(default=4, ge=1)
    max_epochs: int | None = Field(default=None, ge=1)
    patience: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _early_stopping_is_whole(self) -> _Recipe:
        if (self.max_epochs is None) != (self.patience is None):
            raise ValueError("early stopping needs both max_epochs and patience; give both, or neither")
        return self


class TaskEmbSettings(_Recipe):
    """TaskEmb: fine-tune the surrogate, then take the Fisher diagonal on the same pairs.

    `exclude`: regular expressions, searched in parameter names, of what stays out of the vector. `trained`:
    `all` of the surrogate (the paper), or only what is `included` in the vector, for short runs. The rest is
    `fisher_pass`'s.
    """

    method: Literal["taskemb"] = "taskemb"
    learning_rate: float = Field(default=2e-5, gt=0)
    batch_size: int = Field(default=128, ge=1)
    reduction: Literal["mean_of_squares", "batch_mean_square", "square_of_mean"] = "mean_of_squares"
    token_reduction: Literal["sum", "mean"] = "sum"
    labels: Literal["given", "sampled"] = "given"
    exclude: tuple[str, ...] = ()
    trained: Literal["all", "included"] = "all"
    reduce: Literal["none", "rows", "tensors"] = "none"
    fisher_batch_size: int = Field(default=16, ge=1)


class TupateSettings(_Recipe):
    """TuPaTE: train a prefix of `length` positions from the common start that `init_seed` gives.

    A prefix whose vector moved by less than `min_relative_distance` of its start's norm is an error: such
    vectors are all the start. `dropout` is that of the prefix, and 0 in
    runs of under 100 steps. `layers`: a causal surrogate's prefix stands in its
    last so many layers (None: all); the states below are computed once, which is what makes small runs short.
    """

    method: Literal["tupate"] = "tupate"
    learning_rate: float = Field(default=1e-3, gt=0)
    batch_size: int = Field(default=128, ge=1)
    length: int = Field(default=16, ge=1)
    layers: int | None = Field(default=None, ge=1)
    init_seed: int = 42
    min_relative_distance: float = Field(default=0.5, ge=0)


MethodSettings = TaskEmbSettings | TupateSettings


class Item(_Frozen):
    """One vector of a batch.

    kind, source: `dte` of a dataset id, or `mte` of `{model}/{prompt}`. recipe: its place among the batch's
    recipes. pairs: at most so many (x, y).
    target: what stands for a class on the target side. variant: `null-i`, `abc` or None.
    """

    key: str
    kind: Literal["dte", "mte"]
    category: str
    source: str
    variant: str | None
    recipe: int = 0
    pairs: int | None
    target: Literal["label", "verbalizer", "abc"]
    seed: int
    classes: tuple[str, ...]
    verbalizers: tuple[str, ...] | None = None


class EmbeddingSpec(_Frozen):
    """All vectors that one process makes of one method and surrogate."""

    method: Literal["taskemb", "tupate"]
    surrogate: str
    settings: SurrogateSettings
    recipes: tuple[dict[str, Any], ...] = ()
    items: tuple[Item, ...] = ()

    def method_settings(self, item: Item) -> MethodSettings:
        """The recipe of one item."""
        return (TaskEmbSettings if self.method == "taskemb" else TupateSettings).model_validate(
            self.recipes[item.recipe]
        )
