"""Pairs (x, y) for a vector: from a dataset, or from U with the answers of a black box."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from fute.artifacts import StaleFile, read_jsonl
from fute.config.gate import GateConfig
from fute.config.methods import MethodSettings
from fute.config.surrogate import Form
from fute.data.rows import Answer, Row, read_rows
from fute.data.text2text import labelled_pairs, mte_target
from fute.specs.embeddings import Item
from fute.surrogate.labelled import (
    NO_ANSWER,
    ClassTarget,
    EndsTarget,
    Labelled,
    NumberTarget,
    SoftTarget,
    SpanTarget,
    Target,
)
from fute.surrogate.text2text import Pair, PairError


def dataset_pairs(
    rows: list[Row], limit: int | None, seed: int, form: Form = "text2text", classes: Sequence[str] = (), *,
    letters: bool = False,
) -> list[Pair] | list[Labelled]:  # fmt: skip
    """Pairs (text, target) of `limit` labelled rows in a seeded order; limit None: every row once.

    The target is the label's text, or for heads the target of a head: a class of `classes`, a number, or an answer.
    letters: write the classes A, B, C, in the order of `classes`, as in the control of black boxes.

    If there are fewer rows, they are repeated in the same order until `limit` is reached, because vectors are only
    comparable if they are learned from the same number of pairs.
    """
    if form == "heads":
        return limited([Labelled(row.segments, row_target(row, classes)) for row in rows], limit, seed)
    pairs = [Pair(x, mte_target("abc", y, classes, {}) if letters else y) for x, y in labelled_pairs(rows)]
    return limited(pairs, limit, seed)


def row_target(row: Row, classes: Sequence[str]) -> Target:
    """Target of a head for a labelled row. Raises PairError for a label that is not one of `classes`."""
    if row.answers is not None:
        first = row.answers[0] if row.answers else Answer("", 0)
        return SpanTarget(first.start, first.start + len(first.text))
    if row.value is not None:
        return NumberTarget(row.value)
    if row.label not in classes:
        raise PairError(f"row {row.id}: label {row.label!r} is not one of the classes {', '.join(classes)}")
    return ClassTarget(classes.index(row.label), len(classes))


T = TypeVar("T")


def limited(pairs: Sequence[T], limit: int | None, seed: int) -> list[T]:
    """Pairs in a seeded order, repeated until there are `limit`; None: each once."""
    pairs = list(pairs)
    random.Random(seed).shuffle(pairs)
    return repeated(pairs, limit)


def gate_of(recipe: MethodSettings, gate: GateConfig) -> GateConfig:
    """The gate of a recipe's vectors: without training there is nothing to hold out."""
    return gate if recipe.trained_on_pairs else GateConfig(held_out=0)


def split_pairs(pairs: Sequence[T], limit: int | None, gate: GateConfig) -> tuple[list[T], list[T]]:
    """(pairs to learn from, at most `limit`; pairs to hold out for the gate), in the given order."""
    learned, held_out = gate.split(len(pairs), limit)
    return list(pairs[:learned]), list(pairs[learned : learned + held_out])


def own_pairs(
    pairs: Sequence[T], limit: int | None, gate: GateConfig, *, kind: Literal["dte", "mte"], seed: int,
    dev: Sequence[T] | None,
) -> tuple[list[T], list[T]]:  # fmt: skip
    """(pairs to learn from, pairs to hold out) of somebody's own pairs, divided as the workflow does.

    `dte`: in a seeded order, repeated until there are `limit`. `mte`: in the given order, at most `limit`. dev: pairs
    for early stopping, which the gate is then measured on, so that all others are learned from.
    """
    ordered = limited(pairs, None, seed) if kind == "dte" else list(pairs)
    if dev:
        learned, held_out = ordered, list(dev[: gate.most]) if gate.held_out else []
    else:
        learned, held_out = split_pairs(ordered, limit, gate)
    return repeated(learned, limit) if kind == "dte" else learned[:limit], held_out


def repeated(pairs: Sequence[T], limit: int | None) -> list[T]:
    """Pairs in their order, repeated until there are `limit`; None: each once."""
    return list(pairs) if limit is None else list(itertools.islice(itertools.cycle(pairs), limit))


def model_pairs(
    item: Item, rows: list[Row], labels: list[dict], seed: int, form: Form = "text2text"
) -> list[Pair] | list[Labelled]:
    """Pairs of the texts of U, in U's order, with the labels of a black box; at most `item.pairs`.

    The target is a text, or for heads the result of `label_target`. Texts without a label (prediction None) are left
    out before the pairs are counted.

    Variant `null-i` permutes the labels over these texts; each i has a seed of its own.
    Raises StaleFile if labels and U have different texts, or if no text has a label.
    """
    rows, used = answered_texts(item, rows, labels, seed)
    if form == "heads":
        try:
            targets = [label_target(label, item.classes, soft=item.target == "soft") for label in used]
        except PairError as error:
            raise PairError(f"{item.source}: {error}") from None
        return [Labelled(row.segments, target) for row, target in zip(rows, targets, strict=True)]
    words = dict(zip(item.classes, ((word,) for word in item.verbalizers or ()), strict=False))
    return [
        Pair(row.segments, mte_target(item.target, label["prediction"], item.classes, words))
        for row, label in zip(rows, used, strict=True)
    ]


