"""The section `unsup`: how the unlabelled texts U are drawn."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from fute.config.categories import check_known
from fute.config.sections import Id, Section

LM = "lm"
"""Stands for the language-model experiment where a category of the LLM experiment may be named: it has a U, too."""


def _known(name: str, info: ValidationInfo) -> str:
    return check_known(name, info, LM)


UnsupCategory = Annotated[Id, AfterValidator(_known)]
"""What a U is drawn for: a category of the LLM experiment, or the language-model experiment."""


class UnsupSettings(Section):
    """How the unlabelled texts U are drawn: the same texts, in the same order, for every black box."""

    kind: Literal["pool", "crossfit_full", "crossfit_fewshot"] = Field(
        description="Form of the source. `pool`: one file of JSON lines. `crossfit_full`: a folder with the training "
        "split of each CrossFit script, `{script}.tsv` or `{script}.jsonl`. `crossfit_fewshot`: CrossFit's own folders "
        "of few-shot files, `{task}/{task}_{k}_{seed}_{split}.tsv`."
    )
    path: str = Field(description="That file or folder, relative to `data.root`.")
    max_per_script: int | None = Field(
        None,
        ge=1,
        description="Most texts from one script (or task). `null`: 1000 for `lm`, else the category's (100).",
    )
    limit: int | None = Field(
        None, ge=1, description="Most texts in all. `null`: no limit for `lm`, else the category's (10000)."
    )
    seed: int = Field(42, description="Seed of the draw.")
    exclude: tuple[str, ...] | None = Field(
        None,
        description="Scripts or tasks to leave out. `null`: the category's list, which leaves the evaluated datasets "
        "out.",
    )
    exclude_strict: bool = Field(
        False, description="Also leave out what shares texts with an evaluated dataset; the authors do not."
    )
    max_words: int | None = Field(
        None,
        ge=2,
        description="Most words of a text, over both segments; words are cut from the longest segment. `null`: no cut.",
    )
    stratify: Literal["family"] | None = Field(
        None,
        description="`family`: take texts from the families of tasks in turn until `limit` is reached, so that a small "
        "U is still mixed. `null`: a plain draw.",
    )
