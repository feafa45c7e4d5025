"""The part of the language-model experiment's plan that is the baselines of Tables 1 and 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fute.artifacts import canonical_json
from fute.config.lm_baselines import VECTORS, LmBaseline
from fute.specs.dataset_vectors import DatasetVectorSpec

if TYPE_CHECKING:
    from fute.plan.lm import LmWorkflow


class BaselinePlan:
    """Files and settings of the baselines. lm: the plan they are part of, whose transfer model they are about."""

    def __init__(self, lm: LmWorkflow) -> None:
        self.lm, self.settings = lm, lm.settings.baselines
        self.model = lm.transfer.model

    @property
    def methods(self) -> tuple[LmBaseline, ...]:
        return self.settings.methods

    @property
    def vector_methods(self) -> tuple[LmBaseline, ...]:
        """Methods that compare vectors of datasets."""
        return tuple(method for method in VECTORS if method in self.methods)

    # --- vectors ----------------------------------------------------------------------------------------

    def vector_file(self, method: str, dataset: str) -> str:
        return f"results/baselines/vectors/{self.model}/{dataset}.{method}.safetensors"

    def vector_files(self) -> dict[str, str]:
        """Every target's, since domain targets are compared with all sources, by `{method}:{dataset}`."""
        pairs = [(method, dataset) for method in self.vector_methods for dataset in self.lm.targets]
        return {f"{method}:{dataset}": self.vector_file(method, dataset) for method, dataset in pairs}

    def finetuned_lock(self, dataset: str) -> list[str]:
        """The lock of the model that TaskEmb reads: one file or none."""
        return [self.lm.finetuned_file(self.model, dataset)] if "taskemb" in self.methods else []

    def vector_spec(self, dataset: str) -> str:
        recipe = self.lm.recipe(self.model, dataset)
        spec = DatasetVectorSpec(
            model=self.model, task=self.lm.task(dataset), max_tokens=recipe.max_tokens,
            eval_batch_size=recipe.eval_batch_size, autocast=recipe.autocast, seed=self.lm.run.config.seed,
            methods=self.vector_methods, textemb=self.settings.textemb, taskemb=self.settings.taskemb,
            tupate=self.settings.tupate,
        )  # fmt: skip
        return canonical_json(spec.model_dump(mode="json"))

    # --- scores -----------------------------------------------------------------------------------------

    def score_settings(self) -> dict[str, Any]:
        """Sizes as the literature counts them where it counts all sources, else None: rows are counted then."""
        sizes = {name: self.lm.run.datasets[name].vu_size for name in self.lm.sources}
        known = sizes if None not in sizes.values() else None
        return {**self.lm.matrix_settings(), "methods": self.methods, "sizes": known}

    def curve_files(self) -> dict[str, str]:
        if "curvegrad" not in self.methods:
            return {}
        return {name: self.lm.finetuned_file(self.model, name, "curve") for name in self.lm.sources}

    def count_files(self) -> dict[str, str]:
        """Row counts of the sources, where the literature has no sizes of them."""
        if "datasize" not in self.methods or self.score_settings()["sizes"] is not None:
            return {}
        return {name: f"results/data/{name}/counts.json" for name in self.lm.sources}
