"""The part of the language-model experiment's plan that is transfer: every source's model tuned on every target."""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING

from fute import batching
from fute.artifacts import canonical_json, content_key
from fute.specs.transfer import ExtractTransfer, Target, TransferRun, TransferSpec, transfer_key
from fute.steps import code

if TYPE_CHECKING:
    from fute.plan.lm import LmWorkflow

TRANSFER_SUFFIX = ".jsonl.gz"
# the batch's settings are one command-line argument, and Linux takes 128 KiB of it
MOST_RUNS_A_PROCESS = 400


class TransferPlan:
    """Runs of the model whose transfer the matrix is of, and the batches they are made in; lm: the plan it is part of.

    A cell is one run: a source, a target and a seed.
    """

    def __init__(self, lm: LmWorkflow) -> None:
        self.lm, self.common, self.settings = lm, lm.common, lm.settings.transfer
        self.model = self.settings.model

    @cached_property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(source, target) of every transfer; none where the matrix is a file."""
        if not self.lm.computes_matrix:
            return ()
        return tuple((source, target) for source in self.lm.sources for target in self.lm.targets if source != target)

    @cached_property
    def runs(self) -> dict[str, TransferRun]:
        """Cell -> run of every pair and seed."""
        identity, recipes = self.lm.run.models[self.model].identity(), self.common.data
        code_sha256 = self.common.run_by("train", code("transfer_batch"))
        found = {}
        for source, target in self.pairs:
            data = content_key([recipes.train_recipe(target), recipes.test_recipe(target)])
            for seed in self.settings.seeds:
                key = transfer_key(
                    model=identity, source=self.lm.finetuned_from(self.model, source), target=self.target(target),
                    data=data, seed=seed, keep_head=self.settings.keep_head, code_sha256=code_sha256,
                )  # fmt: skip
                found[_cell(source, target, seed)] = TransferRun(key=key, source=source, target=target, seed=seed)
        return found

    def target(self, dataset: str) -> Target:
        return Target(task=self.lm.task(dataset), recipe=self.lm.recipe(self.model, dataset))

    def file(self, source: str, target: str) -> str:
        return f"results/transfer/{self.model}/{source}/{target}.json"

    def files(self) -> list[str]:
        return [self.file(*pair) for pair in self.pairs]

    def score_files(self) -> list[str]:
        """Scores that the matrix is made of: of direct runs, and of transfer."""
        return [self.lm.finetuned_file(self.model, name, "score") for name in self.lm.targets] + self.files()

    # --- batches ----------------------------------------------------------------------------------------

    @cached_property
    def plan(self) -> batching.Plan:
        """Which batch holds which run."""
        folder = self.common.results / "transfer" / self.model / "batches"
        asked = self.common.requested.transfers
        wanted = {
            cell: run.key for cell, run in self.runs.items() if asked is None or (run.source, run.target) in asked
        }
        finished = batching.finished_batches(folder, TRANSFER_SUFFIX)
        return batching.plan(wanted, finished, self.settings.runs_per_process or MOST_RUNS_A_PROCESS)

    def batch_files(self, source: str, target: str) -> list[str]:
        """The batches that hold a pair's runs, one or several."""
        names = {self.plan.batch_of[_cell(source, target, seed)] for seed in self.settings.seeds}
        return [f"results/transfer/{self.model}/batches/{name}{TRANSFER_SUFFIX}" for name in sorted(names)]

    def batch_runs(self, batch: str) -> list[TransferRun]:
        """Runs of a new batch."""
        return [self.runs[cell] for cell in self.plan.new[batch]]

    def inputs(self, batch: str) -> dict[str, str]:
        """What the runs of a batch are made from: a name for each file."""
        found = {}
        for run in self.batch_runs(batch):
            found[f"finetuned:{run.source}"] = self.lm.finetuned_file(self.model, run.source)
            found[f"train:{run.target}"] = f"results/data/{run.target}/train.jsonl.gz"
            found[f"test:{run.target}"] = f"results/data/{run.target}/test.jsonl.gz"
        return dict(sorted(found.items()))

    @cache  # noqa: B019  (one plan lives as long as the process)
    def spec(self, batch: str) -> str:
        """The batch's settings as canonical JSON (a `TransferSpec`)."""
        runs = sorted(self.batch_runs(batch), key=lambda run: run.key)
        targets = tuple(self.target(name) for name in sorted({run.target for run in runs}))
        spec = TransferSpec(model=self.model, keep_head=self.settings.keep_head, targets=targets, runs=tuple(runs))
        return canonical_json(spec.model_dump(mode="json"))

    def extract_settings(self, source: str, target: str) -> str:
        keys = {seed: self.runs[_cell(source, target, seed)].key for seed in self.settings.seeds}
        what = ExtractTransfer(model=self.model, source=source, target=target, keys=keys)
        return canonical_json(what.model_dump(mode="json"))


def _cell(source: str, target: str, seed: int) -> str:
    """Name of a run in the plan and in a batch's `.keys` file."""
    return f"{source}>{target}@{seed}"
