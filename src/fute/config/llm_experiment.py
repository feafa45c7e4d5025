"""The section `llm`: the LLM experiment (Table 3, Figures 4 and A2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fute.config.categories import Category
from fute.config.engines import EngineSettings
from fute.config.sections import Id, Section


class LlmConfig(Section):
    """The LLM experiment (Table 3, Figures 4 and A2): which prompt of which LLM suits a dataset."""

    models: tuple[Id, ...] = Field(
        ("llama-2-13b", "llama-2-70b", "mixtral-8x7b"), description="The LLMs: ids of `config/models.yaml`."
    )
    prompts: dict[Category, tuple[int, ...] | Literal["all"]] = Field(
        {"sa": "all", "nli": "all"},
        description="Per category the numbers of the prompts in `config/prompts/{category}.yaml`, or `all`.",
    )
    datasets: dict[Category, tuple[Id, ...]] = Field(
        {"sa": ("rotten-tomatoes", "imdb", "sst2"), "nli": ("wanli", "cb", "anli")},
        description="Per category the datasets that prompts are chosen for: ids of `config/datasets.yaml`.",
    )
    engine: EngineSettings = Field(EngineSettings(engine="vllm"), description="What runs the LLMs, and how.")
    system: str | None = Field(None, description="System message before every prompt. `null`: none.")
    max_text_words: int | None = Field(
        None, ge=8, description="Most words of a text that enter a prompt; the rest is cut. `null`: all."
    )
    calibration: Literal["none", "unsup"] = Field(
        "none",
        description="`unsup`: subtract each prompt's mean class log-score over U, so that no class is favoured. "
        "`none`: as in the paper.",
    )
    nli_metric: Literal["accuracy", "macro_f1"] = Field(
        "accuracy", description="How the NLI datasets are scored; the authors' code takes `macro_f1`."
    )
