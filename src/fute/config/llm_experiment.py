"""The section `llm`: the LLM experiment (Table 3, Figures 4 and A2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fute.config.categories import Category
from fute.config.engines import EngineSettings
from fute.config.sections import Id, Section


class LlmConfig(Section):
    """The LLM experiment: which LLMs, prompts and target datasets, and how the LLMs are asked.

    prompts: numbers in `config/prompts/{category}.yaml`, or "all". calibration: "unsup" subtracts each
    prompt's mean class log-score over U (the paper has none). max_text_words: cut of every text before it
    enters a prompt.
    """

    models: tuple[Id, ...] = ("llama-2-13b", "llama-2-70b", "mixtral-8x7b")
    prompts: dict[Category, tuple[int, ...] | Literal["all"]] = Field({"sa": "all", "nli": "all"})
    datasets: dict[Category, tuple[Id, ...]] = Field(
        {"sa": ("rotten-tomatoes", "imdb", "sst2"), "nli": ("wanli", "cb", "anli")}
    )
    engine: EngineSettings = EngineSettings(engine="vllm")
    system: str | None = None
    max_text_words: int | None = Field(None, ge=8)
    calibration: Literal["none", "unsup"] = "none"
    nli_metric: Literal["accuracy", "macro_f1"] = "accuracy"
