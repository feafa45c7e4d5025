"""One fine-tuned model, and the labels that it gives: the settings of steps that fine-tune it and let it label U."""

from __future__ import annotations

from pydantic import Field

from fute.config.datasets import DatasetSettings, Metric, Scale, Task
from fute.config.finetuning import FinetuneSettings
from fute.config.sections import Section


class TaskSettings(Section):
    """What is learned on a dataset: classes (names in index order), numbers (their scale), or spans of a context."""

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
    """One model on one dataset. The first seed's model is kept; of other seeds only the score."""

    model: str
    task: TaskSettings
    recipe: FinetuneSettings
    seeds: tuple[int, ...] = Field(default=(42,), min_length=1)


class LabelSettings(Section):
    """How a fine-tuned model labels U."""

    model: str
    dataset: str
    batch_size: int = Field(default=32, ge=1)
    autocast: bool = False
