"""The settings of a run: unknown keys are errors, the defaults are the paper's, and `preset` puts others under them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from fute.config.lm_experiment import LM, LmConfig
from fute.config.presets import Preset, with_preset
from fute.config.recipes import (
    BiasSettings,
    LoraSettings,
    MethodId,
    MethodSettings,
    SurrogateSettings,
    TaskEmbSettings,
    TextEmbSettings,
    TupateSettings,
)
from fute.config.sections import Id, Section
from fute.data.crossfit import UnsupSettings
from fute.llm.engine import EngineSettings

Category = Literal["sa", "nli"]
CATEGORIES: tuple[Category, ...] = ("sa", "nli")
Corpus = Literal["sa", "nli", "lm"]
"""What a U is drawn for: a category of the LLM experiment, or the language-model experiment."""
NO_LLM: dict[str, Any] = {"models": (), "datasets": {}}
"""What `llm: null` stands for: a run without the LLM experiment."""


class DataConfig(Section):
    """Where labelled data come from, and how much of it is used.

    root: folder of `{dataset}/{split}.jsonl.gz` (source files) and of the U files, best given on the command
    line. test_rows: evaluation rows a dataset (None: the registry's, 1,000 in the paper). train_rows: labelled rows
    a dataset gives to learn from, `dev_share` of them held out (None: all).
    """

    source: Literal["builtin", "files", "hub"] = "hub"
    root: str | None = None
    test_rows: int | None = Field(None, ge=2)
    train_rows: int | None = Field(None, ge=2)
    dev_share: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _root(self) -> DataConfig:
        if self.source == "files" and self.root is None:
            raise ValueError("source 'files' needs root: the folder with the data, e.g. --config data='{root: DIR}'")
        return self


class LlmConfig(Section):
    """The LLM experiment: which LLMs, prompts and target datasets, and how the LLMs are asked.

    prompts: numbers in `config/prompts/{category}.yaml`, or "all". calibration: "unsup" subtracts each
    prompt's mean class log-score over U (the paper has none). max_text_words: cut of every text before it
    enters a prompt.
    """

    models: tuple[Id, ...] = ("llama-2-13b", "llama-2-70b", "mixtral-8x7b")
    prompts: dict[Category, tuple[int, ...] | Literal["all"]] = Field({"sa": "all", "nli": "all"})
    datasets: dict[Category, tuple[Id, ...]] = Field(
        {"sa": ("rotten-tomatoes", "imdb", "sst2"), "nli": ("wanli", "cb", "anli")}
    )
    engine: EngineSettings = EngineSettings(engine="vllm")
    system: str | None = None
    max_text_words: int | None = Field(None, ge=8)
    calibration: Literal["none", "unsup"] = "none"
    nli_metric: Literal["accuracy", "macro_f1"] = "accuracy"


class SurrogateConfig(Section):
    """The surrogate language model: a registry entry and how it is run."""

    name: Id = "t5-base"
    settings: SurrogateSettings = SurrogateSettings(family="encoder-decoder")


class MethodConfig(Section):
    """Recipes of one method. pairs: at most so many (x, y) pairs a vector (None: all). mte, dte: how model task
    embeddings and dataset task embeddings are learned. dte_span: what a dataset of extractive QA changes in dte."""

    SAME: ClassVar[tuple[str, ...]] = ()
    """Settings in which mte and dte must agree, or their vectors could not be compared."""

    pairs: int | None = Field(None, ge=1)
    mte: MethodSettings
    dte: MethodSettings
    dte_span: dict[str, Any] = Field({})

    @model_validator(mode="after")
    def _comparable(self) -> MethodConfig:
        for kind, recipe in (("dte", self.dte), ("dte_span", self.dte_for("span"))):
            for name in self.SAME:
                if getattr(self.mte, name) != getattr(recipe, name):
                    raise ValueError(f"mte.{name} and {kind}.{name} differ, so their vectors could not be compared")
        return self

    def dte_for(self, task: str) -> MethodSettings:
        """The recipe of a dataset's embedding, by the task of its registry entry."""
        if task != "span" or not self.dte_span:
            return self.dte
        try:
            return type(self.dte).model_validate(self.dte.model_dump() | self.dte_span)
        except ValidationError as error:
            what = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise ValueError(f"dte with dte_span's {self.dte_span} is no recipe; change dte_span too: {what}") from None


class TaskEmbConfig(MethodConfig):
    SAME = ("reduction", "token_reduction", "labels", "reduce", "trained", "exclude")

    mte: TaskEmbSettings = TaskEmbSettings(epochs=1, batch_size=128)
    dte: TaskEmbSettings = TaskEmbSettings(epochs=3, batch_size=32)


class TupateConfig(MethodConfig):
    SAME = TupateSettings.START

    mte: TupateSettings = TupateSettings(epochs=1, batch_size=128, learning_rate=1e-3, dropout=0.15)
    dte: TupateSettings = TupateSettings(batch_size=32, learning_rate=1e-2, dropout=0.15, max_epochs=120, patience=4)


class LoraConfig(MethodConfig):
    SAME = ("layers", "rank", "alpha", "init_seed")

    mte: LoraSettings = LoraSettings(epochs=1, batch_size=128)
    dte: LoraSettings = LoraSettings(batch_size=32, max_epochs=120, patience=4)


class BiasConfig(MethodConfig):
    SAME = ("layers",)

    mte: BiasSettings = BiasSettings(epochs=1, batch_size=128)
    dte: BiasSettings = BiasSettings(batch_size=32, max_epochs=120, patience=4)


class TextEmbConfig(MethodConfig):
    mte: TextEmbSettings = TextEmbSettings()
    dte: TextEmbSettings = TextEmbSettings()


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
