"""Baselines in the plan of the language-model experiment: what Tables 1 and 2 compare FUTE with."""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any

from fute import paths
from fute.artifacts import content_key
from fute.config.lm_baselines import FITS, OF_MODELS, VECTORS, LmBaseline
from fute.data.model_folder import model_identity
from fute.plan.argument_files import Argument, settings_json
from fute.plan.batches import BatchPlanner, StepBatches
from fute.plan.data import DataPlan
from fute.plan.lm_finetune import FinetunePlan
from fute.specs.dataset_vectors import DatasetItem, DatasetVectorSpec
from fute.specs.source_scores import ExtractSourceScores, SourcePair, SourceScoreSpec, methods_of


class BaselinePlan:
    """What each baseline reads: curves, sizes, or vectors of datasets on the transfer model's own architecture.

    Attributes:
        methods: the baselines of the run. vector_methods: those that compare vectors of datasets. pair_methods:
            those that score every source's fine-tuned model for every target; row_methods: those of them that read the
            target's labelled rows.
    """

    def __init__(self, data: DataPlan, finetune: FinetunePlan, planner: BatchPlanner) -> None:
        self.data, self.finetune, self.planner = data, finetune, planner
        self.model, self.settings = finetune.settings.transfer.model, finetune.settings.baselines
        self.methods: tuple[LmBaseline, ...] = self.settings.methods
        self.vector_methods = tuple(method for method in VECTORS if method in self.methods)
        self.pair_methods = tuple(method for method in OF_MODELS if method in self.methods)
        self.row_methods = tuple(method for method in FITS if method in self.methods)

    def vector_files(self) -> dict[str, str]:
        """`{method}:{dataset}` -> file, of every target: domain targets are compared with all sources."""
        pairs = [(method, dataset) for method in self.vector_methods for dataset in self.data.lm_targets]
        return {f"{method}:{dataset}": paths.dataset_vector(self.model, method, dataset) for method, dataset in pairs}

    @cached_property
    def vector_batches(self) -> StepBatches:
        """The batches of the datasets' vectors."""
        datasets = self.data.lm_targets if self.vector_methods else ()
        keys = {dataset: self._key(dataset) for dataset in datasets}
        files, size = paths.dataset_vector_batch(self.model, "*"), self.finetune.settings.datasets_per_process
        return self.planner.dataset_batches("embed_dataset", self.model, files, keys, size)

    def _key(self, dataset: str) -> str:
        """What identifies the vectors of a dataset."""
        unused = set(VECTORS) - set(self.vector_methods)
        how = self._spec(()).model_dump(mode="json", exclude=unused), self._item(dataset, "").model_dump(mode="json")
        made_from = [self.finetune.key(self.model, dataset)] if "taskemb" in self.vector_methods else []
        model = model_identity(self.finetune.run.models[self.model])
        code_sha256 = self.planner.run_by("train", "embed_dataset")
        return content_key([*how, *made_from, model, self.data.train_recipe(dataset), code_sha256])

    def _item(self, dataset: str, key: str) -> DatasetItem:
        recipe = self.finetune.recipe(self.model, dataset)
        return DatasetItem(
            key=key, task=self.finetune.task(dataset), max_tokens=recipe.max_tokens,
            eval_batch_size=recipe.eval_batch_size,
        )  # fmt: skip

    def _spec(self, items: tuple[DatasetItem, ...]) -> DatasetVectorSpec:
        return DatasetVectorSpec(
            model=self.model, seed=self.data.config.seed, methods=self.vector_methods, items=items,
            textemb=self.settings.textemb, taskemb=self.settings.taskemb, tupate=self.settings.tupate,
        )  # fmt: skip

    def vector_origins(self, dataset: str) -> dict[str, str]:
        """Kind -> file of all that the vectors of one dataset are made from."""
        tuned = {"finetuned": paths.finetuned(self.model, dataset)} if "taskemb" in self.vector_methods else {}
        return {"model": paths.model_lock(self.model), "train": paths.rows(dataset, "train")} | tuned

    def vector_inputs(self, batch: str) -> dict[str, str]:
        """`{kind}:{dataset}` -> file of what the vectors of a new batch are made from, besides the model."""
        return {
            f"{kind}:{name}": path
            for name in self.vector_batches.new[batch]
            for kind, path in self.vector_origins(name).items()
            if kind != "model"
        }

    def vector_spec(self, batch: str) -> Argument:
        """How the datasets of a new batch become vectors, as canonical JSON (a `DatasetVectorSpec`)."""
        items = [self._item(name, self.vector_batches.keys[name]) for name in self.vector_batches.new[batch]]
        return settings_json(self._spec(tuple(items)))

    @cached_property
    def source_pairs(self) -> dict[str, SourcePair]:
        """Cell -> (source, target) of every pair that one of `pair_methods` has a score of."""
        code_sha256, pairs = self.planner.run_by("train", "score_sources"), {}
        for target in self.data.lm_targets:
            task = self.finetune.task(target).task
            if methods := methods_of(task, self.pair_methods):
                how: list[Any] = [self.data.train_recipe(target)]
                if methods_of(task, self.row_methods):
                    how.append(self._score_spec(()).model_dump(mode="json", exclude={"methods", "targets"}))
                if "task-vector" in methods:
                    how.append(self.finetune.key(self.model, target))
                scored_by = content_key([task, methods, how, code_sha256])
                for source in self.data.lm_sources:
                    if source != target:
                        key = content_key(["source score", self.finetune.key(self.model, source), scored_by])
                        pair = SourcePair(key=key, source=source, target=target)
                        pairs[pair.cell] = pair
        return pairs

    @cached_property
    def score_batches(self) -> StepBatches:
        """The batches of the pairs; one process scores all new ones."""
        keys = {cell: pair.key for cell, pair in self.source_pairs.items()}
        # no other file that may be asked for by itself needs scores
        wanted = keys if self.planner.requested.models is None else ()
        files = paths.source_score_batch(self.model, "*")
        return self.planner.batches("score_sources", self.model, files, keys, [wanted])

    def batch_pairs(self, batch: str) -> list[SourcePair]:
        """The pairs of a new batch."""
        return [self.source_pairs[cell] for cell in self.score_batches.new[batch]]

    def score_inputs(self, batch: str | None = None) -> dict[str, str]:
        """Name -> file of all that the pairs of a new batch are made from; None: all pairs of the run."""
        pairs = self.source_pairs.values() if batch is None else self.batch_pairs(batch)
        files = {f"train:{pair.target}": paths.rows(pair.target, "train") for pair in pairs}
        files |= {f"finetuned:{pair.source}": paths.finetuned(self.model, pair.source) for pair in pairs}
        if "task-vector" in self.pair_methods:
            files |= {f"finetuned:{pair.target}": paths.finetuned(self.model, pair.target) for pair in pairs}
            files["model"] = paths.model_lock(self.model)
        return dict(sorted(files.items()))

    @cache
    def score_spec(self, batch: str) -> Argument:
        """How the pairs of a new batch are scored, as canonical JSON (a `SourceScoreSpec`)."""
        pairs = sorted(self.batch_pairs(batch), key=lambda pair: pair.key)
        return settings_json(self._score_spec(tuple(pairs)))

    def _score_spec(self, pairs: tuple[SourcePair, ...]) -> SourceScoreSpec:
        recipe = self.finetune.settings.finetune.of(self.model).cr
        return SourceScoreSpec(
            model=self.model, methods=self.pair_methods, rows=self.settings.labelled_rows,
            targets={pair.target: self.finetune.task(pair.target).task for pair in pairs},
            max_tokens=recipe.max_tokens, batch_size=recipe.eval_batch_size, pairs=pairs,
        )  # fmt: skip

    def score_batch_files(self) -> list[str]:
        """The batches that hold the run's pairs."""
        return sorted(set(map(self.score_batches.file, self.score_batches.batch_of)))

    def extract_score_settings(self) -> Argument:
        """Settings of the step `extract_source_scores`."""
        settings = ExtractSourceScores(
            model=self.model, methods=self.pair_methods, sources=tuple(sorted(self.data.lm_sources)),
            targets=tuple(sorted(self.data.lm_targets)),
            keys={cell: pair.key for cell, pair in self.source_pairs.items()},
        )  # fmt: skip
        return settings_json(settings)

    def curve_files(self) -> dict[str, str]:
        """Source -> loss curve of its fine-tuning, for CurveGrad."""
        if "curvegrad" not in self.methods:
            return {}
        return {name: paths.finetuned(self.model, name, "curve") for name in self.data.lm_sources}

    def count_files(self) -> dict[str, str]:
        """Source -> its row counts, for DataSize where the literature does not give the size of every source."""
        if "datasize" not in self.methods or self._known_sizes() is not None:
            return {}
        return {name: paths.row_counts(name) for name in self.data.lm_sources}

    def size_remark(self) -> str:
        """What to say of DataSize where the run cuts its sources to equally many rows; empty otherwise."""
        rows = self.data.config.data.train_rows
        if "datasize" not in self.methods or rows is None or not self.finetune.computes_matrix:
            return ""
        if self._known_sizes() is None:
            return (
                f"DataSize counts training rows, and every source has at most {rows:,} here: where all have as many, "
                "it is a constant and ranks nothing."
            )
        return (
            f"Every source has at most {rows:,} training rows here, so that their number is a constant where all have "
            "as many. DataSize ranks by the sizes of the published datasets, which this run does not use."
        )

    def score_settings(self) -> dict[str, Any]:
        """Settings of the step `lm_baselines`."""
        return {
            "model": self.model,
            "datasets": self.data.transfer_datasets(self.data.lm_targets),
            "methods": self.methods,
            "sizes": self._known_sizes(),
        }

    def _known_sizes(self) -> dict[str, float | None] | None:
        """Source -> rows (thousands) as the literature counts them; None unless it counts all sources."""
        sizes = {name: self.data.run.datasets[name].vu_size for name in self.data.lm_sources}
        return None if None in sizes.values() else sizes
