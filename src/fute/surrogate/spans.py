"""Places of an answer's characters among the tokens of a surrogate's input."""

from __future__ import annotations

from collections.abc import Sequence

from fute.surrogate.text2text import SEGMENT_BREAK, PairError, Surrogate, begin_ids, longest_first


def span_tokens(
    context: Sequence[tuple[int, int]], kept: Sequence[int], start: int, stop: int
) -> tuple[int, int] | None:
    """First and last token that hold characters `start` to `stop` (exclusive); None if one of them was cut.

    context: (first character, one after the last) of every token of the context. kept: places in the input of the
    tokens that it keeps, which are the first ones.
    """
    holding = [i for i, (first, end) in enumerate(context) if first < min(end, stop) and start < end]
    if not holding or holding[-1] >= len(kept):
        return None
    return kept[holding[0]], kept[holding[-1]]


def segment_tokens(
    surrogate: Surrogate, x: tuple[str, ...], segment: int
) -> tuple[list[tuple[int, int]], Sequence[int]]:
    """Tokens of a segment, as the arguments `context` and `kept` of `span_tokens`."""
    tokenizer, limit = surrogate.tokenizer, surrogate.settings.max_input_tokens
    if not tokenizer.is_fast:
        raise PairError(f"{type(tokenizer).__name__} does not give the characters of a token; use a fast tokenizer")
    if surrogate.family == "encoder-decoder":
        whole = tokenizer(*x, return_offsets_mapping=True, verbose=False)
        segments = whole.sequence_ids(0)
        tokens = [place for i, place in enumerate(whole["offset_mapping"]) if segments[i] == segment]
        cut = tokenizer(*x, truncation="longest_first", max_length=limit)
        return tokens, [i for i, number in enumerate(cut.sequence_ids(0)) if number == segment]
    shift = len(SEGMENT_BREAK) if segment else 0
    parts = [x[0], *(SEGMENT_BREAK + text for text in x[1:])]
    options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
    places = [tokenizer(part, **options)["offset_mapping"] for part in parts]
    kept = longest_first(len(places[0]), sum(map(len, places[1:])), limit)
    before = len(begin_ids(surrogate)) + (kept[0] if segment else 0)
    return [(start - shift, stop - shift) for start, stop in places[segment]], range(before, before + kept[segment])
