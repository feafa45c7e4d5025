"""Target strings y of the surrogate's text pairs x -> y.

The target of a class is its canonical name ("entailment", not class 0 and not "yes"), the same in DTEs and MTEs:
datasets and models order their classes differently, names stay. A number is rounded as T5 rounds STS-B
(google-research/text-to-text-transfer-transformer). The target of an answer is its text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from string import ascii_uppercase
from typing import Literal

from fute.data.rows import Answer, Row

TargetKind = Literal["label", "verbalizer", "abc"]

UNANSWERABLE = "unanswerable"


def number_target(value: float, *, low: float, high: float, step: float) -> str:
    """Target string of a number: clamped to low..high, rounded to the nearest step, with the step's decimals.

    Halves go to the even step, as in T5's round(5 * label) / 5: 2.5 is 2.4 (12 steps, not 13), 2.7 is 2.8.
    Raises ValueError for a value that is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number that can be rounded")
    steps = round(min(max(value, low), high) * (1 / step))
    decimals = max(0, -int(Decimal(str(step)).as_tuple().exponent))
    return f"{steps * step + 0.0:.{decimals}f}"  # + 0.0: no "-0.0"


def answer_target(answers: Sequence[Answer]) -> str:
    """Target string of an answer: the first gold answer with single blanks, or `unanswerable` if there is none."""
    return " ".join(answers[0].text.split()) if answers else UNANSWERABLE


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
    """Target string of a model's predicted class.

    kind         label: the canonical class name; verbalizer: the prompt's first word for the class (an
                 ablation); abc: A, B, C by class index, AA after Z (the control without meaningful label strings)
    classes      canonical class order; empty if a model's outputs are numbers or texts, which are returned unchanged
    verbalizers  class name -> words of the prompt, first word first
    Raises ValueError for a label that is not one of the classes.
    """
    if not classes:
        return label
    if label not in classes:
        raise ValueError(f"label {label!r} is not one of {', '.join(classes)}; label with the canonical names")
    if kind == "label":
        return label
    if kind == "verbalizer":
        return verbalizers[label][0]
    repeats, letter = divmod(classes.index(label), len(ascii_uppercase))
    return (ascii_uppercase[repeats - 1] if repeats else "") + ascii_uppercase[letter]
