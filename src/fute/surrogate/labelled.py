"""Pairs of the heads form: a text and what a head shall say of it, with answers found among the surrogate's tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fute.surrogate.text2text import (
    SEGMENT_BREAK,
    Example,
    PairError,
    Surrogate,
    begin_ids,
    causal_inputs,
    check_segments,
    encoder_inputs,
    longest_first,
    token_ids,
)

NO_ANSWER_TOKENS = (0, 0)
"""Where an answer stands that is not there: what the authors' code takes."""

Kind = Literal["class", "soft", "number", "span"]


@dataclass(frozen=True)
class ClassTarget:
    """One of `classes` classes, by its index."""

    index: int
    classes: int


@dataclass(frozen=True)
class SoftTarget:
    """A black box's probability of each class."""

    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class NumberTarget:
    """The value of a regression."""

    value: float


@dataclass(frozen=True)
class SpanTarget:
    """An answer in the second segment, from character `start` to before `stop`; (0, 0): there is none."""

    start: int
    stop: int


Target = ClassTarget | SoftTarget | NumberTarget | SpanTarget


@dataclass(frozen=True)
class Labelled:
    """One example: the input x as one or two text segments, and what the head shall say of it."""

    x: tuple[str, ...]
    target: Target


@dataclass(frozen=True)
class LabelledExample(Example):
    """`target_ids` holds one entry a prediction: (class,), (start, stop) in tokens, (value,) or (probabilities,).

    The training loop takes means over predictions, as over target tokens of the text-to-text form.
    """

    target_ids: tuple[int | float | tuple[float, ...], ...]  # type: ignore[assignment]


@dataclass(frozen=True)
class HeadTask:
    """What a set of pairs asks of a head. outputs: how many numbers it gives, a text or (for spans) a token."""

    kind: Kind
    outputs: int


def head_task(pairs: Sequence[Labelled]) -> HeadTask:
    """The one task of a set of pairs.

    Raises PairError, naming the pair, where targets are of different kinds or numbers of classes, or no targets.
    """
    tasks = [_task_of(index, pair) for index, pair in enumerate(pairs)]
    for index, task in enumerate(tasks):
        if task != tasks[0]:
            raise PairError(f"pair {index}: its target asks for {task}, that of pair 0 for {tasks[0]}; a head has one")
    if not tasks:
        raise PairError("there are no pairs to make a head for")
    return tasks[0]


def _task_of(index: int, pair: Labelled) -> HeadTask:
    target = getattr(pair, "target", None)
    if isinstance(target, NumberTarget) and math.isfinite(target.value):
        return HeadTask("number", 1)
    if isinstance(target, SpanTarget) and len(pair.x) == 2 and 0 <= target.start <= target.stop <= len(pair.x[1]):
        return HeadTask("span", 2)
    if isinstance(target, ClassTarget) and target.classes >= 2 and 0 <= target.index < target.classes:
        return HeadTask("class", target.classes)
    if isinstance(target, SoftTarget) and _are_probabilities(target.probabilities):
        return HeadTask("soft", len(target.probabilities))
    raise PairError(
        f"pair {index}: {target!r} is no target of a head: give one of two or more classes, probabilities in 0..1 of "
        "two or more classes, a finite number, or characters inside the second segment"
    )


def _are_probabilities(values: tuple[float, ...]) -> bool:
    return len(values) >= 2 and all(0 <= value <= 1 for value in values)


def encode_labelled(surrogate: Surrogate, pairs: Sequence[Labelled]) -> list[LabelledExample]:
    """Token ids and target of each pair, in order.

    encoder-decoder: as in the text-to-text form; causal: (BOS if the tokenizer adds it) + the text + eos, where
    the head of classes reads. An answer's characters become the tokens that hold them: (0, 0) where there is none,
    or where cutting the context took a part of it, which is marked on the example (`target_cut`).
    Raises PairError, naming the pair, for an x without any text, or not one or two segments.
    """
    texts = [pair.x for pair in pairs]
    check_segments(texts)
    if not pairs:
        return []
    if surrogate.family == "causal":
        inputs = causal_inputs(surrogate, texts, [surrogate.tokenizer.eos_token_id])
    else:
        inputs = encoder_inputs(surrogate, texts)
    examples = []
    for index, ((ids, cut), pair) in enumerate(zip(inputs, pairs, strict=True)):
        target = _target_ids(surrogate, pair)
        lost = isinstance(pair.target, SpanTarget) and pair.target.stop > 0 and target == NO_ANSWER_TOKENS
        examples.append(LabelledExample(index, tuple(ids), target, cut, lost))
    return examples


def _target_ids(surrogate: Surrogate, pair: Labelled) -> tuple:
    match pair.target:
        case ClassTarget(index):
            return (index,)
        case SoftTarget(probabilities):
            return (tuple(map(float, probabilities)),)
        case NumberTarget(value):
            return (float(value),)
        case SpanTarget() as span:
            context, kept = _context_tokens(surrogate, pair.x)
            return span_tokens(context, kept, span)


def span_tokens(context: Sequence[tuple[int, int]], kept: Sequence[int], span: SpanTarget) -> tuple[int, int]:
    """First and last token that hold characters of an answer; (0, 0) where one of its tokens was cut.

    context: first character and the one after the last, of every token of the context. kept: places in the input
    of those that it keeps, the first ones.
    """
    holding = [i for i, (start, stop) in enumerate(context) if start < min(stop, span.stop) and span.start < stop]
    if not holding or holding[-1] >= len(kept):
        return NO_ANSWER_TOKENS
    return kept[holding[0]], kept[holding[-1]]


def _context_tokens(surrogate: Surrogate, x: tuple[str, ...]) -> tuple[list[tuple[int, int]], Sequence[int]]:
    """The tokens of the second segment, as `span_tokens` takes them."""
    tokenizer, limit = surrogate.tokenizer, surrogate.settings.max_input_tokens
    if not tokenizer.is_fast:
        raise PairError(f"{type(tokenizer).__name__} does not say which characters a token holds; use a fast tokenizer")
    if surrogate.family == "encoder-decoder":
        whole = tokenizer(*x, return_offsets_mapping=True, verbose=False)
        segments = whole.sequence_ids(0)
        context = [place for i, place in enumerate(whole["offset_mapping"]) if segments[i] == 1]
        cut = tokenizer(*x, truncation="longest_first", max_length=limit)
        return context, [i for i, segment in enumerate(cut.sequence_ids(0)) if segment == 1]
    question = token_ids(surrogate, [x[0]])[0]
    second = tokenizer(SEGMENT_BREAK + x[1], add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    context = [(start - len(SEGMENT_BREAK), stop - len(SEGMENT_BREAK)) for start, stop in second["offset_mapping"]]
    kept_question, kept = longest_first(len(question), len(context), limit)
    before = len(begin_ids(surrogate)) + kept_question
    return context, range(before, before + kept)
