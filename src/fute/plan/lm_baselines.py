"""Baselines in the plan of the language-model experiment: what Tables 1 and 2 compare FUTE with."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from fute import paths
from fute.artifacts import content_key
from fute.config.lm_baselines import FITS, VECTORS, LmBaseline
from fute.data.model_folder import model_identity
from fute.plan.argument_files import Argument, settings_json
from fute.plan.batches import Batches
from fute.plan.data import DataPlan
from fute.plan.dataset_batches import DatasetBatches
from fute.plan.lm_finetune import FinetunePlan
from fute.specs.dataset_vectors import DatasetItem, DatasetVectorSpec
from fute.steps import code


class BaselinePlan:
    """What each baseline reads: curves, sizes, or vectors of datasets on the transfer model's own architecture.

    Attributes:
        methods: the baselines of the run. vector_methods: those that compare vectors of datasets. fit_methods: those
            that read the target's labelled rows by every source's model.
    """

    def __init__(self, data: DataPlan, finetune: FinetunePlan, batches: Batches) -> None:
        self.data, self.finetune, self.batches = data, finetune, batches
        self.model, self.settings = finetune.settings.transfer.model, finetune.settings.baselines
        self.methods: tuple[LmBaseline, ...] = self.settings.methods
        self.vector_methods = tuple(method for method in VECTORS if method in self.methods)
        self.fit_methods = tuple(method for method in FITS if method in self.methods)

    def vector_files(self) -> dict[str, str]:
        """`{method}:{dataset}` -> file, of every target: domain targets are compared with all sources."""
        pairs = [(method, dataset) for method in self.vector_methods for dataset in self.data.lm_targets]
        return {f"{method}:{dataset}": paths.dataset_vector(self.model, method, dataset) for method, dataset in pairs}

    @cached_property
    def embedded_in(self) -> DatasetBatches:
        """The batches of the datasets' vectors."""
        datasets = self.data.lm_targets if self.vector_methods else ()
        keys = {(self.model, dataset): self._key(dataset) for dataset in datasets}
        return DatasetBatches(
            paths.dataset_vector_batch, keys, self.finetune.settings.datasets_per_process, self.batches
        )

    def _key(self, dataset: str) -> str:
        """What identifies the vectors of a dataset."""
        how = self._spec(()).model_dump(mode="json"), self._item(dataset, "").model_dump(mode="json")
        made_from = [self.finetune.key(self.model, dataset)] if "taskemb" in self.vector_methods else []
        model = model_identity(self.finetune.run.models[self.model])
        code_sha256 = self.batches.run_by("train", code("embed_dataset"))
        return content_key([*how, *made_from, model, self.data.train_recipe(dataset), code_sha256])

    def _item(self, dataset: str, key: str) -> DatasetItem:
        recipe = self.finetune.recipe(self.model, dataset)
        return DatasetItem(
            key=key, task=self.finetune.task(dataset), max_tokens=recipe.max_tokens,
            eval_batch_size=recipe.eval_batch_size,
        )  # fmt: skip

    def _spec(self, items: tuple[DatasetItem, ...]) -> DatasetVectorSpec:
        return DatasetVectorSpec(
            model=self.model, seed=self.finetune.run.config.seed, methods=self.vector_methods, items=items,
            textemb=self.settings.textemb, taskemb=self.settings.taskemb, tupate=self.settings.tupate,
        )  # fmt: skip

    def vector_origins(self, dataset: str) -> dict[str, str]:
        """Kind -> file of all that the vectors of one dataset are made from."""
        tuned = {"finetuned": paths.finetuned(self.model, dataset)} if "taskemb" in self.vector_methods else {}
        return {"model": paths.model_lock(self.model), "train": paths.rows(dataset, "train")} | tuned

    def vector_inputs(self, batch: str) -> dict[str, str]:
        """`{kind}:{dataset}` -> file of what the vectors of a new batch are made from, besides the model."""
        datasets = self.embedded_in.cells(self.model, batch)
        files = {f"{kind}:{name}": path for name in datasets for kind, path in self.vector_origins(name).items()}
        return {name: path for name, path in files.items() if not name.startswith("model:")}

    def vector_spec(self, batch: str) -> Argument:
        """How the datasets of a new batch become vectors, as canonical JSON (a `DatasetVectorSpec`)."""
        keys = self.embedded_in.keys
        items = [self._item(name, keys[self.model, name]) for name in self.embedded_in.cells(self.model, batch)]
        return settings_json(self._spec(tuple(items)).model_dump(mode="json"))

    def fit_settings(self) -> dict[str, Any]:
        """Settings of the step `score_sources`."""
        recipe = self.finetune.settings.finetune.of(self.model).cr
        return {
            "model": self.model,
            "methods": self.fit_methods,
            "targets": {name: self.finetune.task(name).task for name in self.data.lm_targets},
            "rows": self.settings.labelled_rows,
            "max_tokens": recipe.max_tokens,
            "batch_size": recipe.eval_batch_size,
        }

    def source_locks(self) -> dict[str, str]:
        """Source -> lock of the model that was fine-tuned on it."""
        return {name: paths.finetuned(self.model, name) for name in self.data.lm_sources}

    def target_rows(self) -> dict[str, str]:
        """Target -> its training rows."""
        return {name: paths.rows(name, "train") for name in self.data.lm_targets}

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
        rows = self.data.run.config.data.train_rows
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
