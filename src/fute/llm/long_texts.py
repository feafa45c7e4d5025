"""Prompts that are longer than `max_length`: found before the first request, refused all at once, or cut at their text.

Lengths are known where the engine has the model's tokenizer (transformers, vllm); a server's is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fute.llm.engine import Engine, EngineError, PromptTokenizer, ScoreRequest

SLICE = 4096
"""Prompts whose tokens are in memory at a time."""
NAMED = 5
"""Requests that an error names."""


class LongTextError(EngineError):
    """Requests do not fit into the model's prompt. The message counts them and names the first."""


def tokenizer_of(engine: Engine) -> PromptTokenizer | None:
    """Tokenizer of an engine; None for one that sends text to a server."""
    return getattr(engine, "prompts", None)


def _lengths(encode: Callable[[Sequence[str]], list[list[int]]], texts: Sequence[str]) -> Iterator[int]:
    for start in range(0, len(texts), SLICE):
        yield from map(len, encode(texts[start : start + SLICE]))


def prompt_lengths(prompts: PromptTokenizer, requests: Sequence[ScoreRequest]) -> list[int]:
    """Tokens of the first turn of each request."""
    return list(_lengths(prompts.encode, [prompts.render(r.user, system=r.system) for r in requests]))


def text_lengths(prompts: PromptTokenizer, texts: Sequence[str]) -> list[int]:
    """Tokens of plain texts, whose likelihood is asked for."""
    return list(_lengths(prompts.encode_texts, texts))


def longest_prompt(prompts: PromptTokenizer, new_tokens: int) -> int:
    """Most tokens of a prompt that is followed by `new_tokens` new ones."""
    return min(prompts.max_length, prompts.limit - new_tokens)


def room_for_reasoning(prompts: PromptTokenizer, request: ScoreRequest, reasoning_tokens: int) -> int:
    """Most tokens that the second turn of a chain of thought has beyond the first; 0 without one."""
    if request.followup is None:
        return 0
    turns = prompts.render(request.user, "", request.followup, system=request.system)
    first, second = map(len, prompts.encode([prompts.render(request.user, system=request.system), turns]))
    return max(0, second - first) + reasoning_tokens


def cut(segments: tuple[str, ...], fits: Callable[[tuple[str, ...]], bool]) -> tuple[str, ...] | None:
    """The segments without the end of the longest, so that they fit; None if not even one character of them does.

    The longest segments are cut to one number of characters, the largest that is found to fit.
    """

    def kept(characters: int) -> tuple[str, ...]:
        return tuple(segment[:characters].rstrip() for segment in segments)

    low, high = 0, max(map(len, segments))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(kept(middle)) else (low, middle)
    return kept(low) if low else None


def refuse(too_long: Sequence[tuple[str, int, int]], requests: int, *, may_cut: bool) -> None:
    """Raise LongTextError if there are any. too_long: (id, tokens, most tokens) of each request that does not fit."""
    if not too_long:
        return
    ordered = sorted(too_long, key=lambda each: -each[1])
    named = ", ".join(f"{name} ({tokens} of at most {most})" for name, tokens, most in ordered[:NAMED])
    more = f" and {len(ordered) - NAMED} more" if len(ordered) > NAMED else ""
    advice = (
        "Set llm.long_texts: cut, raise llm.engine.max_length (the model's context permitting), or shorten the texts"
    )
    if not may_cut:
        advice = "Their instructions alone are too long: raise llm.engine.max_length, or shorten the prompts"
    raise LongTextError(
        f"{len(ordered)} of {requests} requests have prompts with too many tokens, the longest {ordered[0][1]}: "
        f"{named}{more}. Nothing was asked. {advice}"
    )
