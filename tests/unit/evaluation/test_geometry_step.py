"""Places of MTEs where there are few: one prompt, prompts that say the same of all texts, and no vector at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.vectors import put_covariance

from fute import paths
from fute.csv_files import read_table
from fute.evaluation.geometry_step import GeometrySettings, _statistics, geometry
from fute.paper.figure_step import FigureSettings, figure

SETTINGS = GeometrySettings(prompts={f"sa-{n}": ("sa", n, False) for n in (1, 2, 3)}, seed=1)
DRAWING = {"fig4": {"figure": "fig4", "method": "labelcov", "view": "raw"}}
FILES = {"statistics": Path("geometry.csv"), "coordinates": Path("coordinates.csv")}


def vector(number: int, *flat: float, **meta: str) -> Path:
    """A vector of two classes; without numbers, of a prompt that says the same of all texts."""
    meta = meta if flat else {"no_vector": "it says the same of all texts"}
    rows = np.reshape(flat or (0, 0), (2, 1))
    return put_covariance(paths.mte("e", "labelcov", "m", f"sa-{number}"), rows, ("no", "yes"), **meta)


def test_each_model_in_a_category_of_its_own_has_no_purity_of_models_and_says_so():
    points = pd.DataFrame({"model": ["m", "k"], "category": ["sa", "nli"], "number": [1, 1], "cot": [False, False]})
    rows = {row["statistic"]: row for row in _statistics(np.eye(2), points)}
    assert rows["model purity of 1 neighbour"]["reason"] == "no category has two vectors"
    assert rows["category purity of 1 neighbour"]["value"] == 0
    assert rows["silhouette of chain of thought in SA"]["reason"] == "the only vector is of one group, plain"


@pytest.mark.parametrize(
    ("vectors", "places", "known"),
    [
        ([(1.0, 0.0), (0.0, 1.0), (0.6, 0.8)], 3, True),
        ([(1.0, 0.0), (0.0, 1.0), ()], 2, True),
        ([(1.0, 0.0), (), ()], 1, False),
        ([(1.0, 0.0), (1.0, 0.0), (2.0, 0.0)], 3, False),
        ([(), (), ()], 0, True),
    ],
)
def test_a_run_ends_with_what_it_can_place(vectors, places, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    geometry(SETTINGS, files=[vector(n, *flat) for n, flat in enumerate(vectors, start=1)], **FILES)
    points = read_table(FILES["coordinates"])
    assert len(points) == places and points["pca_x"].notna().all() == known
    assert {"method", "model", "prompt", "category", "number", "view"} <= set(points)
    assert {"method", "view", "statistic", "value", "unit", "reason"} == set(read_table(FILES["statistics"]))
    drawn = FigureSettings(drawings=DRAWING, looks=(("sa", "SA", None),))
    figure(drawn, coordinates=FILES["coordinates"], geometry=FILES["statistics"], folder=Path("figures"))
    assert Path("figures/fig4.pdf").stat().st_size > 999
