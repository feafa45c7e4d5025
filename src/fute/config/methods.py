"""The sections of the embedding methods f, from `taskemb` to `labelcov`, each with its recipes.

Planning reads them, so nothing heavy is imported here.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from fute.config.sections import Id, Section, explain

RATE = "Highest learning rate (AdamW); it falls linearly to 0 after the warm-up."


class _Method(Section):
    """Facts that every method's settings can be asked for; `method` is the method's id in paths and tables."""

    @property
    def early_stops(self) -> bool:
        """True if training ends on held-out rows."""
        return False

    @property
    def trained_on_pairs(self) -> bool:
        """True if the surrogate, or what tunes it, is trained."""
        return False

    def first_order(self) -> _Method:
        """The same settings with the first order seed only."""
        return self


class _Trained(_Method):
    """How the surrogate, or what tunes it, is trained."""

    epochs: int = Field(
        default=1, ge=1, description="Passes over all pairs, where no rows are held out for early stopping."
    )
    batch_size: int = Field(default=128, ge=1, description="Pairs in one optimiser step.")
    learning_rate: float = Field(gt=0, description=RATE)
    warmup: float = Field(
        default=0.05, ge=0, le=1, description="Share of the steps over which the learning rate rises."
    )
    weight_decay: float = Field(default=0.01, ge=0, description="Weight decay of AdamW, on matrices only.")
    clip: float = Field(default=1.0, gt=0, description="Largest norm of the gradient; a larger one is scaled down.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout rate in what is trained.")
    order_seeds: tuple[int, ...] = Field(
        default=(42,),
        min_length=1,
        description="Seeds of the order of pairs. One vector is learned per seed; their mean is the embedding.",
    )
    min_steps: int = Field(default=10, ge=1, description="Fewest optimiser steps. A shorter training is an error.")
    bucket_batches: int = Field(
        default=4,
        ge=1,
        description="Batches whose texts are sorted by length together, which saves padding. 1: plain random order.",
    )
    max_epochs: int | None = Field(
        default=None,
        ge=1,
        description="Most passes with early stopping. Give it with `patience`. `null`: no early stopping.",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Stop after so many passes without a lower loss on the held-out rows (`data.dev_share`).",
    )

    @model_validator(mode="after")
    def _early_stopping_is_whole(self) -> _Trained:
        if (self.max_epochs is None) != (self.patience is None):
            raise ValueError("early stopping needs both max_epochs and patience; give both, or neither")
        return self

    @model_validator(mode="after")
    def _orders_differ(self) -> _Trained:
        # an order that is repeated would pass for one without noise
        if len(set(self.order_seeds)) < len(self.order_seeds):
            raise ValueError(f"order_seeds {list(self.order_seeds)} repeat one; give each once")
        return self

    @property
    def early_stops(self) -> bool:
        return self.patience is not None

    @property
    def trained_on_pairs(self) -> bool:
        return True

    def first_order(self) -> _Trained:
        return self.model_copy(update={"order_seeds": self.order_seeds[:1]})


class TaskEmbSettings(_Trained):
    """TaskEmb: fine-tune the surrogate, then take the diagonal of its Fisher information on the same pairs."""

    method: Literal["taskemb"] = Field("taskemb", description="Id of the method.")
    learning_rate: float = Field(default=2e-5, gt=0, description=RATE)
    reduction: Literal["mean_of_squares", "batch_mean_square", "square_of_mean"] = Field(
        "mean_of_squares",
        description="How gradients become the vector. `mean_of_squares`: the mean of squared gradients of single "
        "pairs, the Fisher information. `square_of_mean`: the square of the mean gradient (the authors' code). "
        "`batch_mean_square`: squares of the mean gradients of batches (Vu et al.).",
    )
    token_reduction: Literal["sum", "mean"] = Field(
        "sum", description="Log-likelihood of a label: the sum over its tokens, or their mean."
    )
    labels: Literal["given", "sampled"] = Field(
        "given", description="Labels of the Fisher information: the given ones, or drawn from the surrogate."
    )
    exclude: tuple[str, ...] = Field(
        (), description="Regular expressions, searched in parameter names. What they match is not in the vector."
    )
    layers: int | None = Field(
        default=None,
        ge=1,
        description="Fine-tune only the last so many layers of a causal surrogate and the norm above them, and take "
        "the vector of these. The states below are computed once, which makes small runs short. `null`: the whole "
        "surrogate (the paper).",
    )
    reduce: Literal["none", "rows", "tensors"] = Field(
        "none", description="Size of the vector: every entry, one mean per row of a weight matrix, or one per tensor."
    )
    store: Literal["float32", "float16"] = Field(
        "float32",
        description="Number format of the file. `float16` halves it: entries are divided by their tensor's largest, "
        "which is kept beside them, and those below 3e-8 of it become 0.",
    )
    fisher_batch_size: int = Field(default=16, ge=1, description="Pairs in one batch of the Fisher pass.")

    @model_validator(mode="after")
    def _patterns_are_whole(self) -> TaskEmbSettings:
        for pattern in self.exclude:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"exclude: {pattern!r} is no regular expression: {error}") from None
        return self


class _Tuned(_Trained):
    """TuPaTE: the surrogate is frozen, and few parameters that tune it are trained from a common start."""

    layers: int | None = Field(
        default=None,
        ge=1,
        description="Tune only the last so many layers of a causal surrogate. The states below are computed once, "
        "which makes small runs short. `null`: all layers.",
    )
    dropout_min_steps: int = Field(
        default=100, ge=0, description="`dropout` is 0 in trainings of fewer optimiser steps than this."
    )
    backbone_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Dropout rate inside the frozen surrogate while it is tuned. Above 0, no states are computed once.",
    )


class TupateSettings(_Tuned):
    """TuPaTE with a deep prefix: extra positions in every layer of the frozen surrogate are trained."""

    START: ClassVar = ("length", "layers", "scope", "init_seed")
    """What shapes the common start, hence must agree between vectors that are compared."""

    method: Literal["tupate"] = Field("tupate", description="Id of the method.")
    learning_rate: float = Field(default=1e-3, gt=0, description=RATE)
    length: int = Field(default=16, ge=1, description="Positions of the prefix.")
    scope: Literal["decoder_self", "encoder_decoder", "all"] = Field(
        "decoder_self",
        description="Which attentions of an encoder-decoder surrogate have a prefix: the decoder's self-attention "
        "(then the encoder's states are computed once for all vectors), also the encoder's, or also the "
        "cross-attention. A causal surrogate has one kind.",
    )
    init_seed: int = Field(42, description="Seed of the start, which all vectors share.")
    min_relative_distance: float = Field(
        default=0.5,
        ge=0,
        description="Least distance of the trained prefix from its start, as a share of the start's norm. A vector "
        "that moved less is an error: it would mostly compare the start with itself.",
    )


class LoraSettings(_Tuned):
    """TuPaTE with low-rank updates (LoRA) of the decoder's query and value projections."""

    method: Literal["tupate-lora"] = Field("tupate-lora", description="Id of the method.")
    learning_rate: float = Field(default=1e-3, gt=0, description=RATE)
    rank: int = Field(default=8, ge=1, description="Rank of an update.")
    alpha: float = Field(default=16.0, gt=0, description="An update is multiplied by `alpha` / `rank`.")
    init_seed: int = Field(42, description="Seed of the start, which all vectors share.")


