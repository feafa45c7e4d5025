"""DataSize and CurveGrad: worked by hand, and the step's file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fute.baselines.lm_baselines_step import (
    LmBaselineSettings,
    curve_grad,
    curve_gradients,
    data_size,
    lm_baselines,
    smoothed,
    training_rows,
)
from fute.evaluation.transfer_matrix_step import TransferDataset

DATASETS = {
    "a": TransferDataset(title="A", group="cr"),
    "b": TransferDataset(title="B", group="cr"),
    "q": TransferDataset(title="Q", group="qa"),
    "d": TransferDataset(title="D", group="cr", domain="medical"),
}


def test_the_moving_average_starts_at_the_first_loss():
    assert smoothed([4, 2, 0], decay=0.5) == pytest.approx([4, 3, 1.5])
    assert smoothed([1, 0]) == pytest.approx([1, 0.98])


def test_gradients_are_taken_at_the_papers_shares_of_the_steps():
    # 11 steps 0..10: places 1, 2, 3, 5, 7; of y = x^2 the central difference is 2x exactly
    assert curve_gradients(np.arange(11.0) ** 2, decay=0) == pytest.approx([2, 4, 6, 10, 14])


def test_a_short_curve_takes_the_nearest_step_with_two_neighbours():
    assert curve_gradients([3, 2, 0], decay=0) == pytest.approx([-1.5] * 5)
    with pytest.raises(ValueError, match="a loss curve of 2 steps"):
        curve_gradients([3, 2])


def test_a_gradient_is_of_the_smoothed_curve():
    losses = [5.0, 4.0, 4.5, 3.0, 2.0]
    assert curve_gradients(losses) == pytest.approx(curve_gradients(smoothed(losses), decay=0))


def test_data_size_is_the_sources_alone():
    found = data_size({"a": 3, "b": 9, "q": 1}, DATASETS)
    assert found == {("b", "a"): 9, ("q", "a"): 1, ("a", "b"): 3, ("q", "b"): 1, ("a", "q"): 3, ("b", "q"): 9,
                     ("a", "d"): 3, ("b", "d"): 9, ("q", "d"): 1}  # fmt: skip


def test_curves_are_compared_within_a_class():
    found = curve_grad({"a": [1, 0], "b": [1, 1], "q": [0, 1]}, DATASETS)
    assert found["a", "b"] == found["b", "a"] == pytest.approx(math.sqrt(0.5))
    between = [pair for pair, value in found.items() if math.isnan(value)]
    assert between == [("q", "a"), ("q", "b"), ("a", "q"), ("b", "q"), ("a", "d"), ("b", "d"), ("q", "d")]


def test_a_flat_curve_has_no_direction():
    assert math.isnan(curve_grad({"a": [0, 0], "b": [1, 1], "q": [0, 1]}, DATASETS)["a", "b"])


def test_rows_held_out_for_early_stopping_count():
    assert training_rows({"train": {"kept": 90}, "dev": {"kept": 10}, "test": {"kept": 5}}) == 100
    assert training_rows({"train": {"kept": 90}, "dev": {}, "test": {}}) == 90


@pytest.mark.parametrize("sizes", [{"a": 8.5, "b": 0.6, "q": 11}, None])
def test_the_step_writes_every_pair(tmp_path: Path, sizes):
    curves, counts = {}, {}
    for place, name in enumerate(("a", "b", "q")):
        curves[name] = tmp_path / f"{name}.curve.json"
        curves[name].write_text(json.dumps({"losses": [5, 4, 3 - place, 2]}))
        counts[name] = tmp_path / f"{name}.counts.json"
        counts[name].write_text(json.dumps({"train": {"kept": 10 + place}, "dev": {"kept": 1}}))
    settings = LmBaselineSettings(model="m", methods=("datasize", "curvegrad"), datasets=DATASETS, sizes=sizes)
    lm_baselines(settings, curves=curves, counts={} if sizes else counts, vectors={}, output=tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table) == ["model", "method", "source", "target", "score", "in_class"] and set(table["model"]) == {"m"}
    size = table[table["method"] == "DataSize"].set_index(["source", "target"])["score"]
    assert len(size) == 9 and size["a", "d"] == (8.5 if sizes else 11)
    assert table.loc[table["method"] == "CurveGrad", "score"].notna().sum() == 2


def test_scores_of_labelled_rows_are_taken_as_they_are(tmp_path: Path):
    pairs = [(source, target) for source in "abq" for target in DATASETS if source != target]
    fits = tmp_path / "fits.csv"
    lines = [f"m,{s},{t},{'' if t == 'q' else place / 8}" for place, (s, t) in enumerate(pairs)]
    fits.write_text("\n".join(["model,source,target,logme", *lines]) + "\n")
    given = {"curves": {}, "counts": {}, "vectors": {}, "output": tmp_path / "out.csv"}
    settings = LmBaselineSettings(model="m", methods=("logme",), datasets=DATASETS)
    lm_baselines(settings, **given, fits=fits)
    table = pd.read_csv(tmp_path / "out.csv").set_index(["source", "target"])
    assert len(table) == 9 and set(table["method"]) == {"LogME"}
    expected = {pair: place / 8 for place, pair in enumerate(pairs) if pair[1] != "q"}
    assert table["score"].dropna().to_dict() == expected
    assert table["in_class"].dropna().to_dict() == {p: v for p, v in expected.items() if p in (("a", "b"), ("b", "a"))}
    with pytest.raises(ValueError, match="logme needs the scores of the step score_sources"):
        lm_baselines(settings, **given)
