"""Turn texts into a black box's token ids, with the characters that each token covers, and into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fute.blackbox.heads import BlackBox, BlackBoxError
from fute.data.rows import Answer, BadRow, Row, alphanumeric

NULL = (0, 0)
"""Token span of `no answer`: start and end at position 0, as in the authors' code. BERT has its [CLS] there. A model
that puts no mark in front has the question's first token there, where no answer in a context can begin."""

ENCODED_AT_ONCE = 4096
"""Texts that are tokenised at a time: the characters of every token of an uncut text take far more memory than ids."""

SEGMENT_BREAK = "\n\n"
"""Put before the second segment where the tokenizer puts no mark between two segments (GPT-2, SmolLM2)."""


class Place(NamedTuple):
    """The characters start..end of a segment (0 or 1) that a token covers."""

    segment: int
    start: int
    end: int


@dataclass(frozen=True)
class Encoded:
    """A text as token ids.

    places: for span tasks one per token, None for marks such as [CLS]; None for other tasks.
    target: class index, number, or token span; None where it is not known.
    target_ids: one id per text, so that the training loop's mean over target tokens is a mean over texts.
    """

    index: int
    input_ids: tuple[int, ...]
    type_ids: tuple[int, ...] | None
    places: tuple[Place | None, ...] | None = None
    target: int | float | tuple[int, int] | None = None
    target_ids: tuple[int, ...] = (0,)


def segments_for(inputs: int, segments: tuple[str, ...]) -> tuple[str, ...]:
    """Segments that a model reads: for one input the last, for two both (an empty second one if there is none)."""
    return (segments[-1],) if inputs == 1 else (*segments, "")[:2]


def inputs_of(rows: Sequence[Row]) -> int:
    """Number of segments of a dataset's texts. Raises BlackBoxError if texts differ in it, or there are no texts."""
    counts = {len(row.segments) for row in rows}
    if len(counts) != 1:
        raise BlackBoxError(
            f"the numbers of segments are {sorted(counts)}; a dataset needs texts that all have one, or all two"
        )
    return counts.pop()


def encode(box: BlackBox, texts: Sequence[tuple[str, ...]]) -> list[Encoded]:
    """Token ids of texts, at most `box.max_tokens` each.

    A pair that is too long loses tokens of its longer segment. For span tasks it loses tokens of the second segment
    alone, unless the first leaves no room for it. There are no sliding windows.
    """
    wanted = [_marked(box, segments_for(box.inputs, text)) for text in texts]
    spans = box.task.task == "span"
    options = {"return_offsets_mapping": spans, "return_attention_mask": False, "verbose": False}
    columns = list(zip(*wanted, strict=True))
    whole = box.tokenizer(*(list(column) for column in columns), **options)
    encoded = []
    for index, text in enumerate(wanted):
        tokens, row = whole, index
        if len(whole["input_ids"][index]) > box.max_tokens:
            tokens, row = _cut(box, text, options), 0
        ids = tuple(tokens["input_ids"][row])
        _check_ends(box, ids, text)
        types = tuple(tokens["token_type_ids"][row]) if "token_type_ids" in tokens else None
        encoded.append(Encoded(index, ids, types, _places(box, tokens, row) if spans else None))
    return encoded


def _breaks(box: BlackBox) -> bool:
    """True if only `SEGMENT_BREAK` separates two segments, because the tokenizer puts no mark between them."""
    count = box.tokenizer.num_special_tokens_to_add
    return box.inputs == 2 and count(pair=True) == count(pair=False)


def _marked(box: BlackBox, text: tuple[str, ...]) -> tuple[str, ...]:
    return (text[0], SEGMENT_BREAK + text[1]) if _breaks(box) else text


def _cut(box: BlackBox, text: tuple[str, ...], options: dict[str, Any]) -> Any:
    how = "longest_first"
    if box.task.task == "span":
        marks = box.tokenizer.num_special_tokens_to_add(pair=True)
        first = len(box.tokenizer(text[0], add_special_tokens=False, verbose=False)["input_ids"])
        how = "only_second" if first + marks < box.max_tokens else how
    return box.tokenizer(*([segment] for segment in text), truncation=how, max_length=box.max_tokens, **options)


