"""The LLM experiment in the plan: vectors of its black boxes, baselines, and settings of its evaluation."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from fute import paths
from fute.config.llm_baselines import LABELLED, LLM_BASELINES, PAPER_BASELINES
from fute.config.llm_experiment import LlmConfig
from fute.config.prompts import Prompt
from fute.config.run import TRAIN, Run
from fute.plan.batches import BatchPlanner
from fute.plan.data import DataPlan
from fute.plan.llm_labels import LabelPlan
from fute.plan.llm_tuning import TuningPlan
from fute.plan.vectors import VectorPlan
from fute.specs.embeddings import Item, variants_of
from fute.steps import code


class LlmPlan:
    """Table 3, Figures 4 and A2: every (LLM, prompt) is a black box.

    settings: the section `llm` of the configuration. Attributes:
        tuning: the LLMs that the run fine-tunes itself.
        labels: what the black boxes say.
    """

    def __init__(
        self, run: Run, settings: LlmConfig, data: DataPlan, vectors: VectorPlan, planner: BatchPlanner
    ) -> None:
        self.run, self.config, self.settings, self.vectors = run, run.config, settings, vectors
        self.tuning = TuningPlan(run, settings, data, planner)
        self.labels = LabelPlan(run, settings, data, planner, self.tuning)

    # --- vectors ----------------------------------------------------------------------------------------

    @cached_property
    def items(self) -> dict[str, Item]:
        """File -> item of every vector: DTEs of the targets, MTEs of the black boxes, and controls of these."""
        items = {}
        for method in self.config.methods:
            own = self.config.model_of(method), method
            variants = variants_of(method, self.vectors.variants) if method in self.config.controls.methods else ()
            for category in self.config.categories:
                for dataset in self.run.datasets_of(category):
                    items[paths.dte(*own, dataset)] = self.vectors.dte_item(method, dataset)
                    for variant in variants_of(method, self.vectors.dte_variants) if variants else ():
                        control = paths.dte_control(*own, dataset, variant)
                        items[control] = self.vectors.dte_item(method, dataset, variant)
                for model in self.settings.models:
                    for prompt in self.run.prompts_of(category):
                        items[paths.mte(*own, model, prompt.id)] = self._mte_item(method, model, prompt)
                        for variant in variants:
                            control = paths.control(*own, model, prompt.id, variant)
                            items[control] = self._mte_item(method, model, prompt, variant)
        return items

    def _mte_item(self, method: str, model: str, prompt: Prompt, variant: str | None = None) -> Item:
        target = self.vectors.target(method, variant)
        words = prompt.verbalizers if target == "verbalizer" else None
        made_with = {
            "verbalizers": words,
            "variant": variant,
            "calibration": self.settings.calibration,
            "extract": code("extract_labels"),
        }
        return self.vectors.mte_item(
            method, self.labels.cells[model, prompt.id, prompt.category], variant, target=target, made_with=made_with,
            category=prompt.category, source=f"{model}/{prompt.id}", classes=tuple(prompt.verbalizers),
            verbalizers=tuple(first for first, *_ in words.values()) if words else None,
        )  # fmt: skip

    def vector_files(self, *kinds: str) -> list[str]:
        """Files of some kinds of vectors: `dte`, `mte`, `controls`, `dte-controls`."""
        return [path for path in self.items if paths.kind_of(path) in kinds]

    # --- baselines --------------------------------------------------------------------------------------

    def baseline_files(self) -> list[str]:
        """Scores of the prompts by the baselines, one file for each LLM and target."""
        return [
            paths.prompt_scores(model, dataset)
            for category in self.config.categories
            for model in self.settings.models
            for dataset in self.run.datasets_of(category)
        ]

    @property
    def left_out(self) -> str:
        """Which of the paper's baselines are not in Table 3, in words; empty if all are."""
        names = ", ".join(row for name, row in PAPER_BASELINES.items() if name not in self.settings.baselines)
        return f"{names}: not asked for." if names else ""

    def self_selection(self, model: str, category: str) -> list[str]:
        """File of the LLM's own ranking of the prompts, where the baseline Self-Select is asked for."""
        return [paths.self_selection(model, category)] if "self-select" in self.settings.baselines else []

    def known_labels(self, model: str, dataset: str) -> list[str]:
        """What each prompt says of a target's labelled training rows; none where no baseline compares it with them."""
        if not self.settings.labels_training_rows:
            return []
        prompts = self.run.prompts_of(self.run.datasets[dataset].category)
        return [paths.labels(model, prompt.id, f"{dataset}{TRAIN}") for prompt in prompts]

    def known_rows(self, dataset: str) -> list[str]:
        """These training rows: one file or none."""
        return [paths.rows(dataset, "train")] if self.settings.labels_training_rows else []

    @property
    def labelled_remark(self) -> str:
        """What Table 3 says of its rows that know labels; empty where it has none."""
        names = [LLM_BASELINES[name] for name in self.settings.baselines if name in LABELLED]
        if not names:
            return ""
        rows = self.settings.labelled_rows
        return (
            f"{' and '.join(names)}: from what each prompt says of at most {rows:,} labelled training rows of the "
            "dataset. FUTE and these rows know the dataset's labels, the other baselines do not."
        )

    @property
    def scored_corpora(self) -> tuple[str, ...]:
        """All corpora whose labels are calibrated as on U: evaluation rows and labelled training rows."""
        categories = self.config.categories
        return tuple(corpus for name in categories for corpus in self.labels.corpora_of(name) if corpus != name)

    def baseline_flags(self, dataset: str) -> str:
        """Flags of `fute baseline_scores` for a dataset: the baselines where they are not the paper's, and the slips of
        the authors' code that are to be repeated."""
        slips = self.config.baselines
        flip = slips.zps_sa_flip and self.run.categories[self.run.datasets[dataset].category].zps_flip
        flags = ["--zps-flip"] * flip + ["--list-as-scores"] * slips.self_select_list_as_scores
        if self.settings.baselines != tuple(PAPER_BASELINES):
            flags += ["--baselines", *self.settings.baselines]
        return " ".join(flags)

    # --- settings of the evaluation ---------------------------------------------------------------------

    def similarity_settings(self) -> dict[str, Any]:
        """Settings of the step `similarities`."""
        return {
            "surrogate": self.vectors.surrogate,
            "methods": self.config.methods,
            **self._compared(),
            "control_methods": self.config.controls.methods,
            "variants": self.vectors.variants,
            **self.vectors.other_models,
        }

    @property
    def metrics(self) -> dict[str, str]:
        """Category -> `accuracy` or `macro_f1`, the performance of its prompts."""
        entries = self.run.categories
        return {name: self.settings.metrics.get(name, entries[name].metric) for name in self.config.categories}

    @property
    def metric_remark(self) -> str:
        """What Table 3 says of performances that are not accuracies; empty if all are."""
        names = [self.run.title_of(name) for name, metric in self.metrics.items() if metric == "macro_f1"]
        return f"Performance is macro-F1 for {' and '.join(names)}, accuracy otherwise." if names else ""

    def selection_settings(self) -> dict[str, Any]:
        """Settings of the step `selection`."""
        return {
            **self._compared(),
            "methods": self.config.methods,
            "calibration": self.settings.calibration,
            "classes": {name: self.run.categories[name].classes for name in self.config.categories},
            "metrics": self.metrics,
            "draws": self.config.evaluation.draws,
            "seed": self.config.seed,
        }

    def _compared(self) -> dict[str, Any]:
        """LLMs, and by category the prompts and the datasets that they are chosen for."""
        categories = self.config.categories
        return {
            "models": self.settings.models,
            "prompts": {name: tuple(prompt.id for prompt in self.run.prompts_of(name)) for name in categories},
            "datasets": {name: self.run.datasets_of(name) for name in categories},
        }

    def geometry_settings(self) -> dict[str, Any]:
        """Settings of the step `geometry`."""
        prompts = {p.id: (p.category, p.number, p.cot) for p in self.run.prompts.values()}
        return {"prompts": prompts, "seed": self.config.evaluation.tsne_seed}
