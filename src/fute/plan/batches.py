"""What the plans of labels, vectors and transfer runs share: finished batches, new ones, and what runs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fute import batching, paths
from fute.artifacts import content_key
from fute.plan.requested import Requested
from fute.steps import code


@dataclass(frozen=True)
class StepBatches(batching.BatchPlan):
    """The batches of one step for one model, or of vectors for one method.

    rule: that makes them. of: that model or method. files: the batches' data, with `*` for their names. keys: cell ->
    key of every cell of the configuration, asked for or not.
    """

    rule: str
    of: str
    files: str
    keys: Mapping[str, str]

    def file(self, cell: str) -> str:
        """The batch that holds a cell."""
        return self.files.replace("*", self.batch_of[cell])


class BatchPlanner(NamedTuple):
    """Puts cells into batches, by what decides batches besides the configuration.

    requested: what the targets need; only that is put into new batches. results: folder with the finished batches.
    images: image -> sha256 of those whose change makes batches again. sent_for: names of batches that are new even if
    they are finished.
    """

    requested: Requested
    results: Path
    images: Mapping[str, str]
    sent_for: frozenset[str] = frozenset()

    def finished(self, files: str) -> batching.Finished:
        """Cells of finished batches. files: the batches' data, with `*` for their names."""
        path = paths.below(self.results, files)
        return batching.finished_cells(path.parent, path.name.removeprefix("*"), besides=self.sent_for)

    def batches(
        self, rule: str, of: str, files: str, keys: Mapping[str, str], groups: Iterable[Iterable[str]],
        size: int | None = None, finished: batching.Finished | None = None,
    ) -> StepBatches:  # fmt: skip
        """The batches that hold the cells of some groups; no new batch holds cells of two groups.

        rule, of, files, keys: as in `StepBatches`. size: most keys of a new batch (None: no limit). finished: of these
        files, if they were read before.
        """
        finished = self.finished(files) if finished is None else finished
        batch_of: dict[str, str] = {}
        new: dict[str, tuple[str, ...]] = {}
        for cells in groups:
            part = batching.plan_batches({cell: keys[cell] for cell in cells}, finished.batch_of, size)
            batch_of |= part.batch_of
            new |= part.new
        return StepBatches(batch_of, new, rule, of, files, keys)

    def dataset_batches(
        self, rule: str, model: str, files: str, keys: Mapping[str, str], size: int | None
    ) -> StepBatches:
        """Batches whose cells are the datasets of one language model (of fine-tunings `dataset@seed`).

        A cell's files keep their own paths: a step of a second takes them out of the batch. So one process serves many
        datasets, and yet another dataset, another recipe of one, or one seed more makes what depends on it alone. Jobs
        that label U and embed datasets read the fine-tuned models that are finished: each is a batch of its own, and
        not one with the fine-tunings, since U and the baselines' settings change more often than the models.
        """
        asked = self.requested.models
        wanted = [cell for cell in keys if asked is None or (model, cell.partition("@")[0]) in asked]
        return self.batches(rule, model, files, keys, [wanted], size)

    def run_by(self, image: str, step: str, *more: str) -> str:
        """Hash of what runs a step: its code and, where the run asks for it, its image.

        more: modules that the step loads by name.
        """
        code_sha256 = code(step, *more)
        return content_key([code_sha256, self.images[image]]) if image in self.images else code_sha256
