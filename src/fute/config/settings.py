"""The settings of a run: unknown keys are errors, the defaults are the paper's, and `preset` puts others under them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from fute.config.categories import categories_of
from fute.config.cluster import ClusterConfig
from fute.config.data import DataConfig
from fute.config.gate import GateConfig
from fute.config.llm_experiment import LlmConfig, with_targets
from fute.config.lm_experiment import LmConfig
from fute.config.methods import (
    BiasConfig,
    LabelCovConfig,
    LoraConfig,
    MethodConfig,
    MethodId,
    TaskEmbConfig,
    TextEmbConfig,
    TupateConfig,
)
from fute.config.own_entries import OwnEntries
from fute.config.presets import Preset, with_preset
from fute.config.sections import Id, Section
from fute.config.surrogate import SurrogateConfig
from fute.config.unsup import LM, UnsupCategory, UnsupSettings

NO_LLM: dict[str, Any] = {"models": (), "datasets": {}}
"""What `llm: null` stands for: a run without the LLM experiment."""


def _or_no_llm(value: Any) -> Any:
    return NO_LLM if value is None else value


class ControlsConfig(Section):
    """Control embeddings, which show what a ranking owes to the labels themselves."""

    methods: tuple[MethodId, ...] = Field(("tupate",), description="Methods with controls.")
    null_draws: int = Field(3, ge=0, description="Controls per black box whose labels are shuffled over U. 0: none.")
    abc: bool = Field(
        True,
        description="One control per black box, and one per dataset, whose labels are written A, B, C "
        "(form `text2text`).",
    )


class BaselinesConfig(Section):
    """Slips of the authors' code in the baselines of Table 3, to be repeated on request."""

    zps_sa_flip: bool = Field(False, description="ZPS on sentiment analysis compares with the opposite pseudo-labels.")
    self_select_list_as_scores: bool = Field(
        False,
        description="The ranking that an LLM gives as its answer to Self-Select is read as scores, prompt by prompt.",
    )


class EvaluationConfig(Section):
    """Random numbers of the evaluation."""

    draws: int = Field(
        1000,
        ge=10,
        description="Bootstrap draws for confidence intervals: over evaluation rows (Table 3), or over targets.",
    )
    tsne_seed: int = Field(42, description="Seed of the t-SNE maps (Figures 3, 4, A1 and A2).")


class WorkflowConfig(Section):
    """What makes results be computed again."""

    image_trigger: bool = Field(
        False,
        description="A changed container image makes what ran in it again. Set it before the first run: it is part of "
        "what identifies results.",
    )


