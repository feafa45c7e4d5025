"""The vectors of labelled datasets that baselines compare: what `embed-dataset` is told."""

from __future__ import annotations

from fute.config.lm_baselines import LmBaseline, TaskEmbBaseline, TextEmbBaseline, TupateBaseline
from fute.config.sections import Section
from fute.specs.finetuning import TaskSettings


class DatasetVectorSpec(Section):
    """The vectors of one dataset on one model.

    max_tokens, eval_batch_size, autocast: as the model is fine-tuned on the dataset. seed: of the order of rows.
    methods: those of `VECTORS` that are asked for.
    """

    model: str
    task: TaskSettings
    max_tokens: int
    eval_batch_size: int
    autocast: bool
    seed: int
    methods: tuple[LmBaseline, ...]
    textemb: TextEmbBaseline
    taskemb: TaskEmbBaseline
    tupate: TupateBaseline
