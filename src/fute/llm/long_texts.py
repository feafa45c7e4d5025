"""Texts cut to a number of words; prompts longer than `max_length`, refused all at once or cut at their text.

Lengths are known where the engine has the model's tokenizer (transformers, vllm); a server's is not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

from fute.llm.engine import Engine, EngineError, PromptTokenizer, ScoreRequest
from fute.wording import listed

SLICE = 4096
"""Prompts whose tokens are in memory at a time."""
NAMED = 5
"""Requests that an error names."""
WORD = re.compile(
    # scripts written without blanks: each character (Thai, Lao, Myanmar, Khmer, kana, Han) counts as a word
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    # others: what stands between blanks, and in a longer run without any blank every 40 characters
    "|[^\\s\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]{1,40}"
)


def cut_words(text: str, limit: int | None) -> str:
    """First `limit` words of the text; the unchanged text if it has no more. None: no limit.

    Words stand between blanks. So that a text without blanks is cut, too, each character of a script that is written
    without them counts as a word, and so do every 40 characters of a longer run.
    """
    if limit is None:
        return text
    words = itertools.islice(WORD.finditer(text), limit + 1)
    ends = [word.end() for word in words]
    return text if len(ends) <= limit else " ".join(text[: ends[limit - 1]].split())


class LongTextError(EngineError):
    """Requests do not fit into the model's prompt. The message counts them and names the first."""


def tokenizer_of(engine: Engine) -> PromptTokenizer | None:
    """Tokenizer of an engine; None for one that sends text to a server."""
    return getattr(engine, "prompts", None)


def prompt_lengths(prompts: PromptTokenizer, requests: Sequence[ScoreRequest]) -> list[int]:
    """Tokens of the first turn of each request."""
    rendered = [prompts.render(r.user, system=r.system) for r in requests]
    slices = (rendered[start : start + SLICE] for start in range(0, len(rendered), SLICE))
    return [len(ids) for texts in slices for ids in prompts.encode(texts)]


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


TooLong = Sequence[tuple[str, int, int]]
"""(id, tokens, most tokens) of each request that does not fit."""


def refuse(texts: TooLong, choices: TooLong, requests: int, *, may_cut: bool) -> None:
    """Raise LongTextError if there are any. choices: those of Self-Select, which have no text to cut."""
    too_long = [*texts, *choices]
    if not too_long:
        return
    ordered = sorted(too_long, key=lambda each: -each[1])
    named = listed([f"{name} ({tokens} of at most {most})" for name, tokens, most in ordered], NAMED)
    raised = "raise llm.engine.max_length (the model's context permitting)"
    advice = f"Set llm.long_texts: cut, {raised}, or shorten the texts. " if texts else ""
    if texts and not may_cut:
        advice = f"Their instructions alone are too long: {raised}, or shorten the prompts. "
    if choices:
        advice += (
            f"Self-Select asks with all prompts of a category at once: {raised}, or leave it out of llm.baselines. "
        )
    raise LongTextError(
        f"{len(ordered)} of {requests} requests have prompts with too many tokens, the longest {ordered[0][1]}: "
        f"{named}. Nothing was asked. {advice.strip()}"
    )