class Config(Section):
    """One run: every key that its file may have."""

    name: Id = Field(description="Short name of the run: lower case, digits, `.` and `-`.")
    title: str = Field(description="Title of the report.")
    note: str | None = Field(None, description="A text below the report's title. `null`: none.")
    preset: Preset = Field(
        "paper",
        description="Whose defaults hold for keys that are not given: `paper`, or `fute_code`, which follows the "
        "authors' code where it departs from the paper.",
    )
    seed: int = Field(42, description="Seed of the draws that have none of their own.")
    registry: OwnEntries = Field(
        OwnEntries(), description="Categories, datasets, models and prompts of this run, beside those of `config/`."
    )
    data: DataConfig = Field(DataConfig(), description="Where labelled data come from.")
    unsup: dict[UnsupCategory, UnsupSettings] = Field(
        description="The unlabelled texts U: one entry per category of `llm`, and `lm` for the language-model "
        "experiment."
    )
    llm: Annotated[LlmConfig, BeforeValidator(_or_no_llm, json_schema_input_type=LlmConfig | None)] = Field(
        LlmConfig(), description="The LLM experiment. `null`: a run without it."
    )
    lm: LmConfig | None = Field(None, description="The language-model experiment. `null`: a run without it.")
    surrogate: SurrogateConfig = Field(SurrogateConfig(), description="The model that embeddings are learned on.")
    methods: tuple[MethodId, ...] = Field(
        ("taskemb", "tupate"), description="Methods by which embeddings are learned; each has a section."
    )
    taskemb: TaskEmbConfig = Field(TaskEmbConfig(), description="The method `taskemb`.")
    tupate: TupateConfig = Field(TupateConfig(), description="The method `tupate`.")
    tupate_lora: LoraConfig = Field(LoraConfig(), description="The method `tupate-lora`.")
    tupate_bias: BiasConfig = Field(BiasConfig(), description="The method `tupate-bias`.")
    textemb: TextEmbConfig = Field(TextEmbConfig(), description="The method `textemb`.")
    labelcov: LabelCovConfig = Field(LabelCovConfig(), description="The method `labelcov`.")
    gate: GateConfig = Field(GateConfig(), description="The check that surrogates learned, on held-out pairs.")
    mte_target: Literal["label", "verbalizer", "soft"] = Field(
        "label",
        description="How a black box's class stands as label: `label`, the class's name (with heads its index); "
        "`verbalizer`, the prompt's word for it; `soft`, the probabilities of all classes (with heads only).",
    )
    embeddings_per_process: int | None = Field(
        1, ge=1, description="Vectors that one job makes. `null`: all of a method."
    )
    controls: ControlsConfig = Field(ControlsConfig(), description="Control embeddings.")
    baselines: BaselinesConfig = Field(BaselinesConfig(), description="Slips of the authors' code, to be repeated.")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="Random numbers of the evaluation.")
    workflow: WorkflowConfig = Field(WorkflowConfig(), description="What makes results be computed again.")
    cluster: ClusterConfig = Field(ClusterConfig(), description="What the site gives to jobs on a SLURM cluster.")
    threads: int = Field(8, ge=1, description="CPU threads of a job that runs a model.")
    processes: int = Field(
        1,
        ge=1,
        description="Processes that share one job of embedding, fine-tuning or transfer; with GPUs, one per GPU.",
    )
    gpus: int = Field(
        1,
        ge=0,
        description="GPUs of a job of embedding, fine-tuning or transfer, and of a labelling job whose engine is "
        "`transformers`. 0: CPU only.",
    )

    @model_validator(mode="before")
    @classmethod
    def _over_preset(cls, values: Mapping[str, Any], info: ValidationInfo) -> Any:
        known = categories_of(info)
        return with_preset(values) if known is None else with_targets(with_preset(values), known)

    @model_validator(mode="after")
    def _form_fits(self) -> Config:
        """Refuse settings that have a meaning in the other form of surrogate only."""
        if self.surrogate.settings.form == "text2text":
            if self.mte_target == "soft":
                raise ValueError("mte_target 'soft' needs surrogate.settings.form: heads; text has no probabilities")
            return self
        if self.mte_target == "verbalizer":
            raise ValueError("mte_target 'verbalizer' is text, and a head gives none; use label or soft")
        if self.controls.abc:
            raise ValueError("controls.abc writes labels as letters, and a head gives no text; set it to false")
        if "textemb" in self.methods:
            raise ValueError("method textemb reads states at y, and the heads form has no y; drop it")
        if "taskemb" in self.methods and self.taskemb.mte.labels == "sampled":
            raise ValueError("taskemb labels 'sampled' are drawn as text; the heads form takes 'given'")
        return self

    @model_validator(mode="after")
    def _tensor_parallel_sizes(self) -> Config:
        sizes = self.cluster.tensor_parallel_size
        if others := sorted(set(sizes) - set(self.llm.models)):
            raise ValueError(f"cluster.tensor_parallel_size: {others[0]!r} is not among llm.models")
        if low := sorted(name for name, size in sizes.items() if size < 1):
            raise ValueError(f"cluster.tensor_parallel_size.{low[0]}: give at least 1")
        return self

    @model_validator(mode="after")
    def _held_out_rows(self) -> Config:
        for method in self.methods:
            if self.method(method).dte.early_stops and self.data.dev_share == 0:
                raise ValueError(
                    f"{method}.dte stops early on held-out rows, but data.dev_share is 0: raise it, or drop patience"
                )
        return self

    @model_validator(mode="after")
    def _planted_methods(self) -> Config:
        for name, test in self.lm.planted.tests.items() if self.lm else ():
            if others := sorted(set(test.methods or ()) - set(self.methods)):
                raise ValueError(f"lm.planted: {name} tests {others[0]!r}, which is not among methods")
        return self

    def method(self, name: str) -> MethodConfig:
        """The section of a method, by its id."""
        return getattr(self, name.replace("-", "_"))

    def model_of(self, method: str) -> str:
        """The model that a method's vectors are made with: LabelCov's encoder, or the surrogate."""
        return self.labelcov.encoder if method == "labelcov" else self.surrogate.name

    @property
    def vector_models(self) -> tuple[str, ...]:
        """The models of all methods."""
        return tuple(dict.fromkeys(map(self.model_of, self.methods)))

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories with at least one dataset, in the order of tables."""
        return tuple(name for name, datasets in self.llm.datasets.items() if datasets)

    @property
    def corpora(self) -> tuple[str, ...]:
        """Names of the U that this run draws: of its categories, and of the language-model experiment."""
        return (*self.categories, *((LM,) if self.lm else ()))
