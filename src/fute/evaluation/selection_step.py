"""Select a prompt by every method and measure the choice: Table 3 in long form."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fute import paths
from fute.artifacts import StaleFile, Step, read_jsonl
from fute.config.sections import Section
from fute.csv_files import read_table
from fute.display_names import METHOD_NAMES, SIMILARITY_ROWS
from fute.evaluation.permutation import PERMUTATIONS
from fute.evaluation.selection import UNLABELLED, Block, average_blocks, prompt_performance, selection_table

COUNTED = ("unlabelled", "bounded", "cut")
"""Columns of performance.csv that count unusual rows; a column without any is left out."""
UNCALIBRATED = ("LocalE (uncalibrated)", "GlobalE (uncalibrated)")


class SelectionSettings(Section):
    """Settings of step `selection`.

    prompts, datasets: ids by category, prompts in the order of their numbers. classes, metrics: by category.
    draws: of the bootstrap. permutations: of the tests against random choices, and the most that are enumerated for an
    exact one.
    """

    models: tuple[str, ...]
    prompts: dict[str, tuple[str, ...]]
    datasets: dict[str, tuple[str, ...]]
    methods: tuple[str, ...]
    calibration: str
    classes: dict[str, tuple[str, ...]]
    metrics: dict[str, str]
    draws: int
    permutations: int = PERMUTATIONS
    seed: int


def predictions_of(rows: list[dict[str, Any]], classes: tuple[str, ...]) -> np.ndarray:
    """Class indices (N,) of the predictions of a label file; `UNLABELLED` for a row without one."""
    return np.array([UNLABELLED if row["prediction"] is None else classes.index(row["prediction"]) for row in rows])


def _label_facts(
    rows: list[dict[str, Any]], test: list[dict[str, Any]], classes: tuple[str, ...]
) -> dict[str, int | float]:
    """Facts of the labels of one (model, prompt, dataset) for readers of the table. test: the rows with their classes.

    Shares are in [0, 1], `uncalibrated_accuracy` is in percent.
    """
    counts = Counter(row["prediction"] for row in rows)
    reasoned = [row for row in rows if row.get("reasoning") is not None]
    return {
        "uncalibrated_accuracy": 100 * _mean(a["uncalibrated"] == b["label"] for a, b in zip(rows, test, strict=True)),
        "coverage": _mean(row["coverage"] for row in rows),
        "top_is_verbalizer": _mean(row["top_is_verbalizer"] for row in rows),
        "perplexity": _mean(np.exp(row["mean_nll"]) for row in rows) if "mean_nll" in rows[0] else np.nan,
        "reasoning_truncated": _mean(row["reasoning_truncated"] for row in reasoned),
        "reasoning_empty": _mean(row["reasoning_tokens"] == 0 for row in reasoned),
        "reasoning_one_token": _mean(row["reasoning_tokens"] == 1 for row in reasoned),
        **{f"share_{name}": counts[name] / len(rows) for name in classes},
        "unlabelled": sum(row["prediction"] is None for row in rows),
        "bounded": sum("bounded" in row for row in rows),
        "cut": sum(row.get("cut", False) for row in rows),
    }


def _mean(values: Iterable[float]) -> float:
    """Mean of values; NaN of none."""
    values = list(values)
    return float(np.mean(values)) if values else float("nan")


def _similarity_scores(frame: pd.DataFrame, methods: Sequence[str], prompts: Sequence[str]) -> dict[str, np.ndarray]:
    scores = {}
    for column, suffix in SIMILARITY_ROWS.items():
        for method in methods:
            values = frame[frame["method"] == method].set_index("prompt").reindex(list(prompts))[column]
            if values.notna().all():
                scores[METHOD_NAMES[method] + suffix] = values.to_numpy(dtype=float)
    return scores


def _block(
    settings: SelectionSettings, category: str, model: str, dataset: str, by_path: Mapping[str, Path],
    similar: pd.DataFrame,
) -> tuple[Block, list[dict[str, Any]]]:  # fmt: skip
    """Predictions and scores of the prompts of one model for one dataset, and their rows of performance.csv.

    similar: rows of similarities.csv for this model and dataset. Raises StaleFile as `selection`.
    """
    classes, prompts = settings.classes[category], settings.prompts[category]
    test = read_jsonl(by_path[paths.rows(dataset, "test")])
    gold = np.array([classes.index(row["label"]) for row in test])
    labels = {prompt: read_jsonl(by_path[paths.labels(model, prompt, dataset)]) for prompt in prompts}
    for prompt, rows in labels.items():
        if [row["id"] for row in rows] != [row["id"] for row in test]:
            path = paths.labels(model, prompt, dataset)
            raise StaleFile(f"{path}: rows are not those of the evaluation rows of {dataset}; delete it and run again")
    scored = paths.prompt_scores(model, dataset)
    baseline = json.loads(by_path[scored].read_text(encoding="utf8"))
    if tuple(baseline["prompts"]) != prompts:
        raise StaleFile(f"{scored}: scores other prompts than {prompts}; delete it and run again")
    scores = {name: np.array(values) for name, values in baseline["scores"].items()}
    if settings.calibration == "none":
        scores = {name: values for name, values in scores.items() if name not in UNCALIBRATED}
    scores |= _similarity_scores(similar, settings.methods, prompts)
    predictions = np.array([predictions_of(rows, classes) for rows in labels.values()])
    block = Block(prompts, classes, gold, predictions, scores)
    once = np.ones((1, len(gold)))
    accuracy, macro_f1 = (prompt_performance(block, once, metric)[0] for metric in ("accuracy", "macro_f1"))
    key = {"category": category, "model": model}
    performances = [
        key | {"prompt": prompt, "dataset": dataset, "n": len(test), "accuracy": accuracy[place],
               "macro_f1": macro_f1[place]} | _label_facts(rows, test, classes)
        for place, (prompt, rows) in enumerate(labels.items())
    ]  # fmt: skip
    return block, performances


def selection(
    settings: SelectionSettings, *, files: Sequence[Path], similarities: Path,
    performance: Path, selected: Path, table3: Path,
) -> None:  # fmt: skip
    """Write performance.csv, selection.csv and table3.csv.

    performance: one row per (model, prompt, dataset), with the number of rows without a label, with bounded classes and
    with a cut text, where there are any. selected: one row per (model, dataset, method). table3: means
    over the datasets of a category, one row per (category, model, method).
    files: evaluation rows, label files and baseline scores of the run, identified by their paths.
    Raises StaleFile if labels or scores do not fit the evaluation rows or prompts.
    """
    tested = {"permutations": settings.permutations, "seed": settings.seed}
    by_path = {path.as_posix(): path for path in files}
    all_similar = read_table(similarities)
    performances, selections, averages = [], [], []
    for category, datasets in settings.datasets.items():
        for model in settings.models:
            tables = []
            for dataset in datasets:
                similar = all_similar[(all_similar["model"] == model) & (all_similar["dataset"] == dataset)]
                block, rows = _block(settings, category, model, dataset, by_path, similar)
                performances += rows
                table = selection_table(block, metric=settings.metrics[category], draws=settings.draws, **tested)
                tables.append((dataset, table))
                selections.append(table.frame.assign(category=category, model=model, dataset=dataset))
            averages.append(average_blocks(tables, **tested).assign(category=category, model=model))
    front = ["category", "model", "dataset", "method"]
    performed = pd.DataFrame(performances)
    frames = {
        performance: performed.drop(columns=[name for name in COUNTED if not performed[name].any()]),
        selected: pd.concat(selections, ignore_index=True),
        table3: pd.concat(averages, ignore_index=True),
    }
    inputs = [*files, similarities]
    seeds = {"bootstrap": settings.seed}
    with Step(__name__, settings=settings.model_dump(), inputs=inputs, seeds=seeds) as step:
        for path, frame in frames.items():
            first = [name for name in front if name in frame]
            ordered = frame[[*first, *(name for name in frame if name not in first)]]
            step.csv(path, ordered)