class BiasSettings(_Tuned):
    """TuPaTE with bias terms: added to every linear layer of the decoder's blocks, and zero at the start."""

    method: Literal["tupate-bias"] = Field("tupate-bias", description="Id of the method.")
    learning_rate: float = Field(default=1e-3, gt=0, description=RATE)


class TextEmbSettings(_Method):
    """TextEmb: the mean of the surrogate's last states over the labels of all pairs, without any training."""

    method: Literal["textemb"] = Field("textemb", description="Id of the method.")
    batch_size: int = Field(default=32, ge=1, description="Pairs in one batch.")


class LabelCovSettings(_Method):
    """LabelCov: the covariance of frozen sentence embeddings and labels, without any training."""

    method: Literal["labelcov"] = Field("labelcov", description="Id of the method.")
    labels: Literal["hard", "soft"] = Field(
        "hard",
        description="What a black box says: its class and its rounded number, or `soft`: the probabilities of all "
        "classes and the raw number. Of `mte` alone; answers are text in both.",
    )
    whiten: bool = Field(
        False,
        description="Measure covariances in units of how far the texts of the vector spread along each direction "
        "(inverse square root of their shrunk covariance). docs/planted.md compares it with plain ones.",
    )
    max_tokens: int = Field(default=256, ge=1, description="Most tokens of a text; a longer one is cut.")
    batch_size: int = Field(default=32, ge=1, description="Texts in one batch of the encoder.")


MethodSettings = TaskEmbSettings | TupateSettings | LoraSettings | BiasSettings | TextEmbSettings | LabelCovSettings
TunedSettings = TupateSettings | LoraSettings | BiasSettings
METHODS: dict[str, type[MethodSettings]] = {
    kind.model_fields["method"].default: kind
    for kind in (TaskEmbSettings, TupateSettings, LoraSettings, BiasSettings, TextEmbSettings, LabelCovSettings)
}
"""Method id -> its settings."""
MethodId = Literal["taskemb", "tupate", "tupate-lora", "tupate-bias", "textemb", "labelcov"]


def method_module(method: str) -> str:
    """The module of an embedding method. It is loaded by this name, so that a vector's key holds the code of its own
    method alone."""
    return f"fute.embeddings.{method.replace('-', '_')}"


def form_module(form: str) -> str:
    """The module of a form of surrogate, loaded by name like the methods."""
    return f"fute.surrogate.{form}"


def reads_shared_states(settings: MethodSettings, family: str) -> bool:
    """True if a method reads states of its texts that are the same for all its vectors: those of a T5's encoder."""
    if family != "encoder-decoder" or not isinstance(settings, _Tuned) or settings.backbone_dropout:
        return False
    return getattr(settings, "scope", "decoder_self") == "decoder_self"


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
            what = "; ".join(f"{key}: {text}" if key else text for key, text in explain(error, type(self.dte)))
            raise ValueError(f"dte with dte_span's {self.dte_span} is no recipe; change dte_span too: {what}") from None


class TaskEmbConfig(MethodConfig):
    """The method `taskemb` of the surrogate: its Fisher information after fine-tuning."""

    SAME = ("reduction", "token_reduction", "labels", "reduce", "layers", "exclude")

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


class LabelCovConfig(MethodConfig):
    """The method `labelcov`: covariances of frozen sentence embeddings and labels, without training or surrogate."""

    SAME = ("whiten", "max_tokens")

    encoder: Id = Field(
        "minilm-l6",
        description="The frozen model whose states are pooled: an id of `config/models.yaml`. Best is one that was "
        "trained for sentence embeddings by mean pooling.",
    )
    mte: LabelCovSettings = Field(LabelCovSettings(), description=MTE)
    dte: LabelCovSettings = Field(LabelCovSettings(), description=DTE)

    @model_validator(mode="after")
    def _rows_have_labels(self) -> LabelCovConfig:
        if self.dte.labels == "soft":
            raise ValueError("dte.labels 'soft': labelled rows have no probabilities; set it in mte alone")
        return self
