"""The settings of steps `transfer_batch` and `extract_transfer`: transfer runs."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from fute.artifacts import content_key
from fute.config.finetuning import FinetuneSettings
from fute.config.sections import Section
from fute.specs.finetuning import TaskSettings


class Target(Section):
    """A dataset as the target of transfer runs, with the recipe for fine-tuning every source on it."""

    task: TaskSettings
    recipe: FinetuneSettings


class TransferRun(Section):
    """One fine-tuning of the encoder of `source` on dataset `target`. key: content address of the run."""

    key: str
    source: str
    target: str
    seed: int

    @property
    def cell(self) -> str:
        """Name of the run in the plan and in a batch's `.keys` file."""
        return transfer_cell(self.source, self.target, self.seed)


def transfer_cell(source: str, target: str, seed: int) -> str:
    """Name of the transfer run from a source to a target with a seed."""
    return f"{source}>{target}@{seed}"


class TransferSpec(Section):
    """All transfer runs of one model that one process makes.

    keep_head: start from the source's head if all its shapes fit, as in the authors' code. False: every run draws a new
    head, as in Vu et al.
    """

    model: str
    keep_head: bool = False
    targets: tuple[Target, ...]
    runs: tuple[TransferRun, ...]

    def target(self, dataset: str) -> Target:
        """The target with this dataset, which is one of the spec's."""
        return next(target for target in self.targets if target.task.dataset == dataset)


def transfer_key(
    *, model: Any, source: Any, target: Target, data: Any, seed: int, keep_head: bool, code_sha256: str
) -> str:
    """Content address of a transfer run.

    model, source, data: JSON values that identify the pretrained weights, the source's fine-tuning, and the target's
    training and evaluation rows.
    """
    return content_key(["transfer", model, source, target.model_dump(mode="json"), data, seed, keep_head, code_sha256])


class ExtractTransfer(Section):
    """One (source, target) pair. keys: seed -> content address of its run, which names it in a batch."""

    model: str
    source: str
    target: str
    keys: dict[int, str] = Field(min_length=1)
