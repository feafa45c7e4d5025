"""The settings of steps `score_sources` and `extract_source_scores`: baselines that score sources' models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fute.config.datasets import Task
from fute.config.lm_baselines import LmBaseline
from fute.config.sections import Section


class SourcePair(Section):
    """The model that was fine-tuned on `source`, as a source for `target`. key: content address of its scores."""

    key: str
    source: str
    target: str

    @property
    def cell(self) -> str:
        """Name of the pair in the plan and in a batch's `.keys` file."""
        return pair_cell(self.source, self.target)


def pair_cell(source: str, target: str) -> str:
    """Name of the pair of a source and a target."""
    return f"{source}>{target}"


def pair_origins(source: str, target: str, files: Mapping[str, Path]) -> dict[str, Path]:
    """Kind -> file of all that the scores of a pair are made from. files: those of the step `score_sources`."""
    tuned = {"model": files["model"], "target": files[f"finetuned:{target}"]} if "model" in files else {}
    return {"source": files[f"finetuned:{source}"], "train": files[f"train:{target}"]} | tuned


class SourceScoreSpec(Section):
    """All pairs that one process scores.

    targets: dataset -> its task. rows: most training rows of a target that are read, drawn by the hashes of their ids.
    max_tokens, batch_size: with which the models read them.
    """

    model: str
    methods: tuple[LmBaseline, ...]
    targets: dict[str, Task]
    rows: int
    max_tokens: int
    batch_size: int
    pairs: tuple[SourcePair, ...]


class ExtractSourceScores(Section):
    """The table of all pairs, source by source. keys: `source>target` -> content address of the pairs with a score."""

    model: str
    methods: tuple[LmBaseline, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    keys: dict[str, str]


def methods_of(task: Task, methods: tuple[LmBaseline, ...]) -> tuple[LmBaseline, ...]:
    """Those of some methods that have a score of targets of a task: task vectors of all, LogME of numbers, too."""
    scored: dict[Task, tuple[LmBaseline, ...]] = {
        "classification": methods, "regression": ("logme", "task-vector"), "span": ("task-vector",),
    }  # fmt: skip
    return tuple(name for name in methods if name in scored[task])
