"""From score files to the matrix, and Table 1 of a run in which no target counts."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fute.evaluation.lm_evaluation_step import CELL_COLUMNS
from fute.evaluation.transfer_matrix_step import (
    MatrixError,
    MatrixSettings,
    TransferDataset,
    score_rows,
    transfer_matrix,
)
from fute.paper.transfer_tables import TABLE1, p_values, transfer_frame, transfer_intervals

DATASETS = {name: TransferDataset(title=name, group="cr") for name in ("a", "b")}


def record(source: str | None, target: str, *scores: float) -> dict:
    return {"model": "m", "source": source, "target": target, "seeds": [1, 2], "scores": list(scores), "majority": 40.0}


def test_a_score_file_gives_a_row_a_seed():
    assert score_rows(record("a", "b", 50.0, 60.0)) == [
        {"model": "m", "target": "b", "source": "a", "seed": 1, "score": 50.0, "majority": None},
        {"model": "m", "target": "b", "source": "a", "seed": 2, "score": 60.0, "majority": None},
    ]
    assert score_rows(record(None, "b", 50.0, 60.0))[0] | {"score": 0} == {
        "model": "m", "target": "b", "source": "none", "seed": 1, "score": 0, "majority": 40.0,
    }  # fmt: skip


def files(folder: Path, *records: dict) -> list[Path]:
    paths = []
    for place, content in enumerate(records):
        paths.append(folder / f"{place}.json")
        paths[-1].write_text(json.dumps(content))
    return paths


def test_the_matrix_holds_direct_runs_and_transfer(tmp_path):
    records = [record(None, "a", 50, 52), record(None, "b", 60, 62), record("a", "b", 70, 72), record("b", "a", 55, 57)]
    settings = MatrixSettings(model="m", datasets=DATASETS)
    transfer_matrix(settings, files=files(tmp_path, *records), output=tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False).set_index(["target", "source", "seed"])
    assert len(table) == 8 and table.loc[("b", "a", 2), "score"] == 72
    assert table.loc[("b", "none", 1), "majority"] != "" and table.loc[("b", "a", 1), "majority"] == ""


def test_models_that_learned_next_to_nothing_have_scores_under_one_percent(tmp_path):
    """F1 of a few words that a model for spans hits by chance; only a published matrix may be of fractions."""
    records = [record(None, "a", 0, 0.5), record(None, "b", 0, 0), record("a", "b", 1, 0.1), record("b", "a", 0, 0.2)]
    settings = MatrixSettings(model="m", datasets=DATASETS)
    transfer_matrix(settings, files=files(tmp_path, *records), output=tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv")["score"].max() == 1


def test_a_missing_run_is_named(tmp_path):
    records = [record(None, "a", 50, 52), record(None, "b", 60, 62), record("a", "b", 70, 72)]
    with pytest.raises(MatrixError, match=r"the run's scores: no score of target a from source b, model m"):
        transfer_matrix(
            MatrixSettings(model="m", datasets=DATASETS), files=files(tmp_path, *records), output=tmp_path / "out.csv"
        )


def test_a_table_in_which_no_target_counts_is_empty():
    nothing = pd.DataFrame(columns=CELL_COLUMNS)
    for laid in (transfer_frame(nothing, TABLE1), transfer_intervals(nothing, TABLE1), p_values(nothing, TABLE1)):
        assert len(laid) == 0 and len(laid.columns) == 8
