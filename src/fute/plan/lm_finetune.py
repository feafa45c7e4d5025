"""Fine-tuning in the plan of the language-model experiment: which models are tuned on which datasets, and how."""

from __future__ import annotations

from functools import cache, cached_property

from fute import paths
from fute.artifacts import content_key
from fute.config.finetuning import FinetuneSettings
from fute.config.lm_experiment import LmConfig
from fute.config.run import Run
from fute.data.model_folder import model_identity
from fute.plan.argument_files import Argument, settings_json
from fute.plan.batches import BatchPlanner, StepBatches
from fute.plan.data import DataPlan
from fute.specs.finetuning import ExtractFinetuned, FinetuneItem, FinetuneSpec, TaskSettings, finetune_cell
from fute.steps import code


class FinetunePlan:
    """Language models fine-tuned on datasets: the black boxes, and what transfer and baselines read.

    A cell is one fine-tuning: a model, a dataset and a seed. settings: the section `lm` of the configuration.
    """

    def __init__(self, run: Run, settings: LmConfig, data: DataPlan, planner: BatchPlanner) -> None:
        self.run, self.settings, self.data, self.planner = run, settings, data, planner
        self.computes_matrix = settings.transfer.matrix == "compute"

    @cached_property
    def models(self) -> tuple[tuple[str, str], ...]:
        """(model, dataset) of everything that is fine-tuned.

        They are the black boxes and, where anything reads it, the transfer model on the domain targets: its scores
        without transfer, and the weights that TaskEmb and task vectors of the baselines read.
        """
        models = [(model, dataset) for model in self.settings.models for dataset in self.data.lm_sources]
        if self.computes_matrix or {"taskemb", "task-vector"} & set(self.settings.baselines.methods):
            models += [(self.settings.transfer.model, dataset) for dataset in self.settings.datasets.domain]
        return tuple(models)

    def task(self, dataset: str) -> TaskSettings:
        """What is learned on a dataset: classes, numbers or spans."""
        return TaskSettings.of(dataset, self.run.datasets[dataset])

    def recipe(self, model: str, dataset: str) -> FinetuneSettings:
        """How a model is fine-tuned on a dataset."""
        recipes = self.settings.finetune.of(model)
        return recipes.qa if self.run.datasets[dataset].task == "span" else recipes.cr

    def seeds(self, model: str) -> tuple[int, ...]:
        """Seeds of a model's fine-tunings: those of transfer where its scores are compared with transfer's."""
        transfer = self.settings.transfer
        return transfer.seeds if model == transfer.model and self.computes_matrix else transfer.seeds[:1]

    @cached_property
    def runs(self) -> dict[str, dict[str, FinetuneItem]]:
        """Model -> cell -> fine-tuning."""
        code_sha256 = self.planner.run_by("train", "finetune_model")
        runs: dict[str, dict[str, FinetuneItem]] = {}
        for model, dataset in self.models:
            recipe, task = self.recipe(model, dataset), self.task(dataset)
            for seed in self.seeds(model):
                kept = seed == self.seeds(model)[0]
                key = content_key([self._key(model, dataset, seed), kept, code_sha256])
                run = FinetuneItem(key=key, task=task, recipe=recipe, seed=seed, kept=kept)
                runs.setdefault(model, {})[run.cell] = run
        return runs

    @cached_property
    def batches(self) -> dict[str, StepBatches]:
        """Model -> the batches of its fine-tunings."""
        size, batches = self.settings.datasets_per_process, {}
        for model, runs in self.runs.items():
            keys, files = {cell: run.key for cell, run in runs.items()}, paths.finetuned_batch(model, "*")
            batches[model] = self.planner.dataset_batches("finetune_model", model, files, keys, size)
        return batches

    def batch_runs(self, model: str, batch: str) -> list[FinetuneItem]:
        """Fine-tunings of a new batch."""
        return [self.runs[model][cell] for cell in self.batches[model].new[batch]]

    def batch_files(self, model: str, dataset: str) -> list[str]:
        """The batches that hold a dataset's fine-tunings, one or several."""
        return sorted({self.batches[model].file(finetune_cell(dataset, seed)) for seed in self.seeds(model)})

    def inputs(self, model: str, batch: str) -> dict[str, str]:
        """Name -> file of the rows that a new batch reads."""
        datasets = dict.fromkeys(run.task.dataset for run in self.batch_runs(model, batch))
        return {f"{split}:{name}": paths.rows(name, split) for name in datasets for split in ("train", "test")}

    @cache
    def spec(self, model: str, batch: str) -> Argument:
        """Settings of a new batch as canonical JSON (a `FinetuneSpec`)."""
        return settings_json(FinetuneSpec(model=model, items=self.batch_runs(model, batch)))

    def extract_settings(self, model: str, dataset: str) -> Argument:
        """Settings of the step that takes a dataset's fine-tunings out of their batches."""
        seeds = self.seeds(model)
        keys = {seed: self.runs[model][finetune_cell(dataset, seed)].key for seed in seeds}
        return settings_json(ExtractFinetuned(model=model, dataset=dataset, seeds=seeds, keys=keys))

    def key(self, model: str, dataset: str) -> str:
        """What identifies a fine-tuned model: that of the first seed, whose weights are kept."""
        return self._key(model, dataset, self.seeds(model)[0])

    @cache
    def _key(self, model: str, dataset: str, seed: int) -> str:
        """What identifies the model that one fine-tuning leaves."""
        # the rows that it is scored on, too: for others it is fine-tuned again, and on a GPU it is another model then
        made_with = [self.task(dataset).model_dump(mode="json"), self.recipe(model, dataset).model_dump(), seed]
        return content_key(
            [model_identity(self.run.models[model]), made_with, self.data.train_recipe(dataset),
             self.data.test_recipe(dataset), code("finetune_model")]
        )  # fmt: skip

    # --- what its jobs run on ---------------------------------------------------------------------------

    @property
    def threads(self) -> int:
        """Threads of a job that fine-tunes a model, transfer included, or labels by one."""
        return self.settings.threads or self.run.config.threads

    @property
    def torch(self) -> int:
        """1 where such a job must be the machine's only torch process, else 0.

        Several threads of two such processes wait for each other; of one thread each, two on two cores get 1.4
        (256 tokens) to 1.9 times (30 tokens) as much done.
        """
        return int(self.threads > 1)
