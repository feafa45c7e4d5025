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
    """A model fine-tuned on one dataset. The model of the first seed is kept; of other seeds only the score is."""

    key: str
    task: TaskSettings
    recipe: FinetuneSettings
    seeds: tuple[int, ...] = Field(default=(42,), min_length=1)


class FinetuneSpec(Section):
    """All datasets that one process fine-tunes a model on."""

    model: str
    items: tuple[FinetuneItem, ...]


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
