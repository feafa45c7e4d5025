"""The settings of step `embed_dataset`: vectors of a labelled dataset, which baselines compare."""

from __future__ import annotations

from fute.config.lm_baselines import LmBaseline, TaskEmbBaseline, TextEmbBaseline, TupateBaseline
from fute.config.sections import Section
from fute.specs.finetuning import TaskSettings


class DatasetVectorSpec(Section):
    """The vectors of one dataset on one model.

    max_tokens, eval_batch_size: as in the model's fine-tuning on the dataset. seed: of the order of rows.
    methods: the vectors to make.
    """

    model: str
    task: TaskSettings
    max_tokens: int
    eval_batch_size: int
    seed: int
    methods: tuple[LmBaseline, ...]
    textemb: TextEmbBaseline
    taskemb: TaskEmbBaseline
    tupate: TupateBaseline
