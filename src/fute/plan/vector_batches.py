"""The part of the plan that is embeddings: of both experiments' vectors, which batch holds which, and what it reads."""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fute import batching
from fute.artifacts import canonical_json, content_key
from fute.config.lm_experiment import LM
from fute.config.recipes import MethodSettings, form_module, method_module, reads_shared_states
from fute.config.surrogate import SurrogateSettings
from fute.specs.embeddings import EmbeddingSpec, Item
from fute.steps import code

if TYPE_CHECKING:
    from fute.plan.plan import Workflow

EMBEDDING_SUFFIX = ".zip"
# the batch's settings are one command-line argument, and Linux takes 128 KiB of it
MOST_VECTORS_A_PROCESS = 200


class EmbeddingPlan:
    """Files, recipes and batches of the vectors that the surrogate is taught; the experiments say which there are.

    common: the whole run's plan.
    """

    def __init__(self, common: Workflow) -> None:
        self.common, self.run, self.config = common, common.run, common.config

    # --- files ------------------------------------------------------------------------------------------

    def folder(self, method: str) -> str:
        return f"results/embeddings/{self.config.surrogate.name}/{method}"

    def dte_file(self, method: str, dataset: str) -> str:
        return f"{self.folder(method)}/dte/{dataset}.safetensors"

    def mte_file(self, method: str, model: str, task: str) -> str:
        return f"{self.folder(method)}/mte/{model}/{task}.safetensors"

    def control_file(self, method: str, model: str, task: str, variant: str) -> str:
        return f"{self.folder(method)}/controls/{model}/{task}.{variant}.safetensors"

    @cached_property
    def variants(self) -> tuple[str, ...]:
        """Names of an MTE's controls."""
        controls = self.config.controls
        return (
            *(f"null-{i}" for i in range(1, controls.null_draws + 1)),
            *(("abc",) if controls.abc else ()),
        )

    # --- recipes and items ------------------------------------------------------------------------------

    @cached_property
    def recipes(self) -> dict[str, list[MethodSettings]]:
        """The different recipes of each method: of DTEs, of MTEs, and of their controls.

        A control takes the first order seed only, and is held against the MTE of that seed; so may the language-model
        experiment.
        """
        found: dict[str, list[MethodSettings]] = {}
        for method in self.config.methods:
            own = self.config.method(method)
            found[method] = []
            dtes = [own.dte_for(self.run.datasets[name].task) for name in self.common.data.datasets]
            if self.config.lm and self.config.lm.first_order:
                dtes += [recipe.first_order() for recipe in dtes]
            for recipe in (*dtes, own.mte, own.mte.first_order()):
                if recipe not in found[method]:
                    found[method].append(recipe)
        return found

    def basis(self, method: str, settings: SurrogateSettings) -> list[Any]:
        """What every vector of a method and of these surrogate settings is made with."""
        identity = self.run.models[self.config.surrogate.name].identity()
        return [
            identity,
            settings.model_dump(),
            method,
            self.common.run_by("train", code("embed_batch", method_module(method), form_module(settings.form))),
        ]

    def dte_item(self, method: str, dataset: str, settings: SurrogateSettings, *, first_order: bool = False) -> Item:
        recipe, entry = self.config.method(method), self.run.datasets[dataset]
        how = recipe.dte_for(entry.task)
        how = how.first_order() if first_order else how
        what = {"recipe": how.model_dump(), "pairs": recipe.pairs, "seed": self.config.seed}
        key = content_key([*self.basis(method, settings), what, self.common.data.train_recipe(dataset)])
        return Item(
            key=key, kind="dte", category=entry.category, source=dataset, variant=None,
            recipe=self.recipes[method].index(how), pairs=recipe.pairs, target="label", seed=self.config.seed,
            classes=tuple(entry.classes),
        )  # fmt: skip

    @cached_property
    def items(self) -> dict[str, Item]:
        """File -> item of every embedding of the run; a dataset of both experiments has one."""
        lm = self.common.lm
        return (lm.embedding_items if lm else {}) | self.llm_items

    @property
    def llm_items(self) -> dict[str, Item]:
        """Those of the LLM experiment."""
        return self.common.llm.embedding_items if self.common.llm else {}

    @cached_property
    def lm_items(self) -> dict[str, Item]:
        """Those of the language-model experiment alone."""
        return {path: item for path, item in self.items.items() if path not in self.llm_items}

    # --- batches ----------------------------------------------------------------------------------------

    @cached_property
    def plans(self) -> dict[str, batching.Plan]:
        """Per method: which batch holds which vector. The experiments' vectors are learned in batches of their own."""
        plans = {}
        asked = self.common.requested.embeddings
        size = self.config.embeddings_per_process or MOST_VECTORS_A_PROCESS
        for method in self.config.methods:
            folder = self.common.results / Path(self.folder(method)).relative_to("results") / "batches"
            finished = batching.finished_batches(folder, EMBEDDING_SUFFIX)
            batch_of: dict[str, str] = {}
            new: dict[str, tuple[str, ...]] = {}
            for items in (self.llm_items, self.lm_items):
                wanted = {
                    path: item.key
                    for path, item in items.items()
                    if path.startswith(self.folder(method) + "/") and (asked is None or path in asked)
                }
                part = batching.plan(wanted, finished, size)
                batch_of |= part.batch_of
                new |= part.new
            plans[method] = batching.Plan(batch_of, new)
        return plans

    @cached_property
    def new_batches(self) -> tuple[str, ...]:
        return tuple(sorted(name for plan in self.plans.values() for name in plan.new))

    def batch_file(self, method: str, path: str) -> str:
        return f"{self.folder(method)}/batches/{self.plans[method].batch_of[path]}{EMBEDDING_SUFFIX}"

    @cache  # noqa: B019  (one plan lives as long as the process)
    def batch_items(self, method: str, batch: str) -> dict[str, Item]:
        """key -> item of a new batch; targets with equal keys are computed once."""
        cells = self.plans[method].new[batch]
        return {self.items[cell].key: self.items[cell] for cell in reversed(cells)}

    def inputs(self, method: str, batch: str) -> dict[str, str]:
        """What the items of a batch are learned from: a name for each file."""
        found = {}
        for item in self.batch_items(method, batch).values():
            if item.kind == "dte":
                found[f"train:{item.source}"] = f"results/data/{item.source}/train.jsonl.gz"
                found[f"dev:{item.source}"] = f"results/data/{item.source}/dev.jsonl.gz"
            else:
                found[f"unsup:{item.category}"] = f"results/unsup/{item.category}.jsonl.gz"
                found[f"labels:{item.source}"] = f"results/labels/{item.source}/{item.category}.jsonl.gz"
                if self.shares_states(method):
                    found[f"states:{item.category}"] = self.states_file(item.category)
        return dict(sorted(found.items()))

    def spec(self, method: str, batch: str) -> str:
        """The batch's settings as canonical JSON (an `EmbeddingSpec`)."""
        of_llm = self.plans[method].new[batch][0] in self.llm_items
        spec = EmbeddingSpec(
            method=method,
            surrogate=self.config.surrogate.name,
            settings=self.surrogate_settings(LM if not of_llm else None),
            recipes=tuple(recipe.model_dump() for recipe in self.recipes[method]),
            items=tuple(item for _, item in sorted(self.batch_items(method, batch).items())),
        )
        return canonical_json(spec.model_dump())

    def surrogate_settings(self, corpus: str | None) -> SurrogateSettings:
        """How the surrogate reads what is learned on a corpus: the language models' texts may have another length."""
        lm = self.common.lm
        return lm.surrogate if lm and corpus == LM else self.config.surrogate.settings

    # --- the encoder's states ---------------------------------------------------------------------------

    def shares_states(self, method: str) -> bool:
        """Whether a method's MTEs read the encoder's states of U, computed once for all of them."""
        return reads_shared_states(self.config.method(method).mte, self.config.surrogate.settings.family)

    def states_from(self, method: str) -> dict[str, Any]:
        """What identifies the shared states of U that a method's MTEs read, as a part of their keys."""
        if not self.shares_states(method):
            return {}
        # their last bits depend on how, and beside which texts, they were computed
        return {"states": [code("encoder_states"), self.texts_with_states]}

    def encoder_settings(self, corpus: str) -> dict[str, Any]:
        """The surrogate's settings that shape the states of a corpus."""
        return self.surrogate_settings(corpus).model_dump(include={"family", "dtype", "max_input_tokens"})

    def states_file(self, category: str) -> str:
        return f"results/embeddings/{self.config.surrogate.name}/states/{category}.safetensors"

    @property
    def texts_with_states(self) -> int | None:
        """How many texts of U the methods that share states read (None: all)."""
        pairs = [self.config.method(name).pairs for name in self.config.methods if self.shares_states(name)]
        return None if None in pairs else max(pairs, default=0)
