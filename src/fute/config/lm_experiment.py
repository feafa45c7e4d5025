"""The section `lm` of the configuration: the language-model experiment (Tables 1 and 2, Figures 3 and A1)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from pydantic import Field, model_validator

from fute.config.datasets import DatasetSettings
from fute.config.finetuning import FinetuneSettings
from fute.config.lm_baselines import LmBaselines
from fute.config.models import ModelEntry
from fute.config.plugins import PluginSettings
from fute.config.sections import ConfigError, Id, Section

LM = "lm"
"""The corpus id of this experiment's U, and the category of what is learned on it."""


class LmDatasets(Section):
    """Datasets by group: `cr` and `qa` are sources and targets of transfer, `domain` targets alone (Table 2)."""

    cr: tuple[Id, ...] = (
        "snli", "mnli", "qqp", "qnli", "sst2", "scitail", "cola", "stsb", "mrpc", "rte", "wnli",
    )  # fmt: skip
    qa: tuple[Id, ...] = (
        "squad2", "newsqa", "hotpotqa", "squad1", "duorc-p", "duorc-s", "drop", "wikihop", "boolq", "comqa", "cq",
    )  # fmt: skip
    domain: tuple[Id, ...] = ("financial-phrasebank", "mqp", "medqa")

    @model_validator(mode="after")
    def _each_once(self) -> LmDatasets:
        names = (*self.cr, *self.qa, *self.domain)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]!r} is named twice; name each dataset once")
        if len(self.cr) + len(self.qa) < 2:
            raise ValueError("name at least two datasets in cr and qa: one to transfer from, one to transfer to")
        return self


class QaFinetune(FinetuneSettings):
    """How a model is fine-tuned on extractive question answering; the defaults are the authors'."""

    learning_rate: float = Field(default=3e-5, gt=0)
    max_tokens: int = Field(default=384, ge=4)


class FinetuneRecipes(Section):
    """Recipes by what is learned: `cr` classes and numbers (BoolQ's classes, too, as the authors have it), `qa`
    spans."""

    cr: FinetuneSettings = FinetuneSettings()
    qa: QaFinetune = QaFinetune()


class LmFinetune(FinetuneRecipes):
    """The recipes of all models; `models` names those that have their own, by id of the model."""

    models: dict[Id, FinetuneRecipes] = Field({})

    def of(self, model: str) -> FinetuneRecipes:
        return self.models.get(model, self)


class TransferConfig(Section):
    """Where the true ranking of sources comes from.

    model: whose transfer it is. matrix: `compute` fine-tunes every source's model on every target, `file` reads a
    published matrix (`fute.evaluation.transfer_matrix_step`). seeds: of the runs; the first seed's model is
    the black box.
    keep_head: go on from the source's head where it fits. runs_per_process: transfer runs one job makes (None: as
    many as one command line can name).
    """

    model: Id = "bert-base"
    matrix: Literal["compute", "file"] = "compute"
    file: str | None = None
    seeds: tuple[int, ...] = Field(default=(42,), min_length=1)
    keep_head: bool = False
    runs_per_process: int | None = Field(24, ge=1)

    @model_validator(mode="after")
    def _file_goes_with_matrix(self) -> TransferConfig:
        if (self.matrix == "file") != (self.file is not None):
            raise ValueError("matrix 'file' needs file, the CSV with the scores, and 'compute' takes none")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)} repeat one; give each once")
        return self


class RelevanceConfig(Section):
    """What NDCG takes as the relevance of a source (`fute.evaluation.transfer.Relevance`)."""

    scale: Literal["percent", "unit"] = "percent"
    gain: Literal["exp2", "linear", "gain_shifted"] = "exp2"


