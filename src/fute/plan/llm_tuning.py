"""LLMs that the run fine-tunes itself, in the plan of the LLM experiment."""

from __future__ import annotations

from functools import cache
from typing import Any

from fute import paths
from fute.artifacts import content_key
from fute.config.llm_experiment import LlmConfig
from fute.config.run import Run
from fute.data.model_folder import model_identity
from fute.plan.argument_files import Argument, settings_json
from fute.plan.batches import BatchPlanner
from fute.plan.data import DataPlan
from fute.specs.tuning import TuneSpec


class TuningPlan:
    """What each fine-tuned LLM is made from. settings: the section `llm` of the configuration."""

    def __init__(self, run: Run, settings: LlmConfig, data: DataPlan, planner: BatchPlanner) -> None:
        self.run, self.settings, self.data, self.planner = run, settings, data, planner

    @cache
    def identity(self, model: str) -> dict[str, Any]:
        """What identifies an LLM in the keys of what it says: its entry; if tuned, also all that it is made from."""
        if model not in self.run.tuned:
            return model_identity(self.run.models[model])
        made_with = [
            self._spec(model).model_dump(mode="json", exclude={"model"}),
            model_identity(self.run.models[self.run.tuned[model].model]),
            [self.data.train_recipe(dataset) for dataset in self._datasets(model)],
            self.planner.run_by("train", "tune_llm"),
        ]
        return {"tuned": content_key(made_with)}

    def inputs(self, model: str) -> dict[str, str]:
        """Name -> file of the rows that an LLM is fine-tuned on."""
        return {f"train:{name}": paths.rows(name, "train") for name in self._datasets(model)}

    def spec(self, model: str) -> Argument:
        """Settings of a fine-tuning as canonical JSON (a `TuneSpec`)."""
        return settings_json(self._spec(model))

    def _datasets(self, model: str) -> tuple[str, ...]:
        names = (name for names in self.run.tuned[model].datasets.values() for name in names)
        return tuple(dict.fromkeys(names))

    def _spec(self, model: str) -> TuneSpec:
        llm, asked = self.settings, self.run.tuned_with[model]
        # a note shapes nothing, so an edit of one must rerun nothing
        prompts = {name: [each.model_copy(update={"note": None}) for each in chosen] for name, chosen in asked.items()}
        return TuneSpec(
            model=model, recipe=self.run.tuned[model], prompts=prompts,
            chat_template=llm.engine.chat_template, system=llm.system, max_text_words=llm.max_text_words,
            seed=self.run.config.seed,
        )  # fmt: skip
