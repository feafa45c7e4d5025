"""Write the evaluation rows of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fute.artifacts import Step
from fute.config.run_lock import pinned_dataset
from fute.data.sources import check_planned, external_files
from fute.data.splits import SplitSettings, normalised


def normalise_test(
    settings: SplitSettings,
    *,
    source: dict[str, Any],
    root: Path,
    own: dict[str, str],
    test: Path,
    lock: Path,
    run_lock: Path | None = None,
) -> None:
    """Write the evaluation rows, and the lock of the files that were read.

    root: folder of the run's data. own: dataset of the run's own -> its folder.
    source: identity of the files when the run was planned. Raises SourceError if they are others now.
    run_lock: lock of the run, whose commit of a repository is read; a file that is not there names none.
    """
    folder = Path(own.get(settings.dataset, root))
    revision = pinned_dataset(run_lock, settings.dataset)
    test.parent.mkdir(parents=True, exist_ok=True)
    result, record = normalised(settings, folder, revision=revision, scratch=test.parent)
    check_planned(source, record, settings.dataset)
    with Step(
        __name__, settings=settings.model_dump(), external=external_files(source),
        seeds={"sample": settings.seed},
    ) as step:  # fmt: skip
        step.jsonl(test, (row.to_json() for row in result.rows["test"]))
        step.json(lock, record)
    by_class = ", ".join(f"{count} {name}" for name, count in result.counts["test"]["classes"].items())
    shown = f" ({by_class})" if settings.entry.task == "classification" else ""
    print(f"{settings.dataset} ({settings.entry.title}): {len(result.rows['test'])} evaluation rows{shown}")
