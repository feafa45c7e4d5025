"""Collect the transfer scores: of each target after fine-tuning on each source, and without a source.

One row per fine-tuning run: model, target, source, seed, score. Source `none` is the direct run without transfer.
Scores are percentages of the target's metric. `majority`, on direct rows, is the score of the best answer that ignores
the text (`fute.blackbox.metrics.majority_score`); it may be missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from fute.artifacts import Step
from fute.config.sections import Section
from fute.csv_files import read_texts

DIRECT = "none"
KEYS = ["model", "target", "source", "seed"]
COLUMNS = [*KEYS, "score", "majority"]


class TransferDataset(Section):
    """A dataset of the language-model experiment.

    group: `cr` (classification and regression) or `qa`. domain: of the targets of Table 2, which are never sources.
    """

    title: str
    group: Literal["cr", "qa"]
    domain: Literal["finance", "medical"] | None = None


class MatrixSettings(Section):
    """Settings of step `transfer_matrix`. model: the transferred model. datasets: those of the run, by id."""

    model: str
    datasets: dict[str, TransferDataset]


class MatrixError(ValueError):
    """A transfer matrix that cannot be used. The message names the file, the row or pair, and the problem."""


def sources_of(target: str, datasets: Mapping[str, TransferDataset]) -> tuple[str, ...]:
    """Sources that are transferred to a target: all datasets except the target itself and those of a domain."""
    return tuple(name for name, dataset in datasets.items() if name != target and dataset.domain is None)


def in_class(source: str, target: str, datasets: Mapping[str, TransferDataset]) -> bool:
    """True if a source is of the target's class; always False for domain targets, which choose among both classes."""
    return datasets[target].domain is None and datasets[source].group == datasets[target].group


