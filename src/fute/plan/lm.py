"""The language-model experiment's part of the plan: black boxes, their labels and vectors, and the evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

from fute.artifacts import canonical_json, content_key
from fute.blackbox.label_plugin_step import plugin_identity
from fute.config.finetuning import FinetuneSettings
from fute.config.lm_experiment import LM, LmConfig
from fute.config.surrogate import SurrogateSettings
from fute.plan.lm_baselines import BaselinePlan
from fute.plan.lm_transfer import TransferPlan
from fute.specs.embeddings import Item
from fute.specs.finetuning import FinetuneSpec, LabelSettings, TaskSettings
from fute.steps import code

if TYPE_CHECKING:
    from fute.plan.plan import Workflow

OWN = "own"
"""Task id of a plug-in that names no dataset."""
CROSSING, CLUSTERS = ("boolq",), ("snli", "sst2")
"""What the paper reads off Figure 3: which dataset lies with the other class, and whose models lie together."""


class LmWorkflow:
    """Files, keys and settings of the language-model experiment (Tables 1 and 2, Figures 3 and A1), where a run has it.

    common: the whole run's plan, whose data, surrogate and embedding batches this part uses. settings: the section
    `lm` of the configuration.
    """

    def __init__(self, common: Workflow, settings: LmConfig) -> None:
        self.common, self.run, self.settings = common, common.run, settings
        self.transfer = TransferPlan(self)
        self.baselines = BaselinePlan(self)

    # --- datasets and models ----------------------------------------------------------------------------

    @property
    def sources(self) -> tuple[str, ...]:
        """Datasets that models are fine-tuned on and transferred from, in the order of the tables."""
        return self.settings.datasets.cr + self.settings.datasets.qa

    @property
    def targets(self) -> tuple[str, ...]:
        return self.sources + self.settings.datasets.domain

    @property
    def tables(self) -> tuple[str, ...]:
        """The paper's tables that this run makes; Table 2 is of domain targets."""
        return ("table1", "table2") if self.settings.datasets.domain else ("table1",)

    @property
    def computes_matrix(self) -> bool:
        return self.settings.transfer.matrix == "compute"

    @cached_property
    def finetuned(self) -> tuple[tuple[str, str], ...]:
        """(model, dataset) of every fine-tuning: the black boxes, and what is tuned on the domain targets: their direct
        runs, whose models TaskEmb reads."""
        found = [(model, dataset) for model in self.settings.models for dataset in self.sources]
        if self.computes_matrix or "taskemb" in self.baselines.methods:
            found += [(self.settings.transfer.model, dataset) for dataset in self.settings.datasets.domain]
        return tuple(found)

    def task(self, dataset: str) -> TaskSettings:
        return TaskSettings.of(dataset, self.run.datasets[dataset])

    def recipe(self, model: str, dataset: str) -> FinetuneSettings:
        recipes = self.settings.finetune.of(model)
        return recipes.qa if self.run.datasets[dataset].task == "span" else recipes.cr

    def seeds(self, model: str) -> tuple[int, ...]:
        """Seeds of a model's direct runs: those of transfer where its scores are compared with transfer's."""
        transfer = self.settings.transfer
        return transfer.seeds if model == transfer.model and self.computes_matrix else transfer.seeds[:1]

    @property
    def threads(self) -> int:
        """Threads of a fine-tuning, transfer or labelling job."""
        return self.settings.threads or self.run.config.threads

    @property
    def torch(self) -> int:
        """Whether such a job must be the machine's only torch process. Several threads of two such processes wait for
        each other; of one thread each, two on two cores get 1.4 (256 tokens) to 1.9 times (30 tokens) as much done."""
        return int(self.threads > 1)

    def finetuned_folder(self, model: str, dataset: str) -> str:
        return f"results/finetuned/{model}/{dataset}"

    def finetuned_file(self, model: str, dataset: str, ending: str = "lock") -> str:
        """File beside the folder of a fine-tuned model: `lock`, `score` or `curve`."""
        return f"{self.finetuned_folder(model, dataset)}.{ending}.json"

    def finetune_spec(self, model: str, dataset: str) -> str:
        recipe = self.recipe(model, dataset)
        spec = FinetuneSpec(model=model, task=self.task(dataset), recipe=recipe, seeds=self.seeds(model))
        return canonical_json(spec.model_dump(mode="json"))

    @cache  # noqa: B019  (one plan lives as long as the process)
    def finetuned_from(self, model: str, dataset: str) -> str:
        """What identifies a fine-tuned model: the first seed's, whose weights are kept."""
        recipe = self.recipe(model, dataset).model_dump()
        what = [self.task(dataset).model_dump(mode="json"), recipe, self.seeds(model)[0]]
        return content_key(
            [self.run.models[model].identity(), what, self.common.data.train_recipe(dataset), code("finetune_model")]
        )

    # --- labels -----------------------------------------------------------------------------------------

    @cached_property
    def black_boxes(self) -> tuple[tuple[str, str], ...]:
        """(model, task) of everything that labels U; the task is the dataset it was made for."""
        models = [(model, dataset) for model in self.settings.models for dataset in self.sources]
        return (*models, *((name, self.plugin_task(name)) for name in self.settings.plugins))

    def plugin_task(self, name: str) -> str:
        return self.settings.plugins[name].dataset or OWN

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(task for _, task in self.black_boxes))

    def labels_file(self, model: str, task: str) -> str:
        return f"results/labels/{model}/{task}/{LM}.jsonl.gz"

    def label_files(self) -> list[str]:
        return [self.labels_file(model, task) for model, task in self.black_boxes]

    def label_settings(self, model: str, dataset: str) -> str:
        recipe = self.recipe(model, dataset)
        how = {"batch_size": recipe.eval_batch_size, "autocast": recipe.autocast}
        return canonical_json(LabelSettings(model=model, dataset=dataset, **how).model_dump())

    def plugin_settings(self, name: str) -> str:
        return canonical_json(self.settings.plugins[name].model_dump())

    def plugin_source(self, name: str) -> str:
        """Hash of a plug-in's function, options and Python files."""
        return plugin_identity(self.settings.plugins[name])

    def plugin_train(self, name: str) -> list[str]:
        """The training rows that a plug-in gets: one file or none."""
        dataset = self.settings.plugins[name].dataset
        return [f"results/data/{dataset}/train.jsonl.gz"] if dataset else []

    @cache  # noqa: B019
    def _labels_from(self, model: str, task: str) -> str:
        """What identifies a black box's labels of U."""
        corpus = self.common.data.corpus_recipe(LM)
        if plugin := self.settings.plugins.get(model):
            train = self.common.data.train_recipe(plugin.dataset) if plugin.dataset else None
            return content_key(["plugin", self.plugin_source(model), train, corpus, code("label_plugin")])
        made = [self.finetuned_from(model, task), self.label_settings(model, task)]
        return content_key(["finetuned", made, corpus, code("finetune_model")])

    # --- embeddings -------------------------------------------------------------------------------------

    @cached_property
    def surrogate(self) -> SurrogateSettings:
        """How the surrogate reads this experiment's texts."""
        settings, tokens = self.run.config.surrogate.settings, self.settings.max_input_tokens
        return settings.model_copy(update={"max_input_tokens": tokens}) if tokens else settings

    @cached_property
    def embedding_items(self) -> dict[str, Item]:
        """File -> item of every vector: DTEs of the targets, MTEs of the black boxes."""
        embeddings, found = self.common.embeddings, {}
        for method in self.run.config.methods:
            for dataset in self.targets:
                item = embeddings.dte_item(method, dataset, self.surrogate, first_order=self.settings.first_order)
                found[embeddings.dte_file(method, dataset)] = item
            for model, task in self.black_boxes:
                found[embeddings.mte_file(method, model, task)] = self._mte_item(method, model, task)
        return found

    def _mte_item(self, method: str, model: str, task: str) -> Item:
        recipe, seed, embeddings = self.run.config.method(method), self.run.config.seed, self.common.embeddings
        how = recipe.mte.first_order() if self.settings.first_order else recipe.mte
        target, classes = self._learned_from(task)
        what = {"recipe": how.model_dump(), "pairs": recipe.pairs, "target": target, "seed": seed}
        if classes:
            what["classes"] = classes
        key = content_key(
            [*embeddings.basis(method, self.surrogate), what | embeddings.states_from(method),
             self._labels_from(model, task)]
        )  # fmt: skip
        return Item(
            key=key, kind="mte", category=LM,
            source=f"{model}/{task}", variant=None, recipe=embeddings.recipes[method].index(how),
            pairs=recipe.pairs, target=target, seed=seed, classes=classes,
        )  # fmt: skip

    def _learned_from(self, task: str) -> tuple[Literal["label", "soft"], tuple[str, ...]]:
        """Target and classes of an MTE. As text, outputs of many datasets stand for themselves; a head has the
        dataset's classes, and of a span its ends, which only the soft form has."""
        if self.surrogate.form == "text2text":
            return "label", ()
        entry = self.run.datasets[task]
        soft = entry.task == "span" or self.run.config.mte_target == "soft"
        return "soft" if soft else "label", tuple(entry.classes)

    def dte_files(self) -> list[str]:
        file = self.common.embeddings.dte_file
        return [file(method, name) for method in self.run.config.methods for name in self.targets]

    def mte_files(self, models: Iterable[str] | None = None) -> list[str]:
        """MTE files of some models (None: of every black box)."""
        chosen = [box for box in self.black_boxes if models is None or box[0] in models]
        file = self.common.embeddings.mte_file
        return [file(method, *box) for method in self.run.config.methods for box in chosen]

    # --- settings of the evaluation and of the paper's artifacts ---------------------------------------

    def datasets(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """`TransferDataset` values by id."""
        entries = {name: self.run.datasets[name] for name in names}
        return {name: {"title": e.title, "group": e.group, "domain": e.domain} for name, e in entries.items()}

    def matrix_settings(self) -> dict[str, Any]:
        return {"model": self.settings.transfer.model, "datasets": self.datasets(self.targets)}

    def similarity_settings(self) -> dict[str, Any]:
        return {
            "surrogate": self.run.config.surrogate.name,
            "methods": self.run.config.methods,
            "black_boxes": self.black_boxes,
            "targets": self.targets,
        }

    def evaluation_settings(self) -> dict[str, Any]:
        config = self.run.config
        return {
            "surrogate": config.surrogate.name,
            "methods": config.methods,
            "models": (self.settings.transfer.model,),
            "datasets": self.datasets(self.targets),
            **self.settings.relevance.model_dump(),
            "draws": config.evaluation.draws,
            "seed": config.seed,
        }

    def geometry_settings(self) -> dict[str, Any]:
        return {
            "models": self.settings.models,
            "datasets": self.datasets(self.sources),
            "crossing": [name for name in CROSSING if name in self.sources],
            "clusters": [name for name in CLUSTERS if name in self.sources],
            "seed": self.run.config.evaluation.tsne_seed,
        }

    def table_settings(self, table: str) -> dict[str, Any]:
        return {"table": table, **self.common.table_settings(table)}
