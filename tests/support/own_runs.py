"""Data of one's own, and runs that `fute new` makes of them, in the current folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fute.front.new import new_run
from fute.front.wanted import Wanted

WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "kilo", "lima", "mike"]


def texts(count: int, start: int = 0) -> list[str]:
    """Different texts, which are the same wherever a number is asked for."""
    return [f"{WORDS[n % 12]} {WORDS[n // 12 % 12]} said number {n} to all of us" for n in range(start, start + count)]


def write_data(templates: Sequence[str]) -> None:
    """The table `d.csv` of 40 texts and two classes, and the prompts `p.yaml`."""
    rows = "".join(f"{text},{['no', 'yes'][n % 2]}\n" for n, text in enumerate(texts(40)))
    Path("d.csv").write_text("text,label\n" + rows)
    Path("p.yaml").write_text(json.dumps([{"template": template} for template in templates]))


def make_runs(templates: Sequence[str]) -> None:
    """The run `mine` of these prompts, and the run `start` of three models."""
    write_data(templates)
    new_run(Wanted(Path("mine"), Path("d.csv"), prompts=Path("p.yaml"), model="smollm2-135m"))
    new_run(Wanted(Path("start"), Path("d.csv"), models=("bert-base", "gpt2", "minilm-l6")))
