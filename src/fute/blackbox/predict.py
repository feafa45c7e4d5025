"""Outputs of a fine-tuned black box for texts, in hard and soft form, and its score on evaluation rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fute.blackbox.encoding import ENCODED_AT_ONCE, NULL, Encoded, Place, encode
from fute.blackbox.finetune import head_logits
from fute.blackbox.heads import BlackBox
from fute.blackbox.metrics import Prediction, task_score
from fute.data.rows import Row
from fute.data.text2text import UNANSWERABLE, number_target

N_BEST = 20
MAX_ANSWER_TOKENS = 30

Texts = Sequence[tuple[str, ...]]
Within = Literal["context", "anywhere"]
"""Allowed place of a span: the second segment (evaluation), or any segment (U, where most texts have only one)."""


def best_span(
    start: NDArray[np.float32], end: NDArray[np.float32], places: Sequence[Place | None], within: Within
) -> Place | None:
    """The best span as characters of one segment; None where no valid one beats the null span.

    start, end: logits, (T,). Candidates are the 20 best starts and the 20 best ends. A valid span ends in the same
    segment, not before its start, and has at most 30 tokens. The largest sum of logits wins; of equal sums, the
    candidate that was tried first.
    """
    null = float(start[NULL[0]] + end[NULL[1]])
    allowed = [place is not None and (within == "anywhere" or place.segment == 1) for place in places]
    best, span = null, None
    ends = _largest(end, allowed)
    for first in _largest(start, allowed):
        for last in ends:
            if not first <= last < first + MAX_ANSWER_TOKENS or places[first].segment != places[last].segment:
                continue
            score = float(start[first] + end[last])
            if score > best and (first, last) != NULL:
                best, span = score, Place(places[first].segment, places[first].start, places[last].end)
    return span


def _largest(logits: NDArray[np.float32], allowed: Sequence[bool]) -> list[int]:
    order = np.argsort(-logits[: len(allowed)], kind="stable")
    return [int(token) for token in order if allowed[token]][:N_BEST]


def cut(text: tuple[str, ...], place: Place | None) -> str:
    """Characters of a place, without outer blanks; empty for None."""
    return "" if place is None else text[place.segment][place.start : place.end].strip()


def batches_by_length(encoded: Sequence[Encoded], size: int) -> Iterator[list[Encoded]]:
    """Yield batches of at most `size` texts of similar length."""
    ordered = sorted(encoded, key=lambda text: (len(text.input_ids), text.index))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


@torch.no_grad()
def raw_outputs(
    box: BlackBox, texts: Texts, *, batch_size: int, autocast: bool, progress: Callable[[int], object] | None = None
) -> Iterator[tuple[NDArray[np.float32], tuple[Place | None, ...] | None]]:
    """Yield the logits of each text, in order: (classes,), (1,), or (2, T) together with the places of its tokens.

    Batches of similar length are formed among `ENCODED_AT_ONCE` texts.
    """
    for first in range(0, len(texts), ENCODED_AT_ONCE):
        encoded = encode(box, texts[first : first + ENCODED_AT_ONCE])
        outputs: list[NDArray[np.float32] | None] = [None] * len(encoded)
        for batch in batches_by_length(encoded, batch_size):
            logits = head_logits(box, batch, autocast=autocast).cpu().numpy()
            for text, values in zip(batch, logits, strict=True):
                outputs[text.index] = values[..., : len(text.input_ids)] if box.task.task == "span" else values
            if progress:
                progress(len(batch))
        for text, values in zip(encoded, outputs, strict=True):
            yield values, text.places


def predict(
    box: BlackBox, texts: Texts, *, batch_size: int = 32, autocast: bool = False,
    progress: Callable[[int], object] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Outputs of the black box for texts of U: one `prediction`, the target string, per text, with its soft form.

    classes: the name of the likeliest class; soft form `classes` and `probabilities`.
    number: rounded like the dataset's targets; soft form `value`, as the head gave it.
    span: its text, from any segment, or `unanswerable`; soft form `span`, with `start` and `end`: (segment,
    character) of the likeliest start token and end token, each chosen alone. None if one of them covers no text.
    """
    options = {"batch_size": batch_size, "autocast": autocast, "progress": progress}
    outputs = []
    for text, (logits, places) in zip(texts, raw_outputs(box, texts, **options), strict=True):
        if box.task.task == "classification":
            odds = np.exp(logits - logits.max())
            shares = [round(float(p), 6) for p in odds / odds.sum()]
            classes = box.task.classes
            outputs.append({"prediction": classes[int(logits.argmax())], "classes": classes, "probabilities": shares})
        elif box.task.task == "regression":
            value, scale = float(logits[0]), box.task.scale
            name = number_target(value, low=scale.low, high=scale.high, step=scale.step)
            outputs.append({"prediction": name, "value": round(value, 6)})
        else:
            answer = cut(text, best_span(*logits, places, "anywhere"))
            answer = " ".join(answer.split()) or UNANSWERABLE
            outputs.append({"prediction": answer, "span": _likeliest(*logits, places)})
    return outputs


def _likeliest(
    start: NDArray[np.float32], end: NDArray[np.float32], places: Sequence[Place | None]
) -> dict[str, list[int]] | None:
    """(segment, character) of the likeliest start and of the likeliest end, each chosen alone."""
    first, last = int(start.argmax()), int(end.argmax())
    if (first, last) == NULL or places[first] is None or places[last] is None:
        return None
    a, b = places[first], places[last]
    return {"start": [a.segment, a.start], "end": [b.segment, b.end]}


def evaluate(box: BlackBox, rows: Sequence[Row], *, batch_size: int = 32, autocast: bool = False) -> float:
    """Score on labelled rows by the dataset's metric, in percent; numbers are not rounded, spans lie in the context."""
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
