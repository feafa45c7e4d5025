"""The section `lm` of the configuration: the language-model experiment (Tables 1 and 2, Figures 3 and A1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field, model_validator

from fute.config.datasets import DatasetSettings
from fute.config.finetuning import MAX_TOKENS, RATE, FinetuneSettings
from fute.config.lm_baselines import LmBaselines
from fute.config.models import ModelEntry
from fute.config.planted import PlantedConfig
from fute.config.plugins import PluginSettings
from fute.config.sections import ConfigError, Id, Section


class LmDatasets(Section):
    """The datasets of the experiment by group: ids of `config/datasets.yaml`."""

    cr: tuple[Id, ...] = Field(
        ("snli", "mnli", "qqp", "qnli", "sst2", "scitail", "cola", "stsb", "mrpc", "rte", "wnli"),
        description="Classification and regression: sources and targets of transfer.",
    )
    qa: tuple[Id, ...] = Field(
        ("squad2", "newsqa", "hotpotqa", "squad1", "duorc-p", "duorc-s", "drop", "wikihop", "boolq", "comqa", "cq"),
        description="Question answering: sources and targets of transfer.",
    )
    domain: tuple[Id, ...] = Field(
        ("financial-phrasebank", "mqp", "medqa"),
        description="Targets from finance and medicine (Table 2); no model is transferred from them.",
    )

    @model_validator(mode="after")
    def _each_once(self) -> LmDatasets:
        if twice := sorted({name for name in self.targets if self.targets.count(name) > 1}):
            raise ValueError(f"{twice[0]!r} is named twice; name each dataset once")
        if len(self.sources) < 2:
            raise ValueError("name at least two datasets in cr and qa: one to transfer from, one to transfer to")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """Datasets that models are transferred from."""
        return (*self.cr, *self.qa)

    @property
    def targets(self) -> tuple[str, ...]:
        """Datasets that models are transferred to: all."""
        return (*self.sources, *self.domain)


class QaFinetune(FinetuneSettings):
    """How a model is fine-tuned on extractive question answering; the defaults are the authors'."""

    learning_rate: float = Field(default=3e-5, gt=0, description=RATE)
    max_tokens: int = Field(default=384, ge=4, description=MAX_TOKENS)


class FinetuneRecipes(Section):
    """Recipes of fine-tuning, by what is learned."""

    cr: FinetuneSettings = Field(
        FinetuneSettings(), description="Recipe where classes or numbers are learned; BoolQ's classes, too."
    )
    qa: QaFinetune = Field(QaFinetune(), description="Recipe where spans are learned: extractive question answering.")


class LmFinetune(FinetuneRecipes):
    """How models are fine-tuned on the datasets."""

    models: dict[Id, FinetuneRecipes] = Field(
        {}, description="Own recipes of single models, by id: `cr` and `qa` in the place of those above."
    )

    def of(self, model: str) -> FinetuneRecipes:
        return self.models.get(model, self)


class TransferConfig(Section):
    """Where the true ranking of sources comes from."""

    model: Id = Field("bert-base", description="The model that is transferred: one of `lm.models`.")
    matrix: Literal["compute", "file"] = Field(
        "compute",
        description="`compute`: fine-tune every source's model on every target. `file`: read the scores from a file.",
    )
    file: str | None = Field(
        None,
        description="CSV file for `matrix: file`, with the columns `target`, `source` and `score` (in percent); direct "
        "runs have the source `none`.",
    )
    seeds: tuple[int, ...] = Field(
        default=(42,), min_length=1, description="Seeds of the runs. The first seed's model is the black box."
    )
    keep_head: bool = Field(
        False, description="Start from the source's head where its shape fits. `false`: every run draws a new head."
    )
    runs_per_process: int | None = Field(24, ge=1, description="Transfer runs that one job makes. `null`: all.")

    @model_validator(mode="after")
    def _file_goes_with_matrix(self) -> TransferConfig:
        if (self.matrix == "file") != (self.file is not None):
            raise ValueError("matrix 'file' needs file, the CSV with the scores, and 'compute' takes none")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)} repeat one; give each once")
        return self


class RelevanceConfig(Section):
    """What NDCG takes as the relevance of a source."""

    scale: Literal["percent", "unit"] = Field(
        "percent", description="Scale of scores in NDCG: `percent` is 0 to 100, `unit` 0 to 1."
    )
    gain: Literal["exp2", "linear", "gain_shifted"] = Field(
        "exp2",
        description="Gain of a source with score r: `exp2` is 2^r - 1, `linear` is r, `gain_shifted` is the "
        "improvement over direct fine-tuning, 0 where there is none.",
    )


