"""The language-model experiment in the plan: black boxes, their labels and vectors, and settings of its evaluation."""

from __future__ import annotations

from collections.abc import Container
from functools import cache, cached_property
from typing import Any

from fute import paths
from fute.artifacts import content_key
from fute.blackbox.label_plugin_step import plugin_identity
from fute.config.lm_experiment import LmConfig
from fute.config.planted import SCORE
from fute.config.run import Run
from fute.config.unsup import LM
from fute.plan.argument_files import Argument, settings_json
from fute.plan.batches import BatchPlanner, StepBatches
from fute.plan.data import DataPlan
from fute.plan.lm_baselines import BaselinePlan
from fute.plan.lm_finetune import FinetunePlan
from fute.plan.lm_transfer import TransferPlan
from fute.plan.requested import Requested
from fute.plan.vectors import VectorPlan
from fute.specs.embeddings import Item
from fute.specs.finetuning import LabelItem, LabelSpec
from fute.specs.planted import PlantedSettings
from fute.steps import code

OWN = "own"
"""Task id of a plug-in that names no dataset."""
CROSSING, CLUSTERS = ("boolq",), ("snli", "sst2")
"""What the paper reads off Figure 3: which dataset lies with the other class, and whose models lie together."""


class LmPlan:
    """Tables 1 and 2, Figures 3 and A1: every model fine-tuned on a dataset is a black box, and so is a plug-in.

    settings: the section `lm` of the configuration. Attributes:
        finetune, transfer, baselines: its parts.
        tables: the paper's tables that this run makes; Table 2 is of domain targets.
        black_boxes: (model, task) of everything that labels U; the task is the dataset it was made for.
        tasks: the different tasks of the black boxes.
    """

    def __init__(
        self, run: Run, settings: LmConfig, data: DataPlan, vectors: VectorPlan, planner: BatchPlanner
    ) -> None:
        self.run, self.config, self.settings, self.data, self.vectors = run, run.config, settings, data, vectors
        self.planner = planner = planner._replace(requested=self._with_boxes(planner.requested))
        self.finetune = FinetunePlan(run, settings, data, planner)
        self.transfer = TransferPlan(data, self.finetune, planner)
        self.baselines = BaselinePlan(data, self.finetune, planner)
        self.tables = ("table1", "table2") if settings.datasets.domain else ("table1",)
        models = [(model, dataset) for model in settings.models for dataset in data.lm_sources]
        plugins = [(name, plugin.dataset or OWN) for name, plugin in settings.plugins.items()]
        self.black_boxes = (*models, *plugins)
        self.tasks = tuple(dict.fromkeys(task for _, task in self.black_boxes))

    @property
    def relevance_remark(self) -> str:
        """What the tables say of NDCG where its relevance or gain is not the paper's; empty otherwise."""
        relevance = self.settings.relevance
        if relevance.gain == "gain_shifted":
            return (
                "In this run the relevance in NDCG is not the performance but the transfer gain, 0 where there is "
                "none, and counts linearly."
            )
        if relevance.gain == "linear":
            return "In this run the relevance in NDCG counts linearly, not exponentially."
        return "In this run the relevance in NDCG lies between 0 and 1." if relevance.scale == "unit" else ""

    def _with_boxes(self, requested: Requested) -> Requested:
        """What the targets need, with the models that the planted tests and the plug-ins asked for start from."""
        if requested.models is None:
            return requested
        models = set(requested.models)
        if requested.planted:
            models |= {*self.planted.scored(), *self.planted.retrieved()}
            models |= {box for method in self.planted.models for box in self.planted.boxes(method)}
        boxes = [plugin.box for name, plugin in self.settings.plugins.items() if name in {model for model, _ in models}]
        return requested._replace(models=frozenset(models | {self._box(box) for box in boxes if box}))

    # --- labels -----------------------------------------------------------------------------------------

    def label_files(self) -> list[str]:
        """What the black boxes say of U."""
        return [paths.labels(model, task, LM) for model, task in self.black_boxes]

    @cached_property
    def label_batches(self) -> dict[str, StepBatches]:
        """Model -> the batches in which it labels U, fine-tuned on each of the sources."""
        code_sha256 = self.planner.run_by("train", "label_language_model")
        size, batches = self.settings.datasets_per_process, {}
        for model in self.settings.models:
            keys = {name: content_key([self._labels_key(model, name), code_sha256]) for name in self.data.lm_sources}
            files = paths.lm_label_batch(model, "*")
            batches[model] = self.planner.dataset_batches("label_language_model", model, files, keys, size)
        return batches

    def label_inputs(self, model: str, batch: str) -> dict[str, str]:
        """Dataset -> lock of the model fine-tuned on it, of a new batch."""
        return {name: paths.finetuned(model, name) for name in self.label_batches[model].new[batch]}

    def label_spec(self, model: str, batch: str) -> Argument:
        """How the models of a new batch label U, as canonical JSON (a `LabelSpec`)."""
        batches = self.label_batches[model]
        items = [
            LabelItem(key=batches.keys[name], dataset=name, **self._reading(model, name)) for name in batches.new[batch]
        ]
        return settings_json(LabelSpec(model=model, items=tuple(items)))

    def _reading(self, model: str, dataset: str) -> dict[str, Any]:
        """How a fine-tuned model reads texts."""
        recipe = self.finetune.recipe(model, dataset)
        return {"batch_size": recipe.eval_batch_size, "autocast": recipe.autocast}

    def plugin_source(self, name: str) -> str:
        """Hash of a plug-in's function, options and files. Raises PluginError where they are not there."""
        return plugin_identity(self.settings.plugins[name])

    def plugin_train(self, name: str) -> list[str]:
        """The training rows that a plug-in gets: one file or none."""
        dataset = self.settings.plugins[name].dataset
        return [paths.rows(dataset, "train")] if dataset else []

    def plugin_outputs(self, name: str) -> list[str]:
        """What the black box that a plug-in starts from says of U: one file or none."""
        box = self.settings.plugins[name].box
        return [paths.labels(*box.split("/"), LM)] if box else []

    @cache
    def _labels_key(self, model: str, task: str) -> str:
        """What identifies a black box's labels of U."""
        corpus = self.data.corpus_recipe(LM)
        if plugin := self.settings.plugins.get(model):
            train = self.data.train_recipe(plugin.dataset) if plugin.dataset else None
            outputs = [self._labels_key(*plugin.box.split("/"))] if plugin.box else []
            return content_key(["plugin", self.plugin_source(model), train, corpus, code("label_plugin"), *outputs])
        made_with = [self.finetune.key(model, task), self._reading(model, task)]
        return content_key(["finetuned", made_with, corpus, code("finetune_model")])

    # --- vectors ----------------------------------------------------------------------------------------

    @cached_property
    def items(self) -> dict[str, Item]:
        """File -> item of every vector: DTEs of the targets, MTEs of the black boxes."""
        items = {}
        for method in self.config.methods:
            own = self.config.model_of(method), method
            for dataset in self.data.lm_targets:
                items[paths.dte(*own, dataset)] = self.vectors.dte_item(method, dataset)
            for model, task in self.black_boxes:
                items[paths.mte(*own, model, task)] = self._mte_item(method, model, task)
        return items

    def _mte_item(self, method: str, model: str, task: str) -> Item:
        target, classes = "label", ()  # as text, what models of many datasets say stands for itself
        if self.config.surrogate.settings.form == "heads" and method != "labelcov":
            entry = self.run.datasets[task]
            classes = tuple(entry.classes)
            if entry.task == "span" or self.config.mte_target == "soft":
                target = "soft"  # the ends of a span have no other form
        elif method == "labelcov" and task in self.run.datasets:
            entry = self.run.datasets[task]
            classes, target = tuple(entry.classes), "label" if entry.task == "span" else self.vectors.target(method)
        return self.vectors.mte_item(
            method, self._labels_key(model, task), target=target, made_with={"classes": classes} if classes else {},
            category=LM, source=f"{model}/{task}", classes=classes,
        )  # fmt: skip

    def vector_files(self, kind: str, models: Container[str] | None = None) -> list[str]:
        """Files of all vectors of a kind, `dte` or `mte`; models: of their MTEs alone (None: of every black box)."""
        return [
            path
            for path, item in self.items.items()
            if item.kind == kind and (models is None or item.source.partition("/")[0] in models)
        ]

    # --- planted tests ----------------------------------------------------------------------------------

    @cached_property
    def planted(self) -> PlantedSettings:
        """Settings of the step `planted`."""
        config, planted, ladders = self.config, self.settings.planted, {}
        for name, test in planted.ladders.items():
            made = [
                {"target": target, "nulls": [self._box(box) for box in test.nulls.get(target, ())],
                 "boxes": [(*self._box(box), None if quality == SCORE else quality) for box, quality in of.items()]}
                for target, of in test.boxes.items()
            ]  # fmt: skip
            ladders[name] = {"methods": test.methods or config.methods, "ladders": made}
        retrievals = {
            name: {"methods": test.methods or config.methods, "model": test.model, "datasets": test.datasets,
                   "nulls": [self._box(box) for box in test.nulls]}
            for name, test in planted.retrievals.items()
        }  # fmt: skip
        models = {method: config.model_of(method) for method in config.methods}
        return PlantedSettings.model_validate(
            {"models": models, "ladders": ladders, "retrievals": retrievals,
             "draws": config.evaluation.draws, "seed": config.seed}
        )  # fmt: skip

    def planted_files(self) -> list[str]:
        """Vectors that the planted tests compare; none where the run has no such tests."""
        files = set()
        for method, model in self.planted.models.items():
            files |= {paths.dte(model, method, dataset) for dataset in self.planted.targets(method)}
            files |= {paths.mte(model, method, *box) for box in self.planted.boxes(method)}
        return sorted(files)

    def planted_scores(self) -> dict[str, str]:
        """`model/dataset` -> file with its score, of the boxes whose quality is their score."""
        return {"/".join(box): paths.finetuned(*box, "score") for box in self.planted.scored()}

    def planted_labels(self) -> dict[str, str]:
        """`model/dataset` -> what it says of U, of the black boxes of retrieval."""
        return {"/".join(box): paths.labels(*box, LM) for box in self.planted.retrieved()}

    def planted_rows(self) -> dict[str, str]:
        """Dataset -> its training rows, of the datasets of retrieval."""
        return {dataset: paths.rows(dataset, "train") for _, dataset in self.planted.retrieved()}

    def _box(self, box: str) -> tuple[str, str]:
        """(model, task) of a black box that the configuration names: a plug-in's name, or `model/dataset`."""
        if plugin := self.settings.plugins.get(box):
            return box, plugin.dataset or OWN
        model, task = box.split("/")
        return model, task

    # --- settings of the evaluation ---------------------------------------------------------------------

    def similarity_settings(self) -> dict[str, Any]:
        """Settings of the step `lm_similarities`."""
        return {
            "surrogate": self.vectors.surrogate,
            "methods": self.config.methods,
            "black_boxes": self.black_boxes,
            "targets": self.data.lm_targets,
            **self.vectors.other_models,
        }

    def evaluation_settings(self) -> dict[str, Any]:
        """Settings of the step `lm_evaluation`."""
        return {
            "surrogate": self.vectors.surrogate,
            "methods": self.config.methods,
            "models": (self.settings.transfer.model,),
            "datasets": self.data.transfer_datasets(self.data.lm_targets),
            **self.settings.relevance.model_dump(),
            "draws": self.config.evaluation.draws,
            "seed": self.config.seed,
            **self.vectors.other_models,
        }

    def geometry_settings(self) -> dict[str, Any]:
        """Settings of the step `lm_geometry`."""
        sources = self.data.lm_sources
        return {
            "models": self.settings.models,
            "datasets": self.data.transfer_datasets(sources),
            "labels": {name: self._label_strings(name) for name in sources},
            "crossing": [name for name in CROSSING if name in sources],
            "clusters": [name for name in CLUSTERS if name in sources],
            "seed": self.config.evaluation.tsne_seed,
        }

    def _label_strings(self, dataset: str) -> tuple[str, ...]:
        """What stands for the labels of a dataset: its class names in no order, or `number` or `span`."""
        entry = self.run.datasets[dataset]
        kinds = {"regression": "number", "span": "span"}
        return tuple(sorted(entry.classes)) if entry.classes else (kinds[entry.task],)
