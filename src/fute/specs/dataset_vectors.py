"""The settings of step `embed_dataset`: vectors of labelled datasets, which baselines compare."""

from __future__ import annotations

from fute.config.lm_baselines import LmBaseline, TaskEmbBaseline, TextEmbBaseline, TupateBaseline
from fute.config.sections import Section
from fute.specs.finetuning import TaskSettings


class DatasetItem(Section):
    """One dataset. max_tokens, eval_batch_size: as in the model's fine-tuning on it."""

    key: str
    task: TaskSettings
    max_tokens: int
    eval_batch_size: int


class DatasetVectorSpec(Section):
    """The vectors on one model of all datasets that one process embeds.

    seed: of the order of rows. methods: the vectors to make of each dataset.
    """

    model: str
    seed: int
    methods: tuple[LmBaseline, ...]
    textemb: TextEmbBaseline
    taskemb: TaskEmbBaseline
    tupate: TupateBaseline
    items: tuple[DatasetItem, ...]
