"""What the plans of labels, vectors and transfer runs share: finished batches, new ones, and what runs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from fute import batching, paths
from fute.artifacts import content_key
from fute.plan.requested import Requested


class StepBatches(NamedTuple):
    """The batches of one step, where it has one model or method those of one.

    rule: that makes them. wildcards: values of the rule's wildcards but the batch. files: the batches' data, with `*`
    for their names. plan: which batch holds which cell. keys: cell -> key of every cell of the configuration, asked for
    or not.
    """

    rule: str
    wildcards: tuple[str, ...]
    files: str
    plan: batching.BatchPlan
    keys: Mapping[str, str]


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

    def plan(
        self, files: str, groups: Iterable[Mapping[str, str]], size: int | None = None,
        finished: batching.Finished | None = None,
    ) -> batching.BatchPlan:  # fmt: skip
        """Which batch holds which cell; no new batch holds cells of two groups.

        files: the batches' data, with `*` for their names. groups: cell -> key. size: most keys of a new batch (None:
        no limit). finished: of these files, if they were read before.
        """
        finished = self.finished(files) if finished is None else finished
        batch_of: dict[str, str] = {}
        new: dict[str, tuple[str, ...]] = {}
        for cells in groups:
            part = batching.plan_batches(cells, finished.batch_of, size)
            batch_of |= part.batch_of
            new |= part.new
        return batching.BatchPlan(batch_of, new)

    def run_by(self, image: str, code_sha256: str) -> str:
        """Hash of what runs the steps of a batch: their code and, where the run asks for it, their image."""
        return content_key([code_sha256, self.images[image]]) if image in self.images else code_sha256
