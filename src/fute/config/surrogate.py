"""The section `surrogate`: the language model that task embeddings are learned on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fute.config.sections import Id, Section

Form = Literal["text2text", "heads"]


class SurrogateSettings(Section):
    """How a surrogate is loaded and how pairs are cut.

    `dtype` is that of weights that stay frozen (TuPaTE); weights that are trained are fp32 always, since an
    update at a learning rate of 2e-5 is under the resolution of bf16. `autocast` runs their matrix products
    in bf16.
    `form`: `text2text` scores y as text with the surrogate's own language-model head; `heads` puts a small head of
    classes, a number or an answer's place on it (the authors' code), drawn from `head_seed` for every set of pairs
    and left out of the vector.
    """

    family: Literal["encoder-decoder", "causal"]
    form: Form = "text2text"
    head_seed: int = 42
    dtype: Literal["float32", "bfloat16"] = "float32"
    autocast: bool = False
    max_input_tokens: int = Field(default=496, ge=1)
    max_target_tokens: int = Field(default=32, ge=1)


class SurrogateConfig(Section):
    """The surrogate language model: a registry entry and how it is run."""

    name: Id = "t5-base"
    settings: SurrogateSettings = SurrogateSettings(family="encoder-decoder")
