"""How vectors are made, as plain settings: read at planning time, so nothing heavy is imported here."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from fute.config.sections import Section


class _Method(Section):
    """What every method's settings can say of themselves; `method` is the method's id in paths and tables."""

    @property
    def early_stops(self) -> bool:
        """Whether training ends on held-out rows."""
        return False

    def first_order(self) -> _Method:
        """The same settings with the first order seed only."""
        return self


class _Trained(_Method):
    """How the surrogate, or what tunes it, is trained; the vector is the mean over `order_seeds`.

    `epochs` holds where no held-out rows are given; with them, at most `max_epochs` and stopping after
    `patience` epochs without a better held-out loss. Fewer optimiser steps than `min_steps` are an error.
    """

    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=128, ge=1)
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
    def _early_stopping_is_whole(self) -> _Trained:
        if (self.max_epochs is None) != (self.patience is None):
            raise ValueError("early stopping needs both max_epochs and patience; give both, or neither")
        return self

    @property
    def early_stops(self) -> bool:
        return self.patience is not None

    def first_order(self) -> _Trained:
        return self.model_copy(update={"order_seeds": self.order_seeds[:1]})


class TaskEmbSettings(_Trained):
    """TaskEmb: fine-tune the surrogate, then take the Fisher diagonal on the same pairs.

    `exclude`: regular expressions, searched in parameter names, of what stays out of the vector. `trained`:
    `all` of the surrogate (the paper), or only what is `included` in the vector, for short runs. `store`: fp32,
    or fp16 after division by each tensor's largest entry, with these factors beside it: half the size, and entries
    below 6e-8 of a tensor's largest become 0. The rest is `fisher_pass`'s.
    """

    method: Literal["taskemb"] = "taskemb"
    learning_rate: float = Field(default=2e-5, gt=0)
    reduction: Literal["mean_of_squares", "batch_mean_square", "square_of_mean"] = "mean_of_squares"
    token_reduction: Literal["sum", "mean"] = "sum"
    labels: Literal["given", "sampled"] = "given"
    exclude: tuple[str, ...] = ()
    trained: Literal["all", "included"] = "all"
    reduce: Literal["none", "rows", "tensors"] = "none"
    store: Literal["float32", "float16"] = "float32"
    fisher_batch_size: int = Field(default=16, ge=1)


class _Tuned(_Trained):
    """TuPaTE: the surrogate is frozen, and few parameters that tune it are trained from a common start.

    `layers`: a causal surrogate is tuned in its last so many layers (None: all); the states below are computed
    once, which is what makes small runs short. `dropout`, that of what is trained, is 0 in runs of fewer steps than
    `dropout_min_steps`. `backbone_dropout`: rate inside the surrogate while it is tuned; above 0 no states can be
    computed once.
    """

    layers: int | None = Field(default=None, ge=1)
    dropout_min_steps: int = Field(default=100, ge=0)
    backbone_dropout: float = Field(default=0.0, ge=0, lt=1)


class TupateSettings(_Tuned):
    """TuPaTE with a deep prefix of `length` positions, from the start that `init_seed` gives.

    `scope`: which attentions of an encoder-decoder surrogate have a prefix: the decoder's self-attention (then the
    encoder's states are computed once for all vectors), the encoder's as well, or the cross-attention too. A causal
    surrogate has one kind. A prefix whose vector moved by less than `min_relative_distance` of its start's norm is
    an error: such vectors are all the start.
    """

    START: ClassVar = ("length", "layers", "scope", "init_seed")
    """What shapes the common start, hence must agree between vectors that are compared."""

    method: Literal["tupate"] = "tupate"
    learning_rate: float = Field(default=1e-3, gt=0)
    length: int = Field(default=16, ge=1)
    scope: Literal["decoder_self", "encoder_decoder", "all"] = "decoder_self"
    init_seed: int = 42
    min_relative_distance: float = Field(default=0.5, ge=0)


class LoraSettings(_Tuned):
    """TuPaTE with low-rank updates (LoRA) of the decoder's query and value projections."""

    method: Literal["tupate-lora"] = "tupate-lora"
    learning_rate: float = Field(default=1e-3, gt=0)
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    init_seed: int = 42


class BiasSettings(_Tuned):
    """TuPaTE with bias terms, added to every linear layer of the decoder's blocks and zero at the start."""

    method: Literal["tupate-bias"] = "tupate-bias"
    learning_rate: float = Field(default=1e-3, gt=0)


class TextEmbSettings(_Method):
    """TextEmb on the surrogate: mean of its last states of y given x, without any training."""

    method: Literal["textemb"] = "textemb"
    batch_size: int = Field(default=32, ge=1)


MethodSettings = TaskEmbSettings | TupateSettings | LoraSettings | BiasSettings | TextEmbSettings
TunedSettings = TupateSettings | LoraSettings | BiasSettings
METHODS: dict[str, type[MethodSettings]] = {
    kind.model_fields["method"].default: kind
    for kind in (TaskEmbSettings, TupateSettings, LoraSettings, BiasSettings, TextEmbSettings)
}
"""Method id -> its settings."""
MethodId = Literal["taskemb", "tupate", "tupate-lora", "tupate-bias", "textemb"]


def reads_shared_states(settings: MethodSettings, family: str) -> bool:
    """Whether a method reads states of its texts that are the same for all its vectors: those of a T5's encoder."""
    if family != "encoder-decoder" or not isinstance(settings, _Tuned) or settings.backbone_dropout:
        return False
    return getattr(settings, "scope", "decoder_self") == "decoder_self"
