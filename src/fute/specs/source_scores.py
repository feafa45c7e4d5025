"""The settings of step `score_sources`: baselines that read the targets' labelled rows by every source's model."""

from __future__ import annotations

from fute.config.datasets import Task
from fute.config.lm_baselines import LmBaseline
from fute.config.sections import Section


class SourceScoreSettings(Section):
    """Settings of step `score_sources`.

    targets: dataset -> its task. rows: most training rows of a target that are read, drawn by the hashes of their ids.
    max_tokens, batch_size: with which the models read them.
    """

    model: str
    methods: tuple[LmBaseline, ...]
    targets: dict[str, Task]
    rows: int
    max_tokens: int
    batch_size: int
