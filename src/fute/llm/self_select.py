"""Self-Select: the LLM itself chooses the best prompt.

Here is the question alone, which the labelling step asks: reading an answer in another way (`self_select_step`) must
not label anything again.
"""

from __future__ import annotations

from collections.abc import Sequence


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
