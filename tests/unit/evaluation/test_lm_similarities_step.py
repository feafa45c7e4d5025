"""Similarities of fine-tuned models and datasets: every pair, in the order of the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.vectors import put_covariance, put_vector

from fute.embeddings import scatter_cosine
from fute.evaluation.lm_similarities_step import LmSimilaritySettings, lm_similarities

SETTINGS = LmSimilaritySettings(
    surrogate="s", methods=("tupate",), black_boxes=(("m", "a"), ("f", "own")), targets=("a", "b")
)
ANGLES = {"dte/a": 0, "dte/b": 90, "mte/m/a": 60, "mte/f/own": 45}


def put(name: str, degrees: float) -> Path:
    vector = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return put_vector(f"results/embeddings/s/tupate/{name}.safetensors", vector, start=(0, 0), relative_distance=2.0)


def test_every_black_box_is_compared_with_every_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [put(name, degrees) for name, degrees in ANGLES.items()]
    lm_similarities(SETTINGS, files=files, output=Path("out.csv"))
    table = pd.read_csv("out.csv")
    assert [tuple(row) for row in table[["model", "source", "target"]].to_numpy()] == [
        ("m", "a", "a"), ("m", "a", "b"), ("f", "own", "a"), ("f", "own", "b")
    ]  # fmt: skip
    assert table["cosine"].tolist() == pytest.approx([0.5, np.sqrt(0.75), np.sqrt(0.5), np.sqrt(0.5)], abs=1e-6)
    assert table["centred_cosine"].tolist() == pytest.approx(table["cosine"].tolist(), abs=1e-6)
    assert set(table["surrogate"]) == {"s"} and set(table["distance"]) == {2.0}


def test_candidates_are_those_of_one_model_without_the_targets_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    angles = {"dte/a": 0, "dte/c": 20, "mte/m/a": 60, "mte/m/b": 30, "mte/m/d": 80, "mte/f/own": 45}
    files = [put(name, degrees) for name, degrees in angles.items()]
    boxes = (("m", "a"), ("f", "own"), ("m", "b"), ("m", "d"))
    settings = SETTINGS.model_copy(update={"black_boxes": boxes, "targets": ("a", "c")})
    lm_similarities(settings, files=files, output=Path("out.csv"))
    table = pd.read_csv("out.csv").set_index(["model", "source", "target"])["candidates_cosine"]
    at = {name: np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) for name, angle in angles.items()}
    for target, sources in (("a", "bd"), ("c", "abd")):
        centre = np.mean([at[f"mte/m/{source}"] for source in sources], axis=0)
        x, y = at["mte/m/b"] - centre, at[f"dte/{target}"] - centre
        expected = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
        assert table["m", "b", target] == pytest.approx(expected, abs=1e-5)
    assert table["f"].isna().all(), "a single candidate has no centre but itself"


def test_a_missing_vector_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [put(name, degrees) for name, degrees in ANGLES.items() if name != "mte/m/a"]
    with pytest.raises(ValueError, match=r"mte/m/a\.safetensors is not among the files"):
        lm_similarities(SETTINGS, files=files, output=Path("out.csv"))


def test_covariances_of_different_classes_are_compared_by_their_scatters(tmp_path, monkeypatch):
    """By one measure for all, the scatters', though model a and target a share their classes."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    classes = {"dte/a": "xy", "dte/b": "pqr", "mte/m/a": "xy", "mte/f/own": ("number",)}
    rows = {name: rng.normal(size=(len(names), 3)).astype(np.float32) for name, names in classes.items()}
    files = [
        put_covariance(f"results/embeddings/encoder/labelcov/{name}.safetensors", rows[name], names)
        for name, names in classes.items()
    ]
    settings = SETTINGS.model_copy(update={"methods": ("labelcov",), "other_models": {"labelcov": "encoder"}})
    lm_similarities(settings, files=files, output=Path("out.csv"))
    table = pd.read_csv("out.csv")
    expected = [scatter_cosine(rows[m], rows[d]) for m in ("mte/m/a", "mte/f/own") for d in ("dte/a", "dte/b")]
    assert table["cosine"].tolist() == pytest.approx(expected, abs=1e-6)
    assert set(table["surrogate"]) == {"encoder"}
