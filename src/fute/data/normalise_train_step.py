"""Write the training rows of a dataset, and the dev rows held out of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fute.artifacts import Step, canonical_json, iterate_jsonl
from fute.data.rows import Row, SourceError
from fute.data.sources import check_planned, external_files
from fute.data.splits import DROPPED, SplitSettings, exclusion_keys, normalised, size_warnings


def normalise_train(
    settings: SplitSettings, *, source: dict[str, Any], root: Path, own: dict[str, str], lock: Path,
    exclude: Sequence[Path], train: Path, dev: Path, counts: Path,
) -> None:  # fmt: skip
    """Write the training rows and the dev rows held out of them, without any text that is evaluated on.

    root: folder of the run's data. own: dataset of the run's own -> its folder.
    exclude: files of evaluation rows: of this dataset, and of those that its registry entry lists as overlapping.
    source: identity of the files when the run was planned. Raises SourceError if the source has changed since then, or
    since the evaluation rows were read.
    """
    evaluated = (Row.from_json(obj, str(path)) for path in exclude for obj in iterate_jsonl(path))
    keys = exclusion_keys(settings.dataset, settings.entry, evaluated)
    recorded = json.loads(lock.read_text(encoding="utf8"))
    folder = Path(own.get(settings.dataset, root))
    train.parent.mkdir(parents=True, exist_ok=True)
    result, current = normalised(settings, folder, keys, recorded.get("revision"), scratch=train.parent)
    check_planned(source, current, settings.dataset)
    if canonical_json(current) != canonical_json(recorded):
        raise SourceError(f"{settings.dataset}: the source is not what {lock} says; delete that file and run again")
    with Step(
        __name__, settings=settings.model_dump(), inputs=[*exclude, lock],
        external=external_files(source), seeds={"sample": settings.seed},
    ) as step:  # fmt: skip
        step.jsonl(train, (row.to_json() for row in result.rows["train"]))
        step.jsonl(dev, (row.to_json() for row in result.rows["dev"]))
        step.json(counts, result.counts)
    print(f"{settings.dataset}: {len(result.rows['train'])} training rows, {len(result.rows['dev'])} held out")
    for name, why in DROPPED.items():
        if dropped := result.counts["train"].get(name):
            print(f"  dropped: {dropped} training rows that {why}")
    for line in size_warnings(settings.entry, result.counts):
        print(f"  warning: {line}")