def answered_texts(item: Item, rows: list[Row], labels: list[dict], seed: int) -> tuple[list[Row], list[dict]]:
    """The first `item.pairs` texts of U with a label, and their labels; variant `null-i` permutes the labels.

    Raises StaleFile as `model_pairs`.
    """
    if [row.id for row in rows] != [label["id"] for label in labels]:
        raise StaleFile(f"{item.source}: its labels are not those of U in this order; delete them and run again")
    answered = [(row, label) for row, label in zip(rows, labels, strict=True) if label["prediction"] is not None][
        : item.pairs
    ]
    if not answered:
        raise StaleFile(f"{item.source}: none of its {len(labels)} labels of U is a label; delete them and run again")
    rows, used = ([pair[side] for pair in answered] for side in (0, 1))
    if item.variant and item.variant.startswith("null-"):
        random.Random(f"{seed}/{item.variant}").shuffle(used)
    return rows, used


def label_target(label: Mapping[str, Any], classes: Sequence[str], *, soft: bool) -> Target:
    """Target of a head for a label of a black box. label: a line of its label file, with its classes in any order.

    With `classes`: the class, or if `soft` the probabilities of all classes. Without: the rounded number, or if `soft`
    the raw one; for a span its likeliest ends, hard or soft.
    Raises PairError, naming the line, for a label that lacks the values that the target needs.
    """
    where = f"label of {label['id']}: a head cannot learn {label['prediction']!r} without"
    if classes and soft:
        chances = dict(zip(label.get("classes", ()), label.get("probabilities", ()), strict=False))
        if missing := [name for name in classes if name not in chances]:
            raise PairError(f"{where} the probability of {missing[0]!r}; give classes and probabilities")
        return SoftTarget(tuple(chances[name] for name in classes))
    if not classes:
        if "value" in label:
            return NumberTarget(label_number(label, soft=soft))
        if "span" not in label:
            raise PairError(f"{where} its value or its span")
        if label["span"] is None:
            return NO_ANSWER
        (first, start), (last, stop) = label["span"]["start"], label["span"]["end"]
        return EndsTarget((first, start), (last, stop - 1))
    if label["prediction"] not in classes:
        raise PairError(f"label of {label['id']}: {label['prediction']!r} is not one of {', '.join(classes)}")
    return ClassTarget(classes.index(label["prediction"]), len(classes))


def label_number(label: Mapping[str, Any], *, soft: bool) -> float:
    """Number that a label says: the rounded one, or if `soft` the raw one. Raises PairError for what is none."""
    given = label["value" if soft else "prediction"]
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise PairError(f"label of {label['id']}: {given!r} is not a finite number, as its dataset has; correct it")
    return number


def sources_of(item: Item, files: Mapping[str, Path]) -> dict[str, Path]:
    """Files that an item is learned from, by kind."""
    if item.kind == "dte":
        names = {"train": f"train:{item.source}", "dev": f"dev:{item.source}"}
    else:
        labels = "soft_labels" if item.target == "soft" else "labels"
        names = {"unsup": f"unsup:{item.category}", labels: f"labels:{item.source}"}
    return {kind: files[name] for kind, name in names.items()}


@dataclass(frozen=True)
class ItemPairs:
    """Pairs of an item. dev: a dataset's pairs for early stopping, or None without it. held_out: for the gate."""

    learned: list[Pair] | list[Labelled]
    dev: list[Pair] | list[Labelled] | None
    held_out: list[Pair] | list[Labelled]


def item_pairs(
    item: Item, early_stop: bool, files: Mapping[str, Path], gate: GateConfig, form: Form = "text2text"
) -> ItemPairs:
    """Pairs that an item is learned from, and those that are held out.

    For the gate, a dataset gives its rows for early stopping, if the recipe stops early or if there are enough of them;
    otherwise rows that `item.pairs` leaves over, or the last ones. A black box gives the labels of the next texts of U,
    or of the last ones.
    """
    sources = sources_of(item, files)
    if item.kind == "dte":
        as_pairs = {"form": form, "classes": item.classes, "letters": item.target == "abc"}
        train, dev = (dataset_pairs(read_rows(sources[part]), None, item.seed, **as_pairs) for part in ("train", "dev"))
        if gate.held_out and (early_stop or len(dev) >= gate.wanted(min(len(train), item.pairs or len(train)))):
            learned, held_out = train, dev[: gate.most]
        else:
            learned, held_out = split_pairs(train, item.pairs, gate)
        return ItemPairs(repeated(learned, item.pairs), dev if early_stop else None, held_out)
    unsup, labels = sources.values()
    rows = read_rows(unsup)
    used = item.model_copy(update={"pairs": sum(gate.split(len(rows), item.pairs))})
    pairs = model_pairs(used, rows, read_jsonl(labels), item.seed, form)
    learned, held_out = split_pairs(pairs, item.pairs, gate)
    return ItemPairs(learned, None, held_out)