def _check_ends(box: BlackBox, ids: tuple[int, ...], text: tuple[str, ...]) -> None:
    """Check the end marks: heads of T5 and BART read the last one, and need as many in every text."""
    if box.family == "encoder-decoder" and box.task.task != "span":
        end = box.tokenizer.eos_token_id
        count, wanted = ids.count(end), _end_marks(box)
        if count != wanted or ids[-1] != end:
            raise BlackBoxError(
                f"{count} end marks in the ids of {len(text)} segment(s) ({text[0][:40]!r}), of which the tokenizer "
                f"writes {wanted}: it must end every text with its eos_token, and find no other one in it"
            )


def _end_marks(box: BlackBox) -> int:
    """End marks that the tokenizer writes into a text: T5's one after each segment, BART's two between segments."""
    return box.tokenizer(*["a"] * box.inputs)["input_ids"].count(box.tokenizer.eos_token_id)


def _places(box: BlackBox, tokens: Any, row: int) -> tuple[Place | None, ...]:
    shift = len(SEGMENT_BREAK) if _breaks(box) else 0
    places: list[Place | None] = []
    for segment, (start, end) in zip(tokens.sequence_ids(row), tokens["offset_mapping"][row], strict=True):
        if segment == 1:
            start, end = max(0, start - shift), end - shift
        places.append(None if segment is None or end <= start else Place(segment, start, end))
    return tuple(places)


def encode_rows(box: BlackBox, rows: Sequence[Row]) -> list[Encoded]:
    """Encode labelled rows with their targets. Raises BadRow for a target that cannot be learned."""
    result: list[Encoded] = []
    for first in range(0, len(rows), ENCODED_AT_ONCE):
        some = rows[first : first + ENCODED_AT_ONCE]
        encoded = encode(box, [row.segments for row in some])
        result += [
            Encoded(first + e.index, e.input_ids, e.type_ids, None, target_of(box, row, e.places))
            for e, row in zip(encoded, some, strict=True)
        ]
    return result


def target_of(box: BlackBox, row: Row, places: Sequence[Place | None] | None) -> int | float | tuple[int, int]:
    """Target of the head for a row: class index, number, or token span. Raises BadRow if the row has none."""
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
    """First and last token of an answer in the context; `NULL` where the tokens kept do not hold all of it.

    Raises BadRow where the characters of these tokens do not hold the answer. Then the row's position or the
    tokenizer's offsets are wrong, and training would silently use other words.
    """
    context = row.segments[1]
    if not context.startswith(answer.text, answer.start):
        problem = f"{answer.text!r} is not at character {answer.start} of the context"
        raise BadRow(row.id, "answers", problem, "build the dataset again")
    start = answer.start + len(answer.text) - len(answer.text.lstrip())
    end = answer.start + len(answer.text.rstrip())
    inside = [(token, place) for token, place in enumerate(places) if place and place.segment == 1]
    if not inside or inside[-1][1].end < end:
        return NULL
    first = next((token for token, place in inside if place.end > start), None)
    last = next((token for token, place in reversed(inside) if place.start < end), None)
    in_order = first is not None and last is not None and first <= last
    covered = context[places[first].start : places[last].end] if in_order else ""
    if alphanumeric(answer.text) not in alphanumeric(covered) or not covered:
        problem = f"{answer.text!r} at character {answer.start} became the tokens of {covered!r}"
        raise BadRow(row.id, "answers", problem, "the tokenizer's offsets are wrong: use another tokenizer")
    return first, last


def collate(box: BlackBox, batch: Sequence[Encoded]) -> dict[str, Tensor]:
    """Inputs of the model for a batch, padded on the right: input_ids, attention_mask, token_type_ids, each (B, T)."""
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