class LmConfig(Section):
    """The language-model experiment (Tables 1 and 2, Figures 3 and A1): which model to transfer from."""

    models: tuple[Id, ...] = Field(
        default=("bert-base", "gpt2", "t5-base"),
        min_length=1,
        description="Models that are fine-tuned on every source: ids of `config/models.yaml`.",
    )
    plugins: dict[Id, PluginSettings] = Field({}, description="Black boxes that are Python functions, by name.")
    datasets: LmDatasets = Field(LmDatasets(), description="The datasets, by group.")
    finetune: LmFinetune = Field(LmFinetune(), description="How models are fine-tuned.")
    transfer: TransferConfig = Field(TransferConfig(), description="Where the true ranking of sources comes from.")
    relevance: RelevanceConfig = Field(RelevanceConfig(), description="What NDCG takes as the relevance of a source.")
    baselines: LmBaselines = Field(LmBaselines(), description="The baselines of Tables 1 and 2.")
    planted: PlantedConfig = Field(
        PlantedConfig(), description="Tests with black boxes whose right order is known, because it was made."
    )
    datasets_per_process: int | None = Field(
        1,
        ge=1,
        description="Datasets that one job fine-tunes a model on (each seed counts as one), labels U by the models of, "
        "or turns into vectors for the baselines. `null`: all, which saves the starts of small models.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="CPU threads of a job that fine-tunes, transfers or labels with a model. Jobs of one thread run "
        "side by side, which helps most with short texts. `null`: as `threads` of the run.",
    )

    @model_validator(mode="after")
    def _names_fit(self) -> LmConfig:
        if self.transfer.model not in self.models:
            raise ValueError(f"transfer.model {self.transfer.model!r} is not among models, {list(self.models)}")
        if unknown := sorted(set(self.finetune.models) - set(self.models)):
            raise ValueError(f"finetune.models.{unknown[0]} is not among models, {list(self.models)}")
        if both := sorted(set(self.plugins) & set(self.models)):
            raise ValueError(f"plugins and models both name {both[0]!r}; rename the plug-in")
        known = self.datasets.targets
        for name, plugin in self.plugins.items():
            if plugin.dataset is not None and plugin.dataset not in known:
                raise ValueError(f"plugins.{name}.dataset {plugin.dataset!r} is none of this section's datasets")
            if plugin.box is not None and not self.is_finetuned(plugin.box):
                raise ValueError(f"plugins.{name}.box {plugin.box!r} is no model/dataset of this section")
        for test, ladder in self.planted.ladders.items():
            for target, boxes in ladder.boxes.items():
                if target not in known:
                    raise ValueError(f"planted.ladders.{test}: {target!r} is none of this section's datasets")
                self._boxes_exist(f"planted.ladders.{test}", [*boxes, *ladder.nulls.get(target, ())])
        for test, retrieval in self.planted.retrievals.items():
            for name in retrieval.datasets:
                if not self.is_finetuned(f"{retrieval.model}/{name}"):
                    raise ValueError(f"planted.retrievals.{test}: {retrieval.model}/{name} is no model/dataset")
            self._boxes_exist(f"planted.retrievals.{test}", retrieval.nulls)
        return self

    @model_validator(mode="after")
    def _loss_curves_have_gradients(self) -> LmConfig:
        recipes = self.finetune.of(self.transfer.model)
        for group, recipe in (("cr", recipes.cr), ("qa", recipes.qa)):
            few = recipe.steps is not None and recipe.steps < 3
            if few and "curvegrad" in self.baselines.methods and getattr(self.datasets, group):
                raise ValueError(
                    f"baselines.methods: curvegrad needs loss curves of three steps or more, and finetune.{group} of "
                    f"{self.transfer.model} has steps {recipe.steps}; raise it, or leave curvegrad out"
                )
        return self

    def _boxes_exist(self, place: str, boxes: Iterable[str]) -> None:
        if others := [box for box in boxes if box not in self.plugins and not self.is_finetuned(box)]:
            raise ValueError(f"{place}: {others[0]!r} is neither a plug-in nor a model/dataset")

    def is_finetuned(self, box: str) -> bool:
        """True if `model/dataset` is a black box of this section: a model that is fine-tuned on a source."""
        model, _, dataset = box.partition("/")
        return model in self.models and dataset in self.datasets.sources


def check_lm(
    lm: LmConfig, models: Mapping[str, ModelEntry], datasets: Mapping[str, DatasetSettings], where: str
) -> None:
    """Check the section against the registries. Raises ConfigError naming the file (`where`) and the key."""
    for name in lm.models:
        if name not in models:
            raise ConfigError(f"{where}: lm.models: {name!r} is not in config/models.yaml; add an entry")
        if models[name].server:
            raise ConfigError(f"{where}: lm.models: {name!r} is a server, and only models with files are fine-tuned")
        if models[name].tuned:
            raise ConfigError(f"{where}: lm.models: {name!r} is fine-tuned by the run, for llm.models alone")
    for group, names in (("cr", lm.datasets.cr), ("qa", lm.datasets.qa), ("domain", lm.datasets.domain)):
        for name in names:
            key = f"{where}: lm.datasets.{group}"
            if name not in datasets:
                raise ConfigError(f"{key}: {name!r} is not in config/datasets.yaml; correct the id, or add an entry")
            entry = datasets[name]
            own = "domain" if entry.domain else entry.group
            if own != group:
                raise ConfigError(f"{key}: {name!r} is of group {own!r} in config/datasets.yaml; name it there")


def check_heads(lm: LmConfig, where: str) -> None:
    """Raises ConfigError for a plug-in that a surrogate of the heads form can learn nothing from."""
    for name, plugin in lm.plugins.items():
        if plugin.dataset is None:
            raise ConfigError(
                f"{where}: lm.plugins.{name}: a head learns classes, and those of this plug-in are not known; give it "
                "the dataset whose classes it says, or use surrogate.settings.form text2text"
            )
