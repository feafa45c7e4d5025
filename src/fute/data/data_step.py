"""The data steps: from a source to the artifacts of U and of each dataset."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from fute.artifacts import Step, canonical_json, read_jsonl
from fute.config.datasets import DatasetSettings, Source
from fute.config.unsup import UnsupCategory, UnsupSettings
from fute.data.crossfit import sample_unsup
from fute.data.crossfit_files import read_unsup
from fute.data.normalise import Normalised, exclusion_keys, normalise, size_warnings
from fute.data.rows import Row, SourceError
from fute.data.sources import load_dataset_rows


class UnsupStep(BaseModel):
    """Settings of the step that draws U for a category of the LLM experiment, or for the language models."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: UnsupCategory
    settings: UnsupSettings


class DatasetStep(BaseModel):
    """Settings of the steps that read one dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    entry: DatasetSettings
    source: Source
    test_rows: int | None
    train_rows: int | None
    dev_share: float
    seed: int


def _external(source: dict[str, Any]) -> dict[str, str]:
    """Files outside the project that a step read, for its record: name -> sha256."""
    return {f"data:{file['path']}": file["sha256"] for file in source.get("files", []) if "sha256" in file}


def prepare_unsup(settings: UnsupStep, *, source: dict[str, Any], root: Path, rows: Path, counts: Path) -> None:
    """Draw U: rows in the order every model reads them, and how many texts each task gave."""
    found = read_unsup(settings.settings, root)
    drawn, table = sample_unsup(found.tasks, settings.category, settings.settings, families=found.families)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    seeds = {"unsup": settings.settings.seed}
    with Step(
        "sample_unsup",
        module=__name__,
        settings=settings.model_dump(),
        external=_external(source),
        seeds=seeds,
    ) as step:
        step.jsonl(rows, [row.to_json() for row in drawn])
        step.bytes(counts, buffer.getvalue().encode(), rows=len(table))
    used = sum(count["drawn"] > 0 for count in table)
    print(f"U for {settings.category}: {len(drawn)} texts from {used} of {len(table)} tasks")
    if settings.settings.kind == "crossfit_full":
        capped, printed = (sum(count[name] for count in table) for name in ("capped", "paper"))
        print(f"  before the limit: {capped} texts, in the paper {printed}")


def _normalised(
    settings: DatasetStep, root: Path, exclude: frozenset[str] = frozenset(), revision: str | None = None
) -> tuple[Normalised, dict[str, Any]]:
    raw = load_dataset_rows(settings.dataset, settings.entry, source=settings.source, root=root, revision=revision)
    result = normalise(
        settings.dataset,
        settings.entry,
        raw,
        test_rows=settings.test_rows,
        train_rows=settings.train_rows,
        dev_share=settings.dev_share,
        seed=settings.seed,
        exclude=exclude,
    )
    return result, raw.lock


def prepare_test(settings: DatasetStep, *, source: dict[str, Any], root: Path, test: Path, lock: Path) -> None:
    """Write the evaluation rows and the lock of what was read."""
    result, locked = _normalised(settings, root)
    with Step(
        "normalise_test", module=__name__, settings=settings.model_dump(), external=_external(source),
        seeds={"sample": settings.seed},
    ) as step:  # fmt: skip
        step.jsonl(test, [row.to_json() for row in result.rows["test"]])
        step.json(lock, locked)
    classes = result.counts["test"]["classes"]
    print(f"{settings.dataset} ({settings.entry.title}): {len(result.rows['test'])} evaluation rows, {classes}")


def prepare_train(
    settings: DatasetStep, *, source: dict[str, Any], root: Path, lock: Path, exclude: Sequence[Path],
    train: Path, dev: Path, counts: Path,
) -> None:  # fmt: skip
    """Write the training rows and those held out of them, without any text that is evaluated on.

    exclude: evaluation rows of this dataset and of those its registry entry calls overlapping.
    Raises SourceError where the source has changed since the evaluation rows were read.
    """
    evaluated = (Row.from_json(obj, str(path)) for path in exclude for obj in read_jsonl(path))
    keys = exclusion_keys(settings.dataset, settings.entry, evaluated)
    read = json.loads(lock.read_text(encoding="utf8"))
    result, locked = _normalised(settings, root, keys, read.get("revision"))
    if canonical_json(locked) != canonical_json(read):
        raise SourceError(f"{settings.dataset}: the source is not what {lock} says; delete that file and run again")
    with Step(
        "normalise_train", module=__name__, settings=settings.model_dump(), inputs=[*exclude, lock],
        external=_external(source), seeds={"sample": settings.seed},
    ) as step:  # fmt: skip
        step.jsonl(train, [row.to_json() for row in result.rows["train"]])
        step.jsonl(dev, [row.to_json() for row in result.rows["dev"]])
        step.json(counts, result.counts)
    print(f"{settings.dataset}: {len(result.rows['train'])} training rows, {len(result.rows['dev'])} held out")
    for line in size_warnings(settings.entry, result.counts):
        print(f"  warning: {line}")
