"""The settings of step `embed_batch`: task embeddings that one process makes."""

from __future__ import annotations

from typing import Any, Literal

from fute.config.methods import METHODS, MethodId, MethodSettings
from fute.config.sections import Section
from fute.config.surrogate import SurrogateSettings


class Item(Section):
    """One vector of a batch.

    key       content address of the vector
    kind      `dte`: source is the id of a dataset; `mte`: source is `{model}/{prompt}` or `{model}/{dataset}`
    category  the category of its dataset or prompt; `lm` in the language-model experiment
    variant   control: `null-i` (labels shuffled, of an MTE), `abc` (labels written A, B, C); None for the vector itself
    recipe    index of its recipe in the batch's `recipes`
    pairs     largest number of pairs (x, y) to learn from; None: all
    target    form of y: `label` the name of the class (its index with heads), `verbalizer` the prompt's word, `abc` a
              letter, `soft` the probabilities of all classes, a raw number, or a span's ends
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
    """All vectors of one method and model that one process makes.

    surrogate: id of the model; of LabelCov its encoder. settings: of the surrogate; None for LabelCov, which has none.
    recipes: of the method, by index.
    """

    method: MethodId
    surrogate: str
    settings: SurrogateSettings | None
    recipes: tuple[dict[str, Any], ...] = ()
    items: tuple[Item, ...] = ()

    def method_settings(self, item: Item) -> MethodSettings:
        """The recipe of one item."""
        return METHODS[self.method].model_validate(self.recipes[item.recipe])


def variants_of(method: str, variants: tuple[str, ...]) -> tuple[str, ...]:
    """Controls of a method: LabelCov reads no label strings, so there is none with letters."""
    return tuple(name for name in variants if not (method == "labelcov" and name == "abc"))
