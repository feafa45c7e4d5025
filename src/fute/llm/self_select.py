"""Self-Select: the LLM itself chooses the best prompt.

The labelling step asks the question and the extraction step reads the answer. Both are separate from the scores of the
other baselines, because an edit there must not relabel anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SelfSelection:
    """Prompt numbers (from 1) in the order of an LLM's preference. fell_back: True if its answer named none."""

    ranking: tuple[int, ...]
    fell_back: bool


def self_select_prompt(task_description: str, templates: Sequence[str]) -> str:
    """Question that asks an LLM to choose among numbered prompt templates (Self-Select; the wording is ours)."""
    if not templates:
        raise ValueError("Self-Select needs at least one template")
    listed = "\n\n".join(f"Template {number}:\n{text}" for number, text in enumerate(templates, start=1))
    return (
        f"A language model shall solve this task: {task_description.strip()}\n\n"
        f"Each template below is one way to ask it; the parts in braces stand for the input.\n\n{listed}\n\n"
        "With which template will the model give the most correct answers? "
        "Answer with the number of that template only."
    )


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
