"""Take an LLM's own choice among the prompts of a category (Self-Select) from its batch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fute.artifacts import Step
from fute.llm.batch_lines import cell_lines


@dataclass(frozen=True)
class SelfSelection:
    """Prompt numbers (from 1) in the order of an LLM's preference. fell_back: True if its answer named none."""

    ranking: tuple[int, ...]
    fell_back: bool


# A whole number that is not part of a word or a decimal, and no count ("of the 13 templates"); and a list of such
# numbers, as in "3", "3, 1, 2" or "3 > 1 > 2". Markdown writes "_3_", and some models "Template_3" or "Template3".
_NUMBER = r"(?:(?<![^\W_])(?<!\.)|(?<=template))\d+(?![^\W_]|\.\d| +templates)"
_NUMBER_LIST = re.compile(rf"{_NUMBER}(?:(?:[\s,;>]|->)+{_NUMBER})*", re.IGNORECASE)


def parse_self_select(answer: str, n_prompts: int) -> SelfSelection:
    """Read an LLM's answer to `self_select_prompt`: the first list of numbers that has a valid one.

    Numbers outside 1..n_prompts and repetitions are ignored. An answer without a valid number counts as prompt 1 and
    sets `fell_back`, which callers count and report.
    """
    for listed in _NUMBER_LIST.finditer(answer):
        numbers = (int(number) for number in re.findall(r"\d+", listed.group()))
        ranking = tuple(dict.fromkeys(number for number in numbers if 1 <= number <= n_prompts))
        if ranking:
            return SelfSelection(ranking, fell_back=False)
    return SelfSelection((1,), fell_back=True)


def self_select(*, key: str, prompts: Sequence[str], batch: Path, output: Path) -> None:
    """Write the LLM's own ranking of the prompts (best first), with its raw answer."""
    _, lines = cell_lines(batch, key)
    chosen = parse_self_select(lines[0]["answer"], len(prompts))
    with Step(__name__, settings={"key": key, "prompts": list(prompts)}, inputs=[batch]) as step:
        step.json(
            output,
            {
                "answer": lines[0]["answer"],
                "fell_back": chosen.fell_back,
                "ranking": [prompts[number - 1] for number in chosen.ranking],
            },
        )
