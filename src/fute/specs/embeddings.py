"""Task embeddings that one process makes: what `embed-batch` is told."""

from __future__ import annotations

from typing import Any, Literal

from fute.config.recipes import METHODS, MethodId, MethodSettings
from fute.config.sections import Section
from fute.config.surrogate import SurrogateSettings


class Item(Section):
    """One vector of a batch.

    kind, source: `dte` of a dataset id, or `mte` of `{model}/{prompt}`. recipe: its place among the batch's
    recipes. pairs: at most so many (x, y).
    target: what stands for a class on the target side: its name (of the heads form its index), the prompt's word, a
    letter, or `soft`, the probabilities of all classes, a raw number, or a span's ends. variant: `null-i`, `abc` or
    None.
    """

    key: str
    kind: Literal["dte", "mte"]
    category: str
    source: str
    variant: str | None
    recipe: int = 0
    pairs: int | None
    target: Literal["label", "verbalizer", "abc", "soft"]
    seed: int
    classes: tuple[str, ...]
    verbalizers: tuple[str, ...] | None = None


class EmbeddingSpec(Section):
    """All vectors that one process makes of one method and surrogate."""

    method: MethodId
    surrogate: str
    settings: SurrogateSettings
    recipes: tuple[dict[str, Any], ...] = ()
    items: tuple[Item, ...] = ()

    def method_settings(self, item: Item) -> MethodSettings:
        """The recipe of one item."""
        return METHODS[self.method].model_validate(self.recipes[item.recipe])
