"""Text pairs x -> y for the surrogate: what stands for a class on the target side.

A class is named by its canonical class name ("entailment", not class 0 and not "yes"), the same in DTEs
and MTEs: datasets and models differ in the order of their classes, names do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from fute.data.rows import Row

Category = Literal["sa", "nli"]
TargetKind = Literal["label", "verbalizer", "abc"]

# The canonical classes of a category, in the order of class indices everywhere downstream.
CLASSES: dict[Category, tuple[str, ...]] = {
    "sa": ("negative", "positive"),
    "nli": ("entailment", "neutral", "contradiction"),
}


def labelled_pairs(rows: Iterable[Row]) -> list[tuple[tuple[str, ...], str]]:
    """(segments, target string) of labelled rows, in order. Raises ValueError for a row without label."""
    pairs = []
    for row in rows:
        if row.label is None:
            raise ValueError(f"row {row.id}: has no label; a DTE needs labelled rows")
        pairs.append((row.segments, row.label))
    return pairs


def mte_target(
    kind: TargetKind,
    label: str,
    classes: Sequence[str],
    verbalizers: Mapping[str, Sequence[str]],
) -> str:
    """The target string of a model's predicted class.

    kind         label: the canonical class name; verbalizer: the prompt's first word for the class (an
                 ablation); abc: A, B, C by class index (the control without meaningful label strings)
    classes      canonical class order
    verbalizers  class name -> words of the prompt, first word first
    Raises ValueError for a label that is not one of the classes.
    """
    if label not in classes:
        raise ValueError(f"label {label!r} is not one of {', '.join(classes)}; label with the canonical names")
    if kind == "label":
        return label
    if kind == "verbalizer":
        return verbalizers[label][0]
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[classes.index(label)]
