"""Draw U, the unlabelled texts of one category."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fute.artifacts import Step
from fute.config.sections import Section
from fute.config.unsup import UnsupCategory, UnsupSettings
from fute.data.crossfit import LANGUAGE_MODELS, UnsupEntry, draw_unsup
from fute.data.sources import check_planned, external_files
from fute.data.unsup_files import read_unsup


class UnsupStep(Section):
    """Settings of the step that draws U for a category of the LLM experiment, or for the language models.

    entry: what the category's registry entry says of U; None for the language models.
    """

    category: UnsupCategory
    settings: UnsupSettings
    entry: UnsupEntry | None = None


def sample_unsup(settings: UnsupStep, *, source: dict[str, Any], root: Path, rows: Path, counts: Path) -> None:
    """Draw U: write its rows in the order in which every model reads them, and the counts of texts per task.

    source: identity of the files when the run was planned. Raises SourceError if they are others now.
    """
    lines = read_unsup(settings.settings, root)
    check_planned(source, lines.lock, f"U for {settings.category}")
    drawn, table = draw_unsup(
        lines.tasks, settings.category, settings.settings, settings.entry or LANGUAGE_MODELS, families=lines.families
    )
    with Step(
        __name__, settings=settings.model_dump(), external=external_files(source),
        seeds={"unsup": settings.settings.seed},
    ) as step:  # fmt: skip
        step.jsonl(rows, [row.to_json() for row in drawn])
        step.csv(counts, table)
    used = sum(count["drawn"] > 0 for count in table)
    print(f"U for {settings.category}: {len(drawn)} texts from {used} of {len(table)} tasks")
    if settings.settings.kind == "crossfit_full":
        capped, printed = (sum(count[name] for count in table) for name in ("capped", "paper"))
        print(f"  before the limit: {capped} texts, in the paper {printed}")
