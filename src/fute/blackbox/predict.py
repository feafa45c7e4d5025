"""What a fine-tuned black box says of texts: hard and soft forms, and its score on evaluation rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fute.blackbox.encoding import NULL, Encoded, Place, encode
from fute.blackbox.finetune import head_logits
from fute.blackbox.heads import BlackBox
from fute.blackbox.metrics import Prediction, task_score
from fute.data.rows import Row
from fute.data.text2text import UNANSWERABLE, number_target

N_BEST = 20
MAX_ANSWER_TOKENS = 30
ENCODED_AT_ONCE = 4096
"""Texts whose token ids are held in memory together; batches of similar length are cut from so many."""

Texts = Sequence[tuple[str, ...]]
Within = Literal["context", "anywhere"]
"""Where a span may lie: in the second segment (evaluation), or in any (the texts of U, most of which have one)."""


def best_span(
    start: NDArray[np.float32], end: NDArray[np.float32], places: Sequence[Place | None], within: Within
) -> Place | None:
    """The best span as characters of one segment; None where no valid one beats the null span.

    start, end: logits, (T,). Of the 20 best starts and ends: the end not before the start, in the same segment, at
    most 30 tokens, the sum of logits largest, earlier ones first where sums are equal.
    """
    null = float(start[NULL[0]] + end[NULL[1]])
    allowed = [place is not None and (within == "anywhere" or place.segment == 1) for place in places]
    best, found = null, None
    ends = _largest(end, allowed)
    for first in _largest(start, allowed):
        for last in ends:
            if not first <= last < first + MAX_ANSWER_TOKENS or places[first].segment != places[last].segment:
                continue
            score = float(start[first] + end[last])
            if score > best and (first, last) != NULL:
                best, found = score, Place(places[first].segment, places[first].start, places[last].end)
    return found


def _largest(logits: NDArray[np.float32], allowed: Sequence[bool]) -> list[int]:
    order = np.argsort(-logits[: len(allowed)], kind="stable")
    return [int(token) for token in order if allowed[token]][:N_BEST]


def cut(text: tuple[str, ...], place: Place | None) -> str:
    """The characters of a place, without outer blanks; empty for None."""
    return "" if place is None else text[place.segment][place.start : place.end].strip()


def batches_by_length(encoded: Sequence[Encoded], size: int) -> Iterator[list[Encoded]]:
    """Batches of texts of similar length."""
    ordered = sorted(encoded, key=lambda text: (len(text.input_ids), text.index))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


@torch.no_grad()
def raw_outputs(
    box: BlackBox, texts: Texts, *, batch_size: int, autocast: bool, progress: Callable[[int], object] | None = None
) -> Iterator[tuple[NDArray[np.float32], tuple[Place | None, ...] | None]]:
    """Logits of each text in order: (classes,), (1,), or (2, T) with the places of its tokens."""
    for first in range(0, len(texts), ENCODED_AT_ONCE):
        encoded = encode(box, texts[first : first + ENCODED_AT_ONCE])
        found: list[NDArray[np.float32] | None] = [None] * len(encoded)
        for batch in batches_by_length(encoded, batch_size):
            logits = head_logits(box, batch, autocast=autocast).cpu().numpy()
            for text, values in zip(batch, logits, strict=True):
                found[text.index] = values[..., : len(text.input_ids)] if box.task.task == "span" else values
            if progress:
                progress(len(batch))
        for text, values in zip(encoded, found, strict=True):
            yield values, text.places


def predict(
    box: BlackBox, texts: Texts, *, batch_size: int = 32, autocast: bool = False,
    progress: Callable[[int], object] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """What the black box says of texts of U: `prediction`, the target string, and its soft form.

    classes: the likeliest class's name; `classes`, `probabilities`. number: rounded as the dataset's targets;
    `value`, as the head gave it. span: its text, from any segment, or `unanswerable`; `span`: segment, start and
    end character of the likeliest start and end tokens, each taken alone; None where one of them is no text.
    """
    options = {"batch_size": batch_size, "autocast": autocast, "progress": progress}
    said = []
    for text, (logits, places) in zip(texts, raw_outputs(box, texts, **options), strict=True):
        if box.task.task == "classification":
            odds = np.exp(logits - logits.max())
            shares = [round(float(p), 6) for p in odds / odds.sum()]
            classes = box.task.classes
            said.append({"prediction": classes[int(logits.argmax())], "classes": classes, "probabilities": shares})
        elif box.task.task == "regression":
            value, scale = float(logits[0]), box.task.scale
            name = number_target(value, low=scale.low, high=scale.high, step=scale.step)
            said.append({"prediction": name, "value": round(value, 6)})
        else:
            answer = cut(text, best_span(*logits, places, "anywhere"))
            answer = " ".join(answer.split()) or UNANSWERABLE
            said.append({"prediction": answer, "span": _likeliest(*logits, places)})
    return said


def _likeliest(
    start: NDArray[np.float32], end: NDArray[np.float32], places: Sequence[Place | None]
) -> dict[str, list[int]] | None:
    """(segment, character) of the likeliest start and of the likeliest end, each on its own."""
    first, last = int(start.argmax()), int(end.argmax())
    if (first, last) == NULL or places[first] is None or places[last] is None:
        return None
    a, b = places[first], places[last]
    return {"start": [a.segment, a.start], "end": [b.segment, b.end]}


def evaluate(
    box: BlackBox, rows: Sequence[Row], *, batch_size: int = 32, autocast: bool = False,
) -> float:  # fmt: skip
    """Score on labelled rows by the dataset's metric, in percent; numbers unrounded, spans from the context."""
    texts = [row.segments for row in rows]
    predictions: list[Prediction] = []
    for text, (logits, places) in zip(
        texts, raw_outputs(box, texts, batch_size=batch_size, autocast=autocast), strict=True
    ):
        if box.task.task == "classification":
            predictions.append(box.task.classes[int(logits.argmax())])
        elif box.task.task == "regression":
            predictions.append(float(logits[0]))
        else:
            predictions.append(cut(text, best_span(*logits, places, "context")))
    return task_score(box.task, rows, predictions)
