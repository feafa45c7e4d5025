"""Pairs of the heads form: a text and the target of its head, with answers as places among the surrogate's tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fute.surrogate.spans import segment_tokens, span_tokens
from fute.surrogate.text2text import (
    Example,
    PairError,
    Surrogate,
    causal_inputs,
    check_segments,
    encoder_inputs,
)

NO_ANSWER_TOKENS = (0, 0)
"""Place of an answer that does not exist, as in the authors' code."""

Kind = Literal["class", "soft", "number", "span"]


@dataclass(frozen=True)
class ClassTarget:
    """One of `classes` classes, by its index."""

    index: int
    classes: int


@dataclass(frozen=True)
class SoftTarget:
    """Probability of each class, given by a black box."""

    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class NumberTarget:
    """The value of a regression."""

    value: float


@dataclass(frozen=True)
class SpanTarget:
    """An answer in the second segment: characters `start` to `stop` (exclusive). (0, 0): there is no answer."""

    start: int
    stop: int


NO_ANSWER = SpanTarget(0, 0)


class EndsTarget(NamedTuple):
    """An answer given by a black box as two separate ends, each (segment, character).

    first: the first character of the answer's first token. last: the last character of its last token.
    """

    first: tuple[int, int]
    last: tuple[int, int]


Target = ClassTarget | SoftTarget | NumberTarget | SpanTarget | EndsTarget


@dataclass(frozen=True)
class Labelled:
    """One example: the input x as one or two text segments, and the target of the head."""

    x: tuple[str, ...]
    target: Target


@dataclass(frozen=True)
class LabelledExample(Example):
    """`target_ids` holds one entry per prediction: (class,), (start, stop) in tokens, (value,) or (probabilities,).

    The training loop averages over predictions here, and over target tokens in the text-to-text form.
    """

    target_ids: tuple[int | float | tuple[float, ...], ...]


@dataclass(frozen=True)
class HeadTask:
    """The task of a head. outputs: numbers that the head gives per text, or per token for spans."""

    kind: Kind
    outputs: int


def head_task(pairs: Sequence[Labelled]) -> HeadTask:
    """The task that all pairs of a set share.

    Raises PairError, naming the pair, if a target is of another kind or number of classes than the first one, or is
    not valid; and if there are no pairs.
    """
    tasks = [_task_of(index, pair) for index, pair in enumerate(pairs)]
    for index, task in enumerate(tasks):
        if task != tasks[0]:
            raise PairError(f"pair {index}: its target needs {task}, that of pair 0 {tasks[0]}; give pairs of one task")
    if not tasks:
        raise PairError("there are no pairs to make a head for")
    return tasks[0]


def _task_of(index: int, pair: Labelled) -> HeadTask:
    target = getattr(pair, "target", None)
    if isinstance(target, NumberTarget) and math.isfinite(target.value):
        return HeadTask("number", 1)
    if isinstance(target, SpanTarget) and 0 <= target.start <= target.stop <= len((*pair.x, "")[1]):
        return HeadTask("span", 2)
    if isinstance(target, EndsTarget) and all(s < len(pair.x) and at < len(pair.x[s]) for s, at in target):
        return HeadTask("span", 2)
    if isinstance(target, ClassTarget) and target.classes >= 2 and 0 <= target.index < target.classes:
        return HeadTask("class", target.classes)
    if isinstance(target, SoftTarget) and _are_probabilities(target.probabilities):
        return HeadTask("soft", len(target.probabilities))
    raise PairError(
        f"pair {index}: {target!r} is not a target of a head: give one of two or more classes, probabilities in 0..1 "
        "of two or more classes, a finite number, characters inside the second segment, or ends inside their segments"
    )


def _are_probabilities(values: tuple[float, ...]) -> bool:
    return len(values) >= 2 and all(0 <= value <= 1 for value in values)


def encode_labelled(surrogate: Surrogate, pairs: Sequence[Labelled]) -> list[LabelledExample]:
    """Token ids and target of each pair, in order.

    encoder-decoder: as in the text-to-text form. causal: (BOS if the tokenizer adds it) + the text + eos; a head of
    classes reads at eos. An answer's characters become the tokens that hold them. They become (0, 0) if there is no
    answer, or if cutting its segment removed a part of it; the example then says so (`target_cut`).
    Raises PairError, naming the pair, if x has no text, or not one or two segments.
    """
    texts = [pair.x for pair in pairs]
    check_segments(texts)
    if surrogate.family == "causal":
        inputs = causal_inputs(surrogate, texts, [surrogate.tokenizer.eos_token_id])
    else:
        inputs = encoder_inputs(surrogate, texts)
    examples = []
    for index, ((ids, cut), pair) in enumerate(zip(inputs, pairs, strict=True)):
        target = _target_ids(surrogate, pair)
        lost = target is None and pair.target != NO_ANSWER
        examples.append(LabelledExample(index, tuple(ids), target or NO_ANSWER_TOKENS, cut, lost))
    return examples


def _target_ids(surrogate: Surrogate, pair: Labelled) -> tuple | None:
    """Entries of `target_ids`; None for an answer that is not among the tokens."""
    match pair.target:
        case ClassTarget(index):
            return (index,)
        case SoftTarget(probabilities):
            return (tuple(map(float, probabilities)),)
        case NumberTarget(value):
            return (float(value),)
        case SpanTarget(start, stop):
            given = pair.target != NO_ANSWER
            return span_tokens(*segment_tokens(surrogate, pair.x, 1), start, stop) if given else None
        case EndsTarget():
            first, last = (_tokens_of_letter(surrogate, pair.x, *end) for end in _letters(pair.x, pair.target))
            return (first[0], last[1]) if first and last else None


def _letters(x: tuple[str, ...], ends: EndsTarget) -> EndsTarget:
    """The ends moved past blanks, because GPT-2's tokens begin with one."""
    (s, start), (t, stop) = ends
    return EndsTarget((s, len(x[s]) - len(x[s][start:].lstrip())), (t, len(x[t][: stop + 1].rstrip()) - 1))


def _tokens_of_letter(surrogate: Surrogate, x: tuple[str, ...], segment: int, place: int) -> tuple[int, int] | None:
    """First and last token that hold a character."""
    return span_tokens(*segment_tokens(surrogate, x, segment), place, place + 1)
