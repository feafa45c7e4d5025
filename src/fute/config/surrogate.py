"""The section `surrogate`: the language model that task embeddings are learned on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fute.config.sections import Id, Section

Form = Literal["text2text", "heads"]


class SurrogateSettings(Section):
    """How the surrogate is loaded, and how pairs of text and label are cut."""

    family: Literal["encoder-decoder", "causal"] = Field(description="Kind of model: like T5, or like GPT and Llama.")
    form: Form = Field(
        "text2text",
        description="`text2text`: labels are text, scored by the model's own language-model head. `heads`: a small "
        "new head of classes, a number or an answer's place, as in the authors' code; it is not part of the vector.",
    )
    head_seed: int = Field(42, description="Seed that a new head is drawn from (form `heads`).")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Number format of weights that stay frozen (TuPaTE, TextEmb) and of their matrix products. Weights "
        "that are trained are always fp32, and are differentiated in fp32 (TF32 on a GPU): an update at a rate of 2e-5 "
        "is smaller than half a step of bf16, and a forward pass in bf16 would not see it.",
    )
    max_input_tokens: int = Field(
        default=496, ge=1, description="Most tokens of a text. A longer one is cut; how many were is recorded."
    )
    max_target_tokens: int = Field(default=32, ge=1, description="Most tokens of a label (form `text2text`).")


class SurrogateConfig(Section):
    """The language model that all task embeddings of a run are learned on."""

    name: Id = Field("t5-base", description="The model: an id of `config/models.yaml`.")
    settings: SurrogateSettings = Field(
        SurrogateSettings(family="encoder-decoder"), description="How it is loaded, and how texts are cut."
    )
