"""Texts as a black box's token ids, with the characters that each token covers, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fute.blackbox.heads import BlackBox, BlackBoxError
from fute.data.rows import Answer, BadRow, Row, alphanumeric

NULL = (0, 0)
"""Token span of `no answer`: both at position 0, as the authors have it. That is BERT's [CLS]; a model that puts no
mark in front has the question's first token there, where no answer in a context can begin."""

SEGMENT_BREAK = "\n\n"
"""Stands before the second segment where the tokenizer puts no mark between two (GPT-2, SmolLM2)."""


class Place(NamedTuple):
    """Characters start..end of a segment (0 or 1): what a token covers."""

    segment: int
    start: int
    end: int


@dataclass(frozen=True)
class Encoded:
    """A text as token ids. places: for spans, one a token, None for marks.

    target: class index, number, or token span; None where it is not known. `target_ids` makes the training loop's
    mean over target tokens a mean over texts.
    """

    index: int
    input_ids: tuple[int, ...]
    type_ids: tuple[int, ...] | None
    places: tuple[Place | None, ...] | None = None
    target: int | float | tuple[int, int] | None = None
    target_ids: tuple[int, ...] = (0,)


def segments_for(inputs: int, segments: tuple[str, ...]) -> tuple[str, ...]:
    """How a text enters a model of one input (its last segment) or two (both, or the segment and an empty one)."""
    return (segments[-1],) if inputs == 1 else (*segments, "")[:2]


def inputs_of(rows: Sequence[Row]) -> int:
    """Segments of a dataset's texts. Raises BlackBoxError where they differ, or there are none."""
    counts = {len(row.segments) for row in rows}
    if len(counts) != 1:
        raise BlackBoxError(f"texts of {len(counts)} numbers of segments; a model has one or two inputs")
    return counts.pop()


def encode(box: BlackBox, texts: Sequence[tuple[str, ...]]) -> list[Encoded]:
    """Token ids of texts, at most `box.max_tokens` each.

    Pairs that are too long lose tokens of the longer segment; for spans of the second one alone, unless the first
    leaves it no room. There are no sliding windows.
    """
    if not texts:
        return []
    wanted = [_marked(box, segments_for(box.inputs, text)) for text in texts]
    spans = box.task.task == "span"
    options = {"return_offsets_mapping": spans, "return_attention_mask": False, "verbose": False}
    columns = list(zip(*wanted, strict=True))
    whole = box.tokenizer(*(list(column) for column in columns), **options)
    encoded = []
    for index, text in enumerate(wanted):
        found, row = whole, index
        if len(whole["input_ids"][index]) > box.max_tokens:
            found, row = _cut(box, text, options), 0
        ids = tuple(found["input_ids"][row])
        _check_ends(box, ids, text)
        types = tuple(found["token_type_ids"][row]) if "token_type_ids" in found else None
        encoded.append(Encoded(index, ids, types, _places(box, found, row) if spans else None))
    return encoded


def _breaks(box: BlackBox) -> bool:
    """Whether two segments must be told apart by `SEGMENT_BREAK`."""
    count = box.tokenizer.num_special_tokens_to_add
    return box.inputs == 2 and count(pair=True) == count(pair=False)


def _marked(box: BlackBox, text: tuple[str, ...]) -> tuple[str, ...]:
    if box.family == "encoder-decoder" and (end := box.tokenizer.eos_token):
        # the end mark written in a text would be taken for the text's end; blanks keep the places of characters
        text = tuple(segment.replace(end, " " * len(end)) for segment in text)
    return (text[0], SEGMENT_BREAK + text[1]) if _breaks(box) else text


def _cut(box: BlackBox, text: tuple[str, ...], options: dict[str, Any]) -> Any:
    how = "longest_first"
    if box.task.task == "span":
        marks = box.tokenizer.num_special_tokens_to_add(pair=True)
        first = len(box.tokenizer(text[0], add_special_tokens=False, verbose=False)["input_ids"])
        how = "only_second" if first + marks < box.max_tokens else how
    return box.tokenizer(*([segment] for segment in text), truncation=how, max_length=box.max_tokens, **options)


