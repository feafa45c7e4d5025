"""The settings of steps that fine-tune a model and let it label U."""

from __future__ import annotations

from pydantic import Field

from fute.config.datasets import DatasetSettings, Metric, Scale, Task
from fute.config.finetuning import FinetuneSettings
from fute.config.sections import Section


class TaskSettings(Section):
    """Task of a dataset: to predict classes (names in index order), numbers (with a scale), or spans of a context."""

    dataset: str
    task: Task
    metric: Metric
    classes: tuple[str, ...] = ()
    scale: Scale | None = None

    @classmethod
    def of(cls, dataset: str, entry: DatasetSettings) -> TaskSettings:
        """The task of an entry of the dataset registry."""
        return cls(dataset=dataset, **{name: getattr(entry, name) for name in ("task", "metric", "classes", "scale")})


class FinetuneItem(Section):
    """One fine-tuning of a model on a dataset. kept: the model is; otherwise only its score."""

    key: str
    task: TaskSettings
    recipe: FinetuneSettings
    seed: int
    kept: bool

    @property
    def cell(self) -> str:
        """Name of the fine-tuning in the plan and in a batch's `.keys` file."""
        return finetune_cell(self.task.dataset, self.seed)


def finetune_cell(dataset: str, seed: int) -> str:
    """Name of the fine-tuning of a model on a dataset with a seed."""
    return f"{dataset}@{seed}"


class FinetuneSpec(Section):
    """All fine-tunings of a model that one process does."""

    model: str
    items: tuple[FinetuneItem, ...]


class ExtractFinetuned(Section):
    """A model's fine-tunings on one dataset. keys: seed -> key, which names it in a batch.

    seeds: in the order of the scores; the model of the first is kept.
    """

    model: str
    dataset: str
    seeds: tuple[int, ...] = Field(min_length=1)
    keys: dict[int, str]


class LabelItem(Section):
    """Settings for labelling U by the model that was fine-tuned on a dataset."""

    key: str
    dataset: str
    batch_size: int = Field(default=32, ge=1)
    autocast: bool = False


class LabelSpec(Section):
    """All fine-tuned models of one language model that one process labels U by."""

    model: str
    items: tuple[LabelItem, ...]
