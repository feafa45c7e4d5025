"""The section `llm`: the LLM experiment (Table 3, Figures 4 and A2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from fute.config.categories import Categories, Category, ClassificationMetric, categories_of
from fute.config.engines import EngineSettings
from fute.config.llm_baselines import LABELLED, LLM_BASELINES, PAPER_BASELINES, LlmBaseline
from fute.config.sections import Id, Section


class LlmConfig(Section):
    """The LLM experiment (Table 3, Figures 4 and A2): which prompt of which LLM suits a dataset."""

    models: tuple[Id, ...] = Field(
        ("llama-2-13b", "llama-2-70b", "mixtral-8x7b"),
        description="The LLMs: ids of `config/models.yaml`.",
    )
    prompts: dict[Category, tuple[int, ...] | Literal["all"]] = Field(
        {},
        description="Per category the numbers of the prompts in `config/prompts/{category}.yaml` and in "
        "`registry.prompts`, or `all`. Not given: all of each category.",
    )
    datasets: dict[Category, tuple[Id, ...]] = Field(
        {},
        description="Per category the datasets that prompts are chosen for: ids of `config/datasets.yaml` or of "
        "`registry.datasets`. Not given: the `datasets` of each category.",
    )
    engine: EngineSettings = Field(EngineSettings(engine="vllm"), description="What runs the LLMs, and how.")
    system: str | None = Field(None, description="System message before every prompt. `null`: none.")
    max_text_words: int | None = Field(
        None,
        ge=8,
        description="Most words of a text that enter a prompt; the rest is cut. `null`: all. In scripts "
        "without blanks each character counts as a word, in other runs without blanks every 40 characters.",
    )
    long_texts: Literal["error", "cut"] = Field(
        "error",
        description="Texts whose prompt has more than `engine.max_length` tokens. `error`: they are listed before the "
        "first request. `cut`: they lose their end, the instruction stays whole; not for `openai`, whose tokenizer is "
        "not known. Labels of other texts stay valid when this or `max_length` changes.",
    )
    calibration: Literal["none", "unsup"] = Field(
        "none",
        description="`unsup`: subtract each prompt's mean class log-score over U, so that no class is favoured. "
        "`none`: as in the paper.",
    )
    baselines: tuple[LlmBaseline, ...] = Field(
        tuple(PAPER_BASELINES),
        description="Baselines of Table 3 that are computed. `spell` asks for the likelihood of every prompt, which "
        "many servers do not give; `self-select` asks for one more answer; `accuracy` and `leep` ask for labels of "
        "`labelled_rows`. The others cost no request. Those from `mdl` on are not the paper's: docs/methods.md 1.8.",
    )
    labelled_rows: int = Field(
        64,
        ge=1,
        description="Most labelled training rows of each dataset that every prompt labels for the baselines `accuracy` "
        "and `leep`; none where neither is asked for.",
    )
    metrics: dict[Category, ClassificationMetric] = Field(
        {},
        description="Per category how its datasets are scored, where that is not the category's `metric`. The "
        "authors' code takes `{nli: macro_f1}`.",
    )

    @field_validator("datasets")
    @classmethod
    def _in_order_of_categories(cls, datasets: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        known = categories_of(info)
        return datasets if known is None else {name: datasets[name] for name in known if name in datasets}

    @field_validator("prompts")
    @classmethod
    def _some_prompts(cls, prompts: dict[str, Any]) -> dict[str, Any]:
        if empty := [category for category, numbers in prompts.items() if not numbers]:
            raise ValueError(f"{empty[0]}: names no prompt; name some, or leave its datasets out")
        return prompts

    @field_validator("baselines")
    @classmethod
    def _in_order(cls, names: tuple[LlmBaseline, ...]) -> tuple[LlmBaseline, ...]:
        if len(set(names)) < len(names):
            raise ValueError("names a baseline twice")
        return tuple(name for name in LLM_BASELINES if name in names)

    @model_validator(mode="after")
    def _can_cut(self) -> LlmConfig:
        if self.long_texts == "cut" and self.engine.engine == "openai":
            raise ValueError(
                "long_texts: cut needs the model's tokenizer, which engine openai does not have: set max_text_words"
            )
        return self

    @property
    def labels_training_rows(self) -> bool:
        """True if prompts label training rows, because a baseline compares what they say of them with the truth."""
        return any(name in self.baselines for name in LABELLED)


def with_targets(values: Mapping[str, Any], categories: Categories) -> dict[str, Any]:
    """Values of a run, with the categories' datasets and all of their prompts where `llm` does not name any."""
    if not isinstance(llm := values.get("llm", {}), Mapping):
        return dict(values)
    defaults = {
        "datasets": {name: entry.datasets for name, entry in categories.items() if entry.datasets},
        "prompts": dict.fromkeys(categories, "all"),
    }
    return {**values, "llm": defaults | dict(llm)}
