"""What a black-box language model learns and how: read at planning time, so nothing heavy is imported here."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fute.artifacts import content_key
from fute.config.datasets import DatasetSettings, Metric, Scale, Task


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSettings(_Frozen):
    """What is learned on a dataset: class names in index order, or a scale of numbers, or spans of a context."""

    dataset: str
    task: Task
    metric: Metric
    classes: tuple[str, ...] = ()
    scale: Scale | None = None

    @classmethod
    def of(cls, dataset: str, entry: DatasetSettings) -> TaskSettings:
        """The task of an entry of the dataset registry."""
        return cls(dataset=dataset, **{name: getattr(entry, name) for name in ("task", "metric", "classes", "scale")})


class TrainingSettings(_Frozen):
    """Length and optimiser of a training on a dataset's rows.

    epochs: passes over all rows; or steps: so many optimiser steps, on rows in a seeded order, from the first
    again where they do not suffice. warmup: share of the steps. Fewer optimiser steps than min_steps are an error.
    """

    epochs: int | None = Field(default=3, ge=1)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-5, gt=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    min_steps: int = Field(default=10, ge=1)
    bucket_batches: int = Field(default=16, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _steps_take_the_place_of_epochs(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("steps") is not None and "epochs" not in given:
            return given | {"epochs": None}
        return given

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSettings:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        return self

    def optimiser(self) -> dict[str, Any]:
        """Keyword arguments of `fute.surrogate.training.train`."""
        named = ("batch_size", "learning_rate", "weight_decay", "warmup", "clip", "bucket_batches")
        return {"epochs": self.epochs or 1} | {name: getattr(self, name) for name in named}


class FinetuneSettings(TrainingSettings):
    """How a model is fine-tuned on a dataset; the defaults are the authors' for classification and regression.

    max_tokens: of one input, both segments with their marks; longer ones are cut. layers: only the last so many
    blocks and what stands above them are trained (None: all). autocast: matrix products in bf16; weights and
    optimiser stay in fp32. dropout: the model's own; without it a short run is a quarter faster on a CPU.
    """

    max_tokens: int = Field(default=128, ge=4)
    layers: int | None = Field(default=None, ge=1)
    autocast: bool = False
    eval_batch_size: int = Field(default=32, ge=1)
    dropout: bool = True


class FinetuneSpec(_Frozen):
    """One model on one dataset. The model of the first seed is kept; of the others the score alone."""

    model: str
    task: TaskSettings
    recipe: FinetuneSettings
    seeds: tuple[int, ...] = Field(default=(42,), min_length=1)


class LabelSettings(_Frozen):
    """How a fine-tuned model labels U."""

    model: str
    dataset: str
    batch_size: int = Field(default=32, ge=1)
    autocast: bool = False


class Target(_Frozen):
    """A dataset as the target of transfer runs, with the recipe that every source is fine-tuned on it by."""

    task: TaskSettings
    recipe: FinetuneSettings


class TransferRun(_Frozen):
    """One fine-tuning of the encoder that `source` left, on `target`."""

    key: str
    source: str
    target: str
    seed: int


class TransferSpec(_Frozen):
    """All transfer runs of one model that one process makes.

    keep_head: go on from the source's head where all its shapes fit, as the authors' code does; by default every
    run draws one anew, as Vu et al. do.
    """

    model: str
    keep_head: bool = False
    targets: tuple[Target, ...]
    runs: tuple[TransferRun, ...]

    @model_validator(mode="after")
    def _whole(self) -> TransferSpec:
        known = Counter(target.task.dataset for target in self.targets)
        if twice := sorted(name for name, count in known.items() if count > 1):
            raise ValueError(f"two targets have the dataset id {twice[0]!r}; give each dataset an id of its own")
        for run in self.runs:
            if run.target not in known:
                raise ValueError(f"run {run.source} -> {run.target}: there is no target {run.target!r} in the spec")
            if run.source == run.target:
                raise ValueError(f"run {run.source} -> {run.target}: a dataset is no transfer source of itself")
        return self

    def target(self, dataset: str) -> Target:
        return next(target for target in self.targets if target.task.dataset == dataset)


def transfer_key(
    *, model: Any, source: Any, target: Target, data: Any, seed: int, keep_head: bool, code_sha256: str
) -> str:
    """Content address of a transfer run. model, source, data: JSON values that identify the pretrained weights, the
    source's fine-tuning, and the target's training and evaluation rows."""
    return content_key(["transfer", model, source, target.model_dump(mode="json"), data, seed, keep_head, code_sha256])


class ExtractTransfer(_Frozen):
    """One (source, target) pair, taken out of the batches of its seeds."""

    model: str
    source: str
    target: str
    keys: dict[int, str] = Field(min_length=1)


class PluginSettings(_Frozen):
    """A black box that is a Python function: `callable` is `module:function`, imported from `folder`.

    dataset: where given, the function also gets this dataset's training rows. options: passed on by name.
    """

    callable: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    folder: str
    dataset: str | None = None
    options: dict[str, bool | int | float | str] = {}


Within = Literal["context", "anywhere"]
"""Where a span may lie: in the second segment (evaluation), or in any (the texts of U, most of which have one)."""