def _check_ends(box: BlackBox, ids: tuple[int, ...], text: tuple[str, ...]) -> None:
    """T5's classification head reads the last end mark, and all texts of a batch must hold as many."""
    if box.family == "encoder-decoder" and box.task.task != "span":
        found = ids.count(box.tokenizer.eos_token_id)
        if found != len(text) or ids[-1] != box.tokenizer.eos_token_id:
            raise BlackBoxError(
                f"{found} end marks in the ids of {len(text)} segment(s) ({text[0][:40]!r}): the tokenizer must end "
                "each segment, and the whole, with its eos_token"
            )


def _places(box: BlackBox, found: Any, row: int) -> tuple[Place | None, ...]:
    shift = len(SEGMENT_BREAK) if _breaks(box) else 0
    places: list[Place | None] = []
    for segment, (start, end) in zip(found.sequence_ids(row), found["offset_mapping"][row], strict=True):
        if segment == 1:
            start, end = max(0, start - shift), end - shift
        places.append(None if segment is None or end <= start else Place(segment, start, end))
    return tuple(places)


def encode_rows(box: BlackBox, rows: Sequence[Row]) -> list[Encoded]:
    """Labelled rows with their targets. Raises BadRow, naming the row, for a target that cannot be learned."""
    encoded = encode(box, [row.segments for row in rows])
    return [
        Encoded(e.index, e.input_ids, e.type_ids, None, target_of(box, row, e.places))
        for e, row in zip(encoded, rows, strict=True)
    ]


def target_of(box: BlackBox, row: Row, places: Sequence[Place | None] | None) -> int | float | tuple[int, int]:
    """What a row's label is to the head: class index, number, or token span."""
    task = box.task
    if task.task == "span":
        if row.answers is None:
            raise BadRow(row.id, "answers", "are missing", f"build {task.dataset} again as a span dataset")
        return answer_tokens(row.answers[0], row, places) if row.answers else NULL
    if task.task == "regression":
        if row.value is None:
            raise BadRow(row.id, "value", "is missing", f"build {task.dataset} again as a regression dataset")
        return row.value
    if row.label not in task.classes:
        remedy = f"the classes of {task.dataset} are {', '.join(task.classes)}: correct its entry, or build it again"
        raise BadRow(row.id, "label", f"is {row.label!r}, which is no class", remedy)
    return task.classes.index(row.label)


def answer_tokens(answer: Answer, row: Row, places: Sequence[Place | None]) -> tuple[int, int]:
    """First and last token of an answer in the context; `NULL` where it is not whole within the tokens kept.

    Raises BadRow where the characters of these tokens do not hold the answer: the row's place or the tokenizer's
    offsets are wrong, and training would go on silently with other words.
    """
    context = row.segments[1]
    if not context.startswith(answer.text, answer.start):
        problem = f"{answer.text!r} does not stand at character {answer.start} of the context"
        raise BadRow(row.id, "answers", problem, "build the dataset again")
    start = answer.start + len(answer.text) - len(answer.text.lstrip())
    end = answer.start + len(answer.text.rstrip())
    inside = [(token, place) for token, place in enumerate(places) if place and place.segment == 1]
    if not inside or inside[-1][1].end < end:
        return NULL
    first = next((token for token, place in inside if place.end > start), None)
    last = next((token for token, place in reversed(inside) if place.start < end), None)
    found = first is not None and last is not None and first <= last
    covered = context[places[first].start : places[last].end] if found else ""
    if alphanumeric(answer.text) not in alphanumeric(covered) or not covered:
        problem = f"{answer.text!r} at character {answer.start} became the tokens of {covered!r}"
        raise BadRow(row.id, "answers", problem, "the tokenizer's offsets are wrong: use another tokenizer")
    return first, last


def collate(box: BlackBox, batch: Sequence[Encoded]) -> dict[str, Tensor]:
    """A batch as the model takes it, padded on the right: input_ids, attention_mask, token_type_ids, (B, T)."""
    width = max(len(text.input_ids) for text in batch)

    def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
        return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], device=box.device)

    inputs = {
        "input_ids": padded([text.input_ids for text in batch], box.pad_id),
        "attention_mask": padded([[1] * len(text.input_ids) for text in batch], 0),
    }
    if batch[0].type_ids is not None:
        inputs["token_type_ids"] = padded([text.type_ids for text in batch], 0)
    return inputs
