"""Take an LLM's own choice among the prompts of a category (Self-Select) from its batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fute.artifacts import Step
from fute.llm.batch_lines import cell_lines
from fute.llm.self_select import parse_self_select


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
