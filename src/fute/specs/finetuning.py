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


class FinetuneSpec(Section):
    """One model fine-tuned on one dataset. The model of the first seed is kept; of other seeds only the score is."""

    model: str
    task: TaskSettings
    recipe: FinetuneSettings
    seeds: tuple[int, ...] = Field(default=(42,), min_length=1)


class LabelSettings(Section):
    """Settings for labelling U by a fine-tuned model."""

    model: str
    dataset: str
    batch_size: int = Field(default=32, ge=1)
    autocast: bool = False
