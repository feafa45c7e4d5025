"""Rank the sources by every method and measure the rankings: Tables 1 and 2 in long form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from fute.artifacts import Step
from fute.config.sections import Section
from fute.csv_files import read_table
from fute.display_names import METHOD_NAMES, SIMILARITY_ROWS
from fute.evaluation.fusion import reciprocal_rank_fusion
from fute.evaluation.metrics import Scale
from fute.evaluation.transfer import (
    MEASURES,
    Case,
    Relevance,
    Scope,
    TransferNdcg,
    candidates,
    cell_rows,
    scopes,
    seed_reliability,
    seed_spearman,
    target_rows,
)
from fute.evaluation.transfer_matrix_step import DIRECT, TransferDataset, check_matrix, sources_of

FUSED = f"{METHOD_NAMES['tupate']} (fused with TaskEmb)"
_ENDS = ("", "_lo", "_hi", "_minus_random_lo", "_minus_random_hi", "_p", "_p_worse")
CELL_COLUMNS = [
    "model", "cell", "method", "targets", "left_out", "n_targets",
    *(f"{measure}{end}" for measure in MEASURES for end in _ENDS), "seed_spearman", "reliability",
]  # fmt: skip


class TransferSettings(Section):
    """Settings of step `lm_evaluation`.

    surrogate, methods: of the similarities that rank sources. other_models: method -> model, if its vectors are not
    made with the surrogate. models: the black boxes that are transferred. datasets: by id, in the order of the tables.
    scale, gain: of NDCG. draws: of the bootstrap over targets. permutations: of the test against random rankings, and
    the most that are enumerated for an exact one.
    """

    surrogate: str
    other_models: dict[str, str] = Field({})
    methods: tuple[str, ...]
    models: tuple[str, ...]
    datasets: dict[str, TransferDataset]
    scale: Scale = "percent"
    gain: TransferNdcg = "exp2"
    draws: int = Field(1000, ge=10)
    permutations: int = Field(10_000, ge=100)
    seed: int = 42


class _Scores:
    """Scores of every method for pairs (source, target), for one model."""

    def __init__(self, settings: TransferSettings, model: str, similarities: pd.DataFrame, baselines: pd.DataFrame):
        similar = similarities[similarities["model"] == model]
        pairs = [(s, t) for t in settings.datasets for s in sources_of(t, settings.datasets)]
        self.columns: dict[str, pd.Series] = {}
        self.in_class: dict[str, pd.Series] = {}
        baselines = baselines[baselines["model"] == model]
        for method in dict.fromkeys(baselines["method"]):
            rows = baselines[baselines["method"] == method]
            for column, scores in (("score", self.columns), ("in_class", self.in_class)):
                scores[method] = _by_pair(rows, column, pairs, f"baseline {method} of model {model}")
        for method in settings.methods:
            made_with = settings.other_models.get(method, settings.surrogate)
            rows = similar[(similar["method"] == method) & (similar["surrogate"] == made_with)]
            for column, suffix in SIMILARITY_ROWS.items():
                what = f"{column} of {method} on {made_with}, model {model}"
                values = _by_pair(rows, column, pairs, what)
                if column == "cosine" and values.isna().any():
                    source, target = values.index[values.isna()][0]
                    raise ValueError(f"{what}: no value for source {source} and target {target}")
                self.columns[METHOD_NAMES[method] + suffix] = values

    def of(self, target: str, sources: tuple[str, ...], scope: Scope) -> dict[str, NDArray[np.float64]]:
        """Scores (p,) by method. A method without a score of one of the sources is left out."""
        by_method = {}
        for method, values in (self.columns | (self.in_class if scope == "in-class" else {})).items():
            scores = values.loc[[(source, target) for source in sources]].to_numpy(dtype=float)
            if not np.isnan(scores).any():
                by_method[method] = scores
        both = [METHOD_NAMES[name] for name in ("taskemb", "tupate")]
        if all(name in by_method for name in both):
            by_method[FUSED] = reciprocal_rank_fusion([by_method[name] for name in both])
        return by_method


def _by_pair(rows: pd.DataFrame, column: str, pairs: list[tuple[str, str]], what: str) -> pd.Series:
    """The column by (source, target), for all pairs. Raises ValueError, naming a pair without a row or with two."""
    values = rows.set_index(["source", "target"])[column]
    if values.index.has_duplicates:
        source, target = values.index[values.index.duplicated()][0]
        raise ValueError(f"{what}: two rows for source {source} and target {target}")
    if missing := [pair for pair in pairs if pair not in values.index]:
        source, target = missing[0]
        raise ValueError(f"{what}: no row for source {source} and target {target} ({len(missing)} such pairs)")
    return values.sort_index()


def _direct_rows(settings: TransferSettings, matrix: pd.DataFrame) -> pd.DataFrame:
    """One row per (model, target): direct score, majority baseline, best score of any source, and `counted`.

    counted: True if the direct score or the best source is above the majority baseline, or the baseline is not known.
    """
    rows = []
    means = matrix.groupby(["model", "target", "source"])[["score", "majority"]].mean()
    for model in settings.models:
        for target in settings.datasets:
            scores = means.loc[(model, target)]
            transferred = scores["score"].drop(DIRECT)
            direct, majority = scores.loc[DIRECT]
            top = max([direct, *transferred])
            rows.append({
                "model": model,
                "target": target,
                "direct": direct,
                "majority": majority,
                "best_transferred": transferred.max() if len(transferred) else np.nan,
                "best_source": transferred.idxmax() if len(transferred) else "",
                # both were written to a CSV file with nine digits
                "counted": not top <= majority + 1e-6,
            })  # fmt: skip
    return pd.DataFrame(rows)


def _case(matrix: pd.DataFrame, target: str, sources: tuple[str, ...], scores: dict[str, NDArray[np.float64]]) -> Case:
    """A target with its sources. matrix: rows of one model. scores: of the sources, by method."""
    wide = matrix[matrix["target"] == target].pivot(index="seed", columns="source", values="score")
    return Case(target, sources, wide[list(sources)].to_numpy(float), wide[DIRECT].to_numpy(float), scores)


def _cell(settings: TransferSettings, cases: list[Case], relevance: Relevance) -> pd.DataFrame:
    """The rows of one cell by `cell_rows`, with its targets and how far the seeds of fine-tuning agree on them."""
    rows = cell_rows(cases, relevance, draws=settings.draws, permutations=settings.permutations, seed=settings.seed)
    return rows.assign(
        targets=", ".join(case.target for case in cases),
        seed_spearman=np.mean([seed_spearman(case) for case in cases]),
        reliability=np.mean([seed_reliability(case) for case in cases]),
    )


def lm_evaluation(
    settings: TransferSettings, *, transfer: Path, similarities: Path, baselines: Path,
    targets: Path, direct: Path, table1: Path, table2: Path,
) -> None:  # fmt: skip
    """Write four tables from the transfer scores and the methods' scores of each (source, target).

    targets: one row per (model, scope, target, method), see `transfer.target_rows`.
    direct: one row per (model, target), with direct scores and the majority baseline.
    table1, table2: one row per (model, cell, method), see `transfer.cell_rows`. Cells are `cr-in-class`,
        `cr-all-class`, `qa-in-class`, `qa-all-class` (table1) and `domain` (table2).

    A target where neither the direct run nor any source beats the majority baseline is listed in `left_out` of its cell
    and not in the cell's means. A cell without other targets has no rows.
    """
    runs, similar, scored = (read_table(path) for path in (transfer, similarities, baselines))
    matrix = check_matrix(runs, models=settings.models, datasets=settings.datasets, where=str(transfer))
    relevance = Relevance(settings.scale, settings.gain)
    direct_rows = _direct_rows(settings, matrix)
    per_target, cells = [], []
    for model in settings.models:
        model_rows = matrix[matrix["model"] == model]
        scores = _Scores(settings, model, similar, scored)
        counted = direct_rows[direct_rows["model"] == model].set_index("target")["counted"]
        cases: dict[str, list[Case]] = {}
        for target, dataset in settings.datasets.items():
            for scope in scopes(dataset):
                if not (sources := candidates(target, scope, settings.datasets)):
                    continue
                case = _case(model_rows, target, sources, scores.of(target, sources, scope))
                cell = scope if scope == "domain" else f"{dataset.group}-{scope}"
                cases.setdefault(cell, []).append(case)
                front = {"model": model, "scope": scope, "group": dataset.group, "counted": bool(counted[target])}
                per_target += [front | row for row in target_rows(case, relevance, settings.seed)]
        for cell, members in cases.items():
            if kept := [case for case in members if counted[case.target]]:
                left_out = ", ".join(case.target for case in members if not counted[case.target])
                front = {"model": model, "cell": cell, "left_out": left_out}
                cells.append(_cell(settings, kept, relevance).assign(**front)[CELL_COLUMNS])
    tables = pd.concat(cells, ignore_index=True) if cells else pd.DataFrame(columns=CELL_COLUMNS)
    outputs = {
        targets: pd.DataFrame(per_target),
        direct: direct_rows,
        table1: tables[tables["cell"] != "domain"],
        table2: tables[tables["cell"] == "domain"],
    }
    inputs, seeds = [transfer, similarities, baselines], {"bootstrap": settings.seed}
    with Step(__name__, settings=settings.model_dump(), inputs=inputs, seeds=seeds) as step:
        for path, frame in outputs.items():
            step.csv(path, frame)
