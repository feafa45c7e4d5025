"""Dataset and model task embeddings in the plan: the recipes of both experiments' vectors, and their keys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

from fute.artifacts import content_key
from fute.config.methods import MethodSettings, form_module, method_module, reads_shared_states
from fute.config.run import Run
from fute.data.model_folder import model_identity
from fute.plan.batches import BatchPlanner
from fute.plan.data import DataPlan
from fute.specs.embeddings import Item
from fute.steps import code

LETTERS = "abc"
"""Control whose labels are written A, B, C: a variant of a vector, and the form of its targets."""


class VectorPlan:
    """How the vectors of a run are learned; each experiment says which vectors it has."""

    def __init__(self, run: Run, data: DataPlan, planner: BatchPlanner) -> None:
        self.run, self.config, self.data, self.planner = run, run.config, data, planner
        self.surrogate = run.config.surrogate.name

    @cached_property
    def variants(self) -> tuple[str, ...]:
        """Names of an MTE's controls."""
        permuted = tuple(f"null-{i}" for i in range(1, self.config.controls.null_draws + 1))
        return (*permuted, *self.dte_variants)

    @property
    def dte_variants(self) -> tuple[str, ...]:
        """Names of a DTE's controls: letters are compared with letters."""
        return (LETTERS,) if self.config.controls.abc else ()

    @cached_property
    def recipes(self) -> dict[str, list[MethodSettings]]:
        """The different recipes of each method: of DTEs, of MTEs, and of their controls.

        A control takes the first order seed only, and is compared with the MTE of that seed.
        """
        recipes: dict[str, list[MethodSettings]] = {}
        for method in self.config.methods:
            own = self.config.method(method)
            dtes = [own.dte_for(self.run.datasets[name].task) for name in self.data.datasets]
            if self.dte_variants and self.config.categories and method in self.config.controls.methods:
                dtes += [recipe.first_order() for recipe in dtes]
            recipes[method] = []
            for recipe in (*dtes, own.mte, own.mte.first_order()):
                if recipe not in recipes[method]:
                    recipes[method].append(recipe)
        return recipes

    def target(self, method: str, variant: str | None = None) -> str:
        """What stands for a class in an MTE: see `Item.target`."""
        if variant == LETTERS:
            return LETTERS
        if method == "labelcov":
            return "soft" if self.config.labelcov.mte.labels == "soft" else "label"
        return self.config.mte_target

    @property
    def other_models(self) -> dict[str, dict[str, str]]:
        """Setting `other_models` of steps that read vectors: method -> model, if it is not the surrogate."""
        other = {name: self.config.model_of(name) for name in self.config.methods}
        other = {name: model for name, model in other.items() if model != self.surrogate}
        return {"other_models": other} if other else {}

    # --- items ------------------------------------------------------------------------------------------

    def dte_item(self, method: str, dataset: str, variant: str | None = None) -> Item:
        """The DTE of a dataset, or a control of it."""
        pairs, entry, seed = self.config.method(method).pairs, self.run.datasets[dataset], self.config.seed
        recipe = self.config.method(method).dte_for(entry.task)
        recipe = recipe.first_order() if variant else recipe
        made_with = {"recipe": recipe.model_dump(), "pairs": pairs, "seed": seed, **self._gate(method)}
        made_with |= {"variant": variant} if variant else {}
        return Item(
            key=content_key([*self._basis(method), made_with, self.data.train_recipe(dataset)]),
            kind="dte", category=entry.category, source=dataset, variant=variant,
            recipe=self.recipes[method].index(recipe), pairs=pairs, target=variant or "label", seed=seed,
            classes=tuple(entry.classes),
        )  # fmt: skip

    def mte_item(
        self, method: str, labels: str, variant: str | None = None, *, target: str, made_with: Mapping[str, Any],
        **about: Any,
    ) -> Item:  # fmt: skip
        """The MTE of a black box, or a control of it.

        labels: key of what the black box says of U. target: what stands for a class on the target side. made_with: what
        else shapes the vector. about: the other fields of an `Item`.
        """
        own, seed = self.config.method(method), self.config.seed
        recipe, pairs = own.mte.first_order() if variant else own.mte, own.pairs
        made_with = {
            "recipe": recipe.model_dump(), "pairs": pairs, "target": target, "seed": seed, **made_with,
            **self._states(method), **self._gate(method),
        }  # fmt: skip
        return Item(
            key=content_key([*self._basis(method), made_with, labels]),
            kind="mte", variant=variant, recipe=self.recipes[method].index(recipe), pairs=pairs, target=target,
            seed=seed, **about,
        )  # fmt: skip

    @cache
    def _basis(self, method: str) -> tuple[Any, ...]:
        """What every vector of a method is made with."""
        model = model_identity(self.run.models[self.config.model_of(method)])
        if method == "labelcov":
            return model, method, self.planner.run_by("train", "embed_batch", method_module(method))
        settings = self.config.surrogate.settings
        run_by = self.planner.run_by("train", "embed_batch", method_module(method), form_module(settings.form))
        return model, settings.model_dump(), method, run_by

    def _gate(self, method: str) -> dict[str, Any]:
        """Which pairs are held out of a vector's training, if there is one."""
        trained = self.config.method(method).dte.trained_on_pairs
        return {"gate": self.config.gate.model_dump()} if trained else {}

    # --- the encoder's states ---------------------------------------------------------------------------

    def shares_states(self, method: str) -> bool:
        """Whether a method's MTEs read the encoder's states of U, computed once for all of them."""
        return reads_shared_states(self.config.method(method).mte, self.config.surrogate.settings.family)

    @property
    def texts_with_states(self) -> int | None:
        """How many texts of U the methods that share states learn from (None: all)."""
        pairs = [self.config.method(name).pairs for name in self.config.methods if self.shares_states(name)]
        return None if None in pairs else max(pairs, default=0)

    def encoder_settings(self) -> dict[str, Any]:
        """The surrogate's settings that shape the states of a U."""
        return self.config.surrogate.settings.model_dump(include={"family", "dtype", "max_input_tokens"})

    def _states(self, method: str) -> dict[str, Any]:
        """What identifies the shared states of U that a method's MTEs read."""
        # their last bits depend on how, and beside which texts, they were computed
        return {"states": [code("encoder_states"), self.texts_with_states]} if self.shares_states(method) else {}
