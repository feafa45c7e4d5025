"""The settings of the step that fine-tunes an LLM."""

from __future__ import annotations

from typing import Literal

from fute.config.models import TunedSettings
from fute.config.prompts import Prompt
from fute.config.sections import Section


class TuneSpec(Section):
    """How an LLM is made from another one.

    model: its id. recipe: as the registry says it. prompts: category -> those of the recipe. chat_template, system,
    max_text_words: as the run asks prompts.
    """

    model: str
    recipe: TunedSettings
    prompts: dict[str, tuple[Prompt, ...]]
    chat_template: Literal["model", "none"]
    system: str | None
    max_text_words: int | None
    seed: int
