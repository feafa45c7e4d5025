"""The section `unsup`: how the unlabelled texts U are drawn."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fute.config.sections import Section

UnsupCategory = Literal["lm", "sa", "nli"]

PER_SCRIPT: dict[UnsupCategory, int] = {"lm": 1000, "sa": 100, "nli": 100}
LIMIT: dict[UnsupCategory, int | None] = {"lm": None, "sa": 10_000, "nli": 10_000}


class UnsupSettings(Section):
    """How U is drawn.

    kind            pool: one JSON-lines file; crossfit_full: the training split of each script in a file
                    `{script}.tsv` or `{script}.jsonl`; crossfit_fewshot: CrossFit's own folders of few-shot
                    files, `{task}/{task}_{k}_{seed}_{split}.tsv`
    path            that file or folder, relative to the data root
    max_per_script  texts a script (or task); None: 1,000 for language models, 100 for LLMs
    limit           texts in all; None: no limit for language models, 10,000 for LLMs
    exclude         scripts or tasks to leave out; None: the authors' list for the category
    exclude_strict  leave out also what shares texts with an evaluated dataset (the authors do not)
    max_words       a text is cut to so many words over its segments, the longest first; None: never
    stratify        family: fill `limit` from the families of tasks in turn, for draws too small to be even
    """

    kind: Literal["pool", "crossfit_full", "crossfit_fewshot"]
    path: str
    max_per_script: int | None = Field(default=None, ge=1)
    limit: int | None = Field(default=None, ge=1)
    seed: int = 42
    exclude: tuple[str, ...] | None = None
    exclude_strict: bool = False
    max_words: int | None = Field(default=None, ge=2)
    stratify: Literal["family"] | None = None
