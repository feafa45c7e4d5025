"""The LLM experiment's part of the plan: black boxes, their vectors, baselines and evaluation."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from fute.artifacts import content_key
from fute.config.llm_experiment import LlmConfig
from fute.config.prompts import Prompt
from fute.plan.llm_labels import LabelPlan
from fute.specs.embeddings import Item
from fute.steps import code

if TYPE_CHECKING:
    from fute.plan.plan import Workflow


class LlmWorkflow:
    """Files, keys and settings of the LLM experiment (Table 3, Figures 4 and A2), where a run has it.

    common: the whole run's plan, whose data, surrogate and embedding batches this part uses. settings: the section
    `llm` of the configuration.
    """

    def __init__(self, common: Workflow, settings: LlmConfig) -> None:
        self.common, self.run, self.settings = common, common.run, settings
        self.labels = LabelPlan(self)

    # --- datasets and black boxes -----------------------------------------------------------------------

    @property
    def categories(self) -> tuple[str, ...]:
        return self.run.config.categories

    @property
    def targets(self) -> tuple[str, ...]:
        """Datasets that prompts are chosen for."""
        return tuple(name for category in self.categories for name in self.run.datasets_of(category))

    @cached_property
    def black_boxes(self) -> list[tuple[str, str, str]]:
        """(category, model, prompt id) of every black box."""
        return [
            (category, model, prompt.id)
            for category in self.categories
            for model in self.settings.models
            for prompt in self.run.prompts_of(category)
        ]

    # --- embeddings -------------------------------------------------------------------------------------

    @cached_property
    def embedding_items(self) -> dict[str, Item]:
        """File -> item of every vector: DTEs of the targets, MTEs of the black boxes, and controls of these."""
        config, embeddings = self.run.config, self.common.embeddings
        found: dict[str, Item] = {}
        for method in config.methods:
            basis = embeddings.basis(method, config.surrogate.settings)
            for category in self.categories:
                for dataset in self.run.datasets_of(category):
                    path = embeddings.dte_file(method, dataset)
                    found[path] = embeddings.dte_item(method, dataset, config.surrogate.settings)
                for model in self.settings.models:
                    for prompt in self.run.prompts_of(category):
                        variants: tuple[str | None, ...] = (None,)
                        if method in config.controls.methods:
                            variants += embeddings.variants
                        for variant in variants:
                            path = (embeddings.mte_file(method, model, prompt.id) if variant is None
                                    else embeddings.control_file(method, model, prompt.id, variant))  # fmt: skip
                            found[path] = self._mte_item(method, basis, model, prompt, variant)
        return found

    def _mte_item(self, method: str, basis: list[Any], model: str, prompt: Prompt, variant: str | None) -> Item:
        config, embeddings = self.run.config, self.common.embeddings
        recipe = config.method(method)
        how = recipe.mte if variant is None else recipe.mte.first_order()
        target = "abc" if variant == "abc" else config.mte_target
        what = {
            "recipe": how.model_dump(),
            "pairs": recipe.pairs,
            "target": target,
            "verbalizers": prompt.verbalizers if target == "verbalizer" else None,
            "variant": variant,
            "seed": config.seed,
            "calibration": self.settings.calibration,
            "extract": code("extract_labels"),
        }
        key = content_key(
            [*basis, what | embeddings.states_from(method), self.labels.cells[model, prompt.id, prompt.category]]
        )
        return Item(
            key=key, kind="mte", category=prompt.category, source=f"{model}/{prompt.id}", variant=variant,
            recipe=embeddings.recipes[method].index(how), pairs=recipe.pairs, target=target, seed=config.seed,
            classes=tuple(prompt.verbalizers),
            verbalizers=tuple(words[0] for words in prompt.verbalizers.values()) if target == "verbalizer" else None,
        )  # fmt: skip

    def embedding_files(self, kind: str = "all") -> list[str]:
        """Embedding files: "main" (DTEs and MTEs), "controls", or all."""
        return [
            path for path in self.embedding_items
            if kind == "all" or ("/controls/" in path) == (kind == "controls")
        ]  # fmt: skip

    def mte_files(self) -> list[str]:
        return [path for path in self.embedding_items if "/mte/" in path]

    # --- baselines --------------------------------------------------------------------------------------

    def baseline_files(self) -> list[str]:
        return [
            f"results/baselines/{model}/{dataset}.json"
            for category in self.categories
            for model in self.settings.models
            for dataset in self.run.datasets_of(category)
        ]

    def baseline_flags(self, dataset: str) -> str:
        """Flags of `fute baseline-scores` for a dataset: the slips of the authors' code that are to be repeated."""
        slips = self.run.config.baselines
        flip = slips.zps_sa_flip and self.run.datasets[dataset].category == "sa"
        return " ".join(["--zps-flip"] * flip + ["--list-as-scores"] * slips.self_select_list_as_scores)

    # --- settings of the evaluation and of the paper's artifacts ---------------------------------------

    def _prompts(self) -> dict[str, tuple[str, ...]]:
        return {c: tuple(p.id for p in self.run.prompts_of(c)) for c in self.categories}

    def _datasets(self) -> dict[str, tuple[str, ...]]:
        return {c: self.run.datasets_of(c) for c in self.categories}

    def similarity_settings(self) -> dict[str, Any]:
        config = self.run.config
        return {
            "surrogate": config.surrogate.name,
            "methods": config.methods,
            "models": self.settings.models,
            "prompts": self._prompts(),
            "datasets": self._datasets(),
            "control_methods": config.controls.methods,
            "variants": self.common.embeddings.variants,
        }

    def selection_settings(self) -> dict[str, Any]:
        config = self.run.config
        return {
            "models": self.settings.models,
            "prompts": self._prompts(),
            "datasets": self._datasets(),
            "methods": config.methods,
            "calibration": self.settings.calibration,
            "nli_metric": self.settings.nli_metric,
            "draws": config.evaluation.draws,
            "seed": config.seed,
        }

    def geometry_settings(self) -> dict[str, Any]:
        prompts = {p.id: (p.category, p.number, p.cot) for p in self.run.prompts.values()}
        return {"prompts": prompts, "seed": self.run.config.evaluation.tsne_seed}
