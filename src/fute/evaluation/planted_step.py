"""Test the methods on planted black boxes, whose right order is known because it was made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fute import paths
from fute.artifacts import Step, read_jsonl
from fute.display_names import LEVEL, SIMILARITY_ROWS
from fute.embeddings.vectors import LABELCOV, Embedding, in_one_space
from fute.evaluation.planted import Outcome, ladder_test, retrieval_test
from fute.evaluation.similarities_step import centre_of, loader, similarity_row
from fute.specs.planted import PlantedSettings

MEAN = "mean"
"""In the place of a target: of all ladders, or all targets, of a test."""

HISTOGRAM = "label-histogram"
"""Baseline of retrieval: how far a box names each class as often as the dataset does; in the column `cosine`."""

Rows = list[dict[str, Any]]


def planted(
    settings: PlantedSettings,
    *,
    files: Sequence[Path],
    scores: Mapping[str, Path],
    labels: Mapping[str, Path],
    train: Mapping[str, Path],
    results: Path,
    similarities: Path,
) -> None:
    """Write what the tests found, and the similarities that they are of.

    results: one row per (test, method, similarity, target, measure); target `mean` for a test's verdict.
    similarities: one row per (test, method, target, black box). The candidates that `candidates_cosine` is centred on
    are the boxes of one ladder, or those of a retrieval; `nulls_cosine` is centred on the nulls of a test that has any.
    scores: `model/dataset` -> the score file of each fine-tuned model whose quality is its score.
    labels: `model/dataset` -> what each black box of a retrieval says of U. train: dataset -> its training rows.
    They are what the baseline `label-histogram` compares.
    files: the vectors, at their paths under `results/embeddings`. Raises ValueError if one is missing.
    """
    get = loader(files)
    more = [path for named in (scores, labels, train) for path in named.values()]
    measured = {box: json.loads(path.read_text(encoding="utf8"))["mean"] for box, path in scores.items()}
    measures, rows = [], []
    for name, test in settings.ladders.items():
        for method in test.methods:
            front = {"test": name, "method": method}
            ladders = []
            for ladder in test.ladders:
                boxes = [(model, task) for model, task, _ in ladder.boxes]
                similar = _similarities(settings, method, boxes, ladder.nulls, [ladder.target], get)
                qualities = [measured[f"{m}/{task}"] if q is None else q for m, task, q in ladder.boxes]
                ladders.append([front | row | {"quality": q} for row, q in zip(similar, qualities, strict=True)])
            rows += [row for ladder in ladders for row in ladder]
            measures += _ladder_rows(front, ladders, settings.seed)
    for name, test in settings.retrievals.items():
        boxes = [(test.model, dataset) for dataset in test.datasets]
        for method in (*test.methods, HISTOGRAM):
            front = {"test": name, "method": method}
            if method == HISTOGRAM:
                similar = _histogram_overlaps(boxes, labels, train)
            else:
                similar = _similarities(settings, method, boxes, test.nulls, test.datasets, get)
            rows += [front | row | {"quality": float(row["source"] == row["target"])} for row in similar]
            measures += _retrieval_rows(front, similar, settings)
    with Step(__name__, settings=settings.model_dump(), inputs=[*files, *more]) as step:
        step.csv(results, measures)
        step.csv(similarities, rows)


def _similarities(
    settings: PlantedSettings,
    method: str,
    boxes: Sequence[tuple[str, str]],
    nulls: Sequence[tuple[str, str]],
    targets: Sequence[str],
    get: Any,
) -> Rows:
    """One row per (target, black box), of the columns of `similarity_row`. nulls: boxes, no candidates."""
    base = settings.models[method], method
    mtes = {box: get(paths.mte(*base, *box)) for box in dict.fromkeys([*boxes, *nulls])}
    dtes = {target: get(paths.dte(*base, target)) for target in targets}
    if method == LABELCOV:
        mtes, dtes = _placed(mtes, dtes)
    centres = {"candidates": centre_of([mtes[box] for box in boxes])}
    if nulls:
        centres["nulls"] = centre_of([mtes[null] for null in nulls])
    return [
        {"target": target, "model": box[0], "source": box[1]} | similarity_row(mtes[box], dte, **centres)
        for target, dte in dtes.items()
        for box in boxes
    ]


def _placed(*groups: dict[Any, Embedding]) -> list[dict[Any, Embedding]]:
    """LabelCov's vectors in one space; a box that says one word of all texts has none, and bears on no other."""
    given = [(place, key) for place, group in enumerate(groups) for key in group if "no_vector" not in group[key].meta]
    placed = [{key: replace(each, segments=[]) for key, each in group.items()} for group in groups]
    for (place, key), vector in zip(given, in_one_space([groups[place][key] for place, key in given]), strict=True):
        placed[place][key] = vector
    return placed


def _histogram_overlaps(
    boxes: Sequence[tuple[str, str]], labels: Mapping[str, Path], train: Mapping[str, Path]
) -> Rows:
    """One row per (target, black box) of a retrieval. labels, train: those of `planted`."""
    given = {dataset: _shares(read_jsonl(train[dataset]), "label") for _, dataset in boxes}
    said = {box: _shares(read_jsonl(labels["/".join(box)]), "prediction") for box in boxes}
    return [
        {"target": target, "model": model, "source": source, "cosine": (own & shares).total()}
        for target, own in given.items()
        for (model, source), shares in said.items()
    ]


def _shares(rows: Iterable[Mapping[str, Any]], name: str) -> Counter[str]:
    """Share of each value of a field. The overlap of two, `(a & b).total()`, is 1 if they are equal."""
    counts = Counter(str(row[name]) for row in rows)
    return Counter({value: count / counts.total() for value, count in counts.items()})


def _measured(rows: Rows) -> Iterator[str]:
    """Similarities that a method has: those with any number in these rows."""
    return (name for name in SIMILARITY_ROWS if not np.isnan([row.get(name, np.nan) for row in rows]).all())


def _ladder_rows(front: Mapping[str, str], ladders: Sequence[Rows], seed: int) -> Iterator[dict[str, Any]]:
    for similarity in _measured([row for ladder in ladders for row in ladder]):
        made = [[row["quality"] for row in ladder] for ladder in ladders]
        given = [[row[similarity] for row in ladder] for ladder in ladders]
        head = {**front, "similarity": similarity, "measure": "spearman", "boxes": len(made[0])}
        for ladder, qualities, values in zip(ladders, made, given, strict=True):
            yield _row(head | {"target": ladder[0]["target"]}, ladder_test([qualities], [values], seed=seed))
        yield _row(head | {"target": MEAN}, ladder_test(made, given, seed=seed))


def _retrieval_rows(front: Mapping[str, str], rows: Rows, settings: PlantedSettings) -> Iterator[dict[str, Any]]:
    n = round(len(rows) ** 0.5)
    for similarity in _measured(rows):
        table = np.array([row[similarity] for row in rows]).reshape(n, n)
        for measure, outcome in retrieval_test(table, settings.draws, seed=settings.seed).items():
            head = {**front, "similarity": similarity, "measure": measure, "boxes": n, "target": MEAN}
            yield _row(head, outcome)


def _row(head: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    return {**head, **outcome._asdict(), "passes": outcome.p <= LEVEL}