def check_matrix(
    frame: pd.DataFrame,
    *,
    models: Iterable[str],
    datasets: Mapping[str, TransferDataset],
    where: str,
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Check the rows of these models and return them: every run of every model and seed once, in percent.

    frame: columns as in the module's docstring, scores as numbers or text. where: name of the table in errors. names:
    name of each row in errors (default: `row 0`, `row 1`, ...).
    Raises MatrixError for a missing column, an unknown name, a dataset that is its own source, a domain target as a
    source, a score that is not a percentage, a repeated run, and a missing run.
    """
    if missing := [column for column in (*KEYS, "score") if column not in frame]:
        raise MatrixError(f"{where}: no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
    frame = frame.reset_index(drop=True).reindex(columns=COLUMNS)
    names = [f"row {index}" for index in frame.index] if names is None else list(names)
    for column in ("score", "majority"):
        frame[column] = _numbers(frame[column], names, where, required=column == "score")
    for index, row in frame.iterrows():
        if problem := _name_problem(row["target"], row["source"], datasets):
            raise MatrixError(f"{where}: {names[index]}: {problem}")
    models = tuple(models)
    frame = frame[frame["model"].isin(models)]
    repeated = frame.duplicated(KEYS)
    if repeated.any():
        second = repeated.idxmax()
        first = (frame[KEYS] == frame.loc[second, KEYS]).all(axis=1).idxmax()
        raise MatrixError(f"{where}: {names[first]} and {names[second]} are the same run, {_run(frame.loc[second])}")
    if missing_run := _missing_run(frame, models, datasets):
        raise MatrixError(
            f"{where}: no score of {missing_run}; every target needs a direct run and a run from every source"
        )
    return frame.reset_index(drop=True)


def read_matrix(path: Path, *, model: str, datasets: Mapping[str, TransferDataset]) -> pd.DataFrame:
    """Read a published matrix: a CSV with the columns target, source, score, and optionally majority.

    It holds one run per (target, source). The rows are returned with this `model` and seed 0. Raises MatrixError as
    `check_matrix` does, naming lines of the file, and for scores that are fractions.
    """
    frame = read_texts(path)
    if missing := [column for column in ("target", "source", "score") if column not in frame]:
        raise MatrixError(f"{path}: no column {', '.join(missing)}; it has {', '.join(frame.columns)}")
    if extra := sorted(set(frame) - {"target", "source", "score", "majority"}):
        raise MatrixError(f"{path}: unknown column {', '.join(extra)}; it may have target, source, score, majority")
    lines = [f"line {line}" for line in range(2, len(frame) + 2)]
    frame = frame.assign(model=model, seed=0)
    frame = check_matrix(frame, models=[model], datasets=datasets, where=str(path), names=lines)
    if 0 < (largest := frame["score"].abs().max()) <= 1:
        raise MatrixError(f"{path}: no score lies beyond {largest:.3g}: these are fractions; multiply by 100")
    return frame


def score_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the matrix, one per seed, from a score file (`fute.blackbox.extract_transfer_step.score_record`)."""
    direct = record["source"] is None
    front = {"model": record["model"], "target": record["target"], "source": DIRECT if direct else record["source"]}
    majority = record["majority"] if direct else None
    return [
        front | {"seed": seed, "score": score, "majority": majority}
        for seed, score in zip(record["seeds"], record["scores"], strict=True)
    ]


def transfer_matrix(settings: MatrixSettings, *, files: Sequence[Path], output: Path) -> None:
    """Write the score of every target from every source, and of the direct runs.

    files: score files of a model's own runs (`*.json`), or one published matrix (`*.csv`, see `read_matrix`).
    """
    if [path.suffix for path in files] == [".csv"]:
        frame = read_matrix(files[0], model=settings.model, datasets=settings.datasets)
    else:
        rows = [row for path in sorted(files) for row in score_rows(json.loads(path.read_text(encoding="utf8")))]
        frame = pd.DataFrame(rows, columns=COLUMNS)
        frame = check_matrix(frame, models=[settings.model], datasets=settings.datasets, where="the run's scores")
    with Step(__name__, settings=settings.model_dump(), inputs=files) as step:
        step.csv(output, frame)


def _numbers(values: pd.Series, names: Sequence[str], where: str, *, required: bool) -> pd.Series:
    """Percentages as floats; NaN for an empty cell of a column that is not required."""
    texts = values.map(lambda value: "" if pd.isna(value) else str(value).strip())
    numbers = pd.to_numeric(texts, errors="coerce")
    wrong = ~np.isfinite(numbers) | (numbers.abs() > 100)
    if not required:
        wrong &= texts != ""
    if wrong.any():
        first = wrong.idxmax()
        raise MatrixError(
            f"{where}: {names[first]}: {values.name} {texts[first]!r} is not a percentage between -100 and 100"
        )
    return numbers


def _name_problem(target: str, source: str, datasets: Mapping[str, TransferDataset]) -> str:
    for role, name in (("target", target), ("source", source)):
        if name not in datasets and not (role == "source" and name == DIRECT):
            return f"{role} {name!r} is not a dataset of the run; remove the row, or add the dataset to the run"
    if target == source:
        return f"{target} is its own source; a direct run has the source {DIRECT!r}"
    if source != DIRECT and datasets[source].domain is not None:
        return f"source {source!r} is a domain target, which is never a source; remove the row"
    return ""


def _missing_run(frame: pd.DataFrame, models: Iterable[str], datasets: Mapping[str, TransferDataset]) -> str:
    """The first run in words that a model, target, source and seed of the matrix lacks; empty if there are all."""
    seeds = sorted(set(frame["seed"]))
    runs = set(frame[KEYS].itertuples(index=False, name=None))
    for model in models:
        for target in datasets:
            for source in (DIRECT, *sources_of(target, datasets)):
                missing = [seed for seed in seeds if (model, target, source, seed) not in runs]
                if missing or not seeds:
                    seed = f", seed {missing[0]}" if len(seeds) > 1 else ""
                    return f"target {target} from source {source}, model {model}{seed}"
    return ""


def _run(row: pd.Series) -> str:
    return f"target {row['target']} from source {row['source']}, model {row['model']}, seed {row['seed']}"
