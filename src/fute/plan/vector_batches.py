"""Batches of vectors in the plan: which batch holds which vector of both experiments, and what it is learned from."""

from __future__ import annotations

from functools import cache, cached_property

from fute import paths
from fute.plan.argument_files import Argument, settings_json
from fute.plan.batches import BatchPlanner, StepBatches
from fute.plan.llm import LlmPlan
from fute.plan.lm import LmPlan
from fute.plan.vectors import VectorPlan
from fute.specs.embeddings import EmbeddingSpec, Item


class VectorBatches:
    """All vectors of a run, and the batches that they are learned in: the experiments' in batches of their own."""

    def __init__(self, vectors: VectorPlan, llm: LlmPlan | None, lm: LmPlan | None, planner: BatchPlanner) -> None:
        self.vectors, self.config, self.planner = vectors, vectors.config, planner
        self.llm, self.lm = llm, lm

    @cached_property
    def items(self) -> dict[str, Item]:
        """File -> item of every vector of the run; a dataset of both experiments has one DTE."""
        return (self.lm.items if self.lm else {}) | self.llm_items

    @property
    def llm_items(self) -> dict[str, Item]:
        """Vectors of the LLM experiment."""
        return self.llm.items if self.llm else {}

    @cached_property
    def lm_items(self) -> dict[str, Item]:
        """Vectors of the language-model experiment alone."""
        return {path: item for path, item in self.items.items() if path not in self.llm_items}

    @cached_property
    def batches(self) -> dict[str, StepBatches]:
        """Method -> the batches of its vectors, whose cells are their files."""
        asked = self.planner.requested.vectors
        if asked is not None and self.planner.requested.planted and self.lm:
            asked |= set(self.lm.planted_files())
        batches = {}
        for method in self.config.methods:
            keys = {path: item.key for path, item in self.items.items() if paths.method_of(path) == method}
            wanted = [path for path in keys if asked is None or path in asked]
            groups = [[path for path in wanted if path in items] for items in (self.llm_items, self.lm_items)]
            batches[method] = self.planner.batches(
                "embed_batch", method, paths.vector_batch(self.config.model_of(method), method, "*"), keys, groups,
                self.config.embeddings_per_process,
            )  # fmt: skip
        return batches

    def batch_file(self, path: str) -> str:
        """The batch that holds a vector. path: the vector's own file."""
        return self.batches[paths.method_of(path)].file(path)

    @cache
    def batch_items(self, method: str, batch: str) -> dict[str, Item]:
        """Key -> item of a new batch; vectors with equal keys are learned once."""
        cells = self.batches[method].new[batch]
        return {self.items[cell].key: self.items[cell] for cell in reversed(cells)}

    def inputs(self, method: str, batch: str) -> dict[str, str]:
        """Name -> file of all that the vectors of a new batch are learned from."""
        files = {}
        for item in self.batch_items(method, batch).values():
            if item.kind == "dte":
                files[f"train:{item.source}"] = paths.rows(item.source, "train")
                files[f"dev:{item.source}"] = paths.rows(item.source, "dev")
            else:
                model, task = item.source.split("/")
                files[f"unsup:{item.category}"] = paths.unsup(item.category)
                files[f"labels:{item.source}"] = paths.labels(model, task, item.category)
                if self.vectors.shares_states(method):
                    states = paths.encoder_states(self.vectors.surrogate, item.category)
                    files[f"states:{item.category}"] = states
        return dict(sorted(files.items()))

    def spec(self, method: str, batch: str) -> Argument:
        """Settings of a new batch as canonical JSON (an `EmbeddingSpec`)."""
        spec = EmbeddingSpec(
            method=method,
            surrogate=self.config.model_of(method),
            settings=None if method == "labelcov" else self.config.surrogate.settings,
            gate=self.config.gate,
            recipes=tuple(recipe.model_dump() for recipe in self.vectors.recipes[method]),
            items=tuple(item for _, item in sorted(self.batch_items(method, batch).items())),
        )
        return settings_json(spec)