class LmConfig(Section):
    """The language-model experiment.

    models: ids of the model registry, fine-tuned on every source. plugins: black boxes that are Python functions, by
    name. max_input_tokens: of the surrogate, where it is not that of `surrogate.settings`. first_order: learn this
    experiment's vectors in the first order seed of their recipes alone. threads: of a job that fine-tunes a model
    (transfer, too) or labels U by it, where they are not those of the run; jobs of one thread run side by side, which
    short texts gain most by.
    """

    models: tuple[Id, ...] = Field(default=("bert-base", "gpt2", "t5-base"), min_length=1)
    plugins: dict[Id, PluginSettings] = Field({})
    datasets: LmDatasets = LmDatasets()
    finetune: LmFinetune = LmFinetune()
    transfer: TransferConfig = TransferConfig()
    relevance: RelevanceConfig = RelevanceConfig()
    baselines: LmBaselines = LmBaselines()
    max_input_tokens: int | None = Field(None, ge=1)
    first_order: bool = False
    threads: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _names_fit(self) -> LmConfig:
        if self.transfer.model not in self.models:
            raise ValueError(f"transfer.model {self.transfer.model!r} is not among models, {list(self.models)}")
        if unknown := sorted(set(self.finetune.models) - set(self.models)):
            raise ValueError(f"finetune.models.{unknown[0]} is not among models, {list(self.models)}")
        if both := sorted(set(self.plugins) & set(self.models)):
            raise ValueError(f"plugins and models both name {both[0]!r}; rename the plug-in")
        known = (*self.datasets.cr, *self.datasets.qa, *self.datasets.domain)
        for name, plugin in self.plugins.items():
            if plugin.dataset is not None and plugin.dataset not in known:
                raise ValueError(f"plugins.{name}.dataset {plugin.dataset!r} is none of this section's datasets")
        return self


def check_lm(
    lm: LmConfig, models: Mapping[str, ModelEntry], datasets: Mapping[str, DatasetSettings], where: str
) -> None:
    """Check the section against the registries. Raises ConfigError naming the file (`where`) and the key."""
    for name in lm.models:
        if name not in models:
            raise ConfigError(f"{where}: lm.models: {name!r} is not in config/models.yaml; add an entry")
        if models[name].server:
            raise ConfigError(f"{where}: lm.models: {name!r} is a server, and only models with files are fine-tuned")
    for group, names in (("cr", lm.datasets.cr), ("qa", lm.datasets.qa), ("domain", lm.datasets.domain)):
        for name in names:
            key = f"{where}: lm.datasets.{group}"
            if name not in datasets:
                raise ConfigError(f"{key}: {name!r} is not in config/datasets.yaml")
            entry = datasets[name]
            found = "domain" if entry.domain else entry.group
            if found != group:
                raise ConfigError(f"{key}: {name!r} is of group {found!r} in config/datasets.yaml; name it there")


def check_shared(lm: LmConfig, others: Collection[str], max_input_tokens: int, where: str) -> None:
    """Raises ConfigError where a dataset of both experiments would need two vectors of one name.

    others: datasets of the LLM experiment. max_input_tokens: of `surrogate.settings`.
    """
    names = (*lm.datasets.cr, *lm.datasets.qa, *lm.datasets.domain)
    shared = sorted(set(names) & set(others))
    if shared and lm.max_input_tokens not in (None, max_input_tokens):
        raise ConfigError(
            f"{where}: lm.max_input_tokens: {shared[0]!r} is also in llm.datasets, and its embedding is one file; "
            f"use {max_input_tokens}, that of surrogate.settings, or run the experiments one by one"
        )
    if shared and lm.first_order:
        raise ConfigError(
            f"{where}: lm.first_order: {shared[0]!r} is also in llm.datasets, and its embedding is one file; set it to "
            "false, or run the experiments one by one"
        )


def check_heads(lm: LmConfig, where: str) -> None:
    """Raises ConfigError for a plug-in that a surrogate of the heads form can learn nothing from."""
    for name, plugin in lm.plugins.items():
        if plugin.dataset is None:
            raise ConfigError(
                f"{where}: lm.plugins.{name}: a head learns classes, and those of this plug-in are not known; give it "
                "the dataset whose classes it says, or use surrogate.settings.form text2text"
            )
