"""Transfer in the plan of the language-model experiment: every source's model fine-tuned on every target."""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import Any

from fute import paths
from fute.artifacts import content_key
from fute.data.model_folder import model_identity
from fute.data.rows import SourceError
from fute.data.sources import planned_hashes
from fute.plan.argument_files import Argument, settings_json
from fute.plan.batches import BatchPlanner, StepBatches
from fute.plan.data import DataPlan
from fute.plan.lm_finetune import FinetunePlan
from fute.specs.transfer import ExtractTransfer, Target, TransferRun, TransferSpec, transfer_cell, transfer_key


class TransferPlan:
    """Runs of the model whose transfer the matrix is of, and the batches they are made in.

    A cell is one run: a source, a target and a seed.
    """

    def __init__(self, data: DataPlan, finetune: FinetunePlan, planner: BatchPlanner) -> None:
        self.data, self.finetune, self.planner = data, finetune, planner
        self.settings = finetune.settings.transfer
        self.model = self.settings.model

    @cached_property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(source, target) of every transfer; none where the matrix is a file."""
        if not self.finetune.computes_matrix:
            return ()
        sources, targets = self.data.lm_sources, self.data.lm_targets
        return tuple((source, target) for source in sources for target in targets if source != target)

    @cached_property
    def runs(self) -> dict[str, TransferRun]:
        """Cell -> run of every pair and seed."""
        model = model_identity(self.finetune.run.models[self.model])
        code_sha256 = self.planner.run_by("train", "transfer_batch")
        runs = {}
        for source, target in self.pairs:
            data = content_key([self.data.train_recipe(target), self.data.test_recipe(target)])
            for seed in self.settings.seeds:
                key = transfer_key(
                    model=model, source=self.finetune.key(self.model, source), target=self._target(target),
                    data=data, seed=seed, keep_head=self.settings.keep_head, code_sha256=code_sha256,
                )  # fmt: skip
                run = TransferRun(key=key, source=source, target=target, seed=seed)
                runs[run.cell] = run
        return runs

    def _target(self, dataset: str) -> Target:
        return Target(task=self.finetune.task(dataset), recipe=self.finetune.recipe(self.model, dataset))

    def files(self) -> list[str]:
        """Scores after transfer, one file for each pair."""
        return [paths.transfer_score(self.model, *pair) for pair in self.pairs]

    def score_files(self) -> list[str]:
        """All scores that the matrix is made of: without transfer, and after it."""
        return [paths.finetuned(self.model, name, "score") for name in self.data.lm_targets] + self.files()

    def matrix_settings(self) -> dict[str, Any]:
        """Settings of the step `transfer_matrix`."""
        return {"model": self.model, "datasets": self.data.transfer_datasets(self.data.lm_targets)}

    @cached_property
    def matrix_sha256(self) -> str:
        """sha256 of the published matrix; empty where the run computes it. Raises SourceError if it is missing."""
        if self.finetune.computes_matrix:
            return ""
        path = Path(str(self.settings.file))
        if not path.is_file():
            raise SourceError(f"lm.transfer.file: {path} is no file; correct it, or compute the matrix")
        return planned_hashes([path])[path]

    # --- batches ----------------------------------------------------------------------------------------

    @cached_property
    def batches(self) -> StepBatches:
        """The batches of the runs."""
        asked = self.planner.requested.transfers
        keys = {cell: run.key for cell, run in self.runs.items()}
        wanted = [cell for cell, run in self.runs.items() if asked is None or (run.source, run.target) in asked]
        files, size = paths.transfer_batch(self.model, "*"), self.settings.runs_per_process
        return self.planner.batches("transfer_batch", self.model, files, keys, [wanted], size)

    def batch_files(self, source: str, target: str) -> list[str]:
        """The batches that hold a pair's runs, one or several."""
        return sorted({self.batches.file(transfer_cell(source, target, seed)) for seed in self.settings.seeds})

    def batch_runs(self, batch: str) -> list[TransferRun]:
        """Runs of a new batch."""
        return [self.runs[cell] for cell in self.batches.new[batch]]

    def inputs(self, batch: str) -> dict[str, str]:
        """Name -> file of all that the runs of a new batch are made from."""
        files = {}
        for run in self.batch_runs(batch):
            files[f"finetuned:{run.source}"] = paths.finetuned(self.model, run.source)
            files[f"train:{run.target}"] = paths.rows(run.target, "train")
            files[f"test:{run.target}"] = paths.rows(run.target, "test")
        return dict(sorted(files.items()))

    @cache
    def spec(self, batch: str) -> Argument:
        """Settings of a new batch as canonical JSON (a `TransferSpec`)."""
        runs = sorted(self.batch_runs(batch), key=lambda run: run.key)
        targets = tuple(self._target(name) for name in sorted({run.target for run in runs}))
        spec = TransferSpec(model=self.model, keep_head=self.settings.keep_head, targets=targets, runs=tuple(runs))
        return settings_json(spec)

    def extract_settings(self, source: str, target: str) -> Argument:
        """Settings of the step that takes one pair out of its batches."""
        keys = {seed: self.runs[transfer_cell(source, target, seed)].key for seed in self.settings.seeds}
        return settings_json(ExtractTransfer(model=self.model, source=source, target=target, keys=keys))
