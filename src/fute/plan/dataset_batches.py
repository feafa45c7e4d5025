"""Batches whose cells belong to datasets of one language model: fine-tunings, their labels of U, vectors of datasets.

A cell's files keep their own paths: a step of a second takes them out of the batch. So one process serves many
datasets, and yet another dataset, another recipe of one, or one seed more makes what depends on it alone. Jobs that
label U and embed datasets read the fine-tuned models that are finished: each is a batch of its own, and not one with
the fine-tunings, since U and the baselines' settings change more often than the models.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from fute import batching, paths
from fute.plan.batches import BatchPlanner

Cell = tuple[str, str]
"""Language model, and the name of a cell: a dataset, of fine-tunings `dataset@seed`."""


class DatasetBatches:
    """The batches of one step.

    file: path of a batch, from model and name. keys: key of every cell. size: most cells of a new batch; None: any
    number.
    """

    def __init__(self, file: paths.File, keys: Mapping[Cell, str], size: int | None, planner: BatchPlanner) -> None:
        self.file, self.keys, self.size, self.planner = file, keys, size, planner

    @cached_property
    def plans(self) -> dict[str, batching.BatchPlan]:
        """Model -> which batch holds which cell."""
        asked, plans = self.planner.requested.models, {}
        for model in dict.fromkeys(model for model, _ in self.keys):
            keys = {
                cell: key
                for cell, key in self.keys_of(model).items()
                if asked is None or (model, cell.partition("@")[0]) in asked
            }
            plans[model] = self.planner.plan(self.file(model, "*"), [keys], self.size)
        return plans

    def keys_of(self, model: str) -> dict[str, str]:
        """Key of every cell of a model."""
        return {cell: key for (of, cell), key in self.keys.items() if of == model}

    def batch_file(self, model: str, cell: str) -> str:
        """The batch that holds a cell."""
        return self.file(model, self.plans[model].batch_of[cell])

    def cells(self, model: str, batch: str) -> tuple[str, ...]:
        """The cells of a new batch."""
        return self.plans[model].new[batch]
