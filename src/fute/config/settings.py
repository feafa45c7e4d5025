"""The settings of a run: unknown keys are errors, the defaults are the paper's, and `preset` puts others under them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from fute.config.categories import CATEGORIES, Category
from fute.config.data import DataConfig
from fute.config.llm_experiment import LlmConfig
from fute.config.lm_experiment import LM, LmConfig
from fute.config.methods import BiasConfig, LoraConfig, MethodConfig, TaskEmbConfig, TextEmbConfig, TupateConfig
from fute.config.presets import Preset, with_preset
from fute.config.recipes import MethodId
from fute.config.sections import Id, Section
from fute.config.surrogate import SurrogateConfig
from fute.config.unsup import UnsupCategory, UnsupSettings

Corpus = UnsupCategory
"""What a U is drawn for: a category of the LLM experiment, or the language-model experiment."""
NO_LLM: dict[str, Any] = {"models": (), "datasets": {}}
"""What `llm: null` stands for: a run without the LLM experiment."""


class ControlsConfig(Section):
    """Controls of the embeddings: labels permuted over U (null_draws times), labels written A, B, C."""

    methods: tuple[MethodId, ...] = ("tupate",)
    null_draws: int = Field(3, ge=0)
    abc: bool = True


class BaselinesConfig(Section):
    """Slips of the authors' code, to be repeated: see `zero_label` and `self_select_scores`."""

    zps_sa_flip: bool = False
    self_select_list_as_scores: bool = False


class EvaluationConfig(Section):
    """draws: bootstrap draws over evaluation rows. tsne_seed: of Figures 4 and A2."""

    draws: int = Field(1000, ge=10)
    tsne_seed: int = 42


class WorkflowConfig(Section):
    """How rules see what runs them. image_trigger: a changed image makes what ran in it again; set it before the
    first run, since it is part of what identifies results."""

    image_trigger: bool = False


class Config(Section):
    """A run. preset: whose defaults lie under these values. mte_target: what stands for a black box's class: its
    name (for the heads form its index), the prompt's word, or the probabilities of all classes. threads: BLAS and
    torch threads of every model step. embeddings_per_process: vectors one process makes (None: all of a method).
    processes, gpus: of an embedding, fine-tuning or transfer job; gpus also of a label batch whose engine is
    transformers. llm: null for a run without the LLM experiment. lm: the language-model experiment, where given."""

    name: Id
    title: str
    note: str | None = None
    preset: Preset = "paper"
    seed: int = 42
    data: DataConfig = DataConfig()
    unsup: dict[Corpus, UnsupSettings]
    llm: LlmConfig = LlmConfig()
    lm: LmConfig | None = None
    surrogate: SurrogateConfig = SurrogateConfig()
    methods: tuple[MethodId, ...] = ("taskemb", "tupate")
    taskemb: TaskEmbConfig = TaskEmbConfig()
    tupate: TupateConfig = TupateConfig()
    tupate_lora: LoraConfig = LoraConfig()
    tupate_bias: BiasConfig = BiasConfig()
    textemb: TextEmbConfig = TextEmbConfig()
    mte_target: Literal["label", "verbalizer", "soft"] = "label"
    embeddings_per_process: int | None = Field(1, ge=1)
    controls: ControlsConfig = ControlsConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    workflow: WorkflowConfig = WorkflowConfig()
    threads: int = Field(8, ge=1)
    processes: int = Field(1, ge=1)
    gpus: int = Field(1, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _over_preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        values = with_preset(values)
        return values | {"llm": NO_LLM} if "llm" in values and values["llm"] is None else values

    @model_validator(mode="after")
    def _form_fits(self) -> Config:
        """What has a meaning in one form of surrogate only."""
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
    def _held_out_rows(self) -> Config:
        for method in self.methods:
            if self.method(method).dte.early_stops and self.data.dev_share == 0:
                raise ValueError(
                    f"{method}.dte stops early on held-out rows, but data.dev_share is 0: raise it, or drop patience"
                )
        return self

    def method(self, name: str) -> MethodConfig:
        """The section of a method, by its id."""
        return getattr(self, name.replace("-", "_"))

    @property
    def categories(self) -> tuple[Category, ...]:
        """Categories with at least one dataset, in the paper's order."""
        return tuple(c for c in CATEGORIES if self.llm.datasets.get(c))

    @property
    def corpora(self) -> tuple[Corpus, ...]:
        """What a U is drawn for in this run."""
        return (*self.categories, *((LM,) if self.lm else ()))  # type: ignore[return-value]
