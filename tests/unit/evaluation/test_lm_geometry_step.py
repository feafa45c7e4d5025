"""Geometry of fine-tuned models: statistics worked by hand, and the step on made-up vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.vectors import put_vector

from fute import paths
from fute.evaluation.lm_geometry_step import LmGeometrySettings, _statistics, lm_geometry
from fute.evaluation.transfer_matrix_step import TransferDataset
from fute.paper.figure_step import Drawing, FigureSettings, figure
from fute.paper.figures import statistic_texts

DATASETS = {
    "snli": TransferDataset(title="SNLI", group="cr"),
    "rte": TransferDataset(title="RTE", group="cr"),
    "boolq": TransferDataset(title="BoolQ", group="qa"),
    "drop": TransferDataset(title="DROP", group="qa"),
}
LABELS = {"snli": ("no", "yes"), "rte": ("no", "yes"), "boolq": ("false", "true"), "drop": ("span",)}


def settings(**changes) -> LmGeometrySettings:
    given = {
        "models": ("m", "k"),
        "datasets": DATASETS,
        "labels": LABELS,
        "crossing": ("boolq",),
        "clusters": ("snli", "rte"),
    }
    return LmGeometrySettings(**given | changes)


def points(*keys: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame([{"model": m, "dataset": d, "class": DATASETS[d].group} for m, d in keys])


def angles(*degrees: float) -> np.ndarray:
    return np.array([[np.cos(np.radians(a)), np.sin(np.radians(a))] for a in degrees])


def test_statistics_by_hand():
    """On a circle, in degrees: SNLI of both models at 0 and 1, RTE at 10 and 20; BoolQ at 12 and 60, DROP at 70 and
    90. Two of a class leave each point one neighbour of its own kind besides itself and its like, hence k = 3."""
    keys = [("m", "snli"), ("k", "snli"), ("m", "rte"), ("k", "rte"),
            ("m", "boolq"), ("k", "boolq"), ("m", "drop"), ("k", "drop")]  # fmt: skip
    vectors = angles(0, 1, 10, 20, 12, 60, 70, 90)
    rows = _statistics(settings(), vectors, points(*keys))
    found = {row["statistic"]: row["value"] for row in rows}
    assert list(found) == [
        "silhouette by class", "class purity of 3 neighbours", "CR among 3 neighbours of BoolQ",
        "model purity of 3 neighbours", "model purity of 3 neighbours in CR", "model purity of 3 neighbours in QA",
        "own dataset nearest among other models", "own dataset nearest among other models, by chance",
        "own dataset nearest among other models, by label strings alone",
        "own dataset nearest where datasets share label strings",
        "own dataset nearest where datasets share label strings, by these alone",
        "own dataset among the nearest of SNLI", "own dataset among the nearest of RTE",
    ]  # fmt: skip
    # nearest three, by angle: 0 -> 1 10 12; 1 -> 0 10 12; 10 -> 12 1 0 | 20; 20 -> 12 10 1; 12 -> 10 20 1;
    # 60 -> 70 90 20; 70 -> 60 90 20; 90 -> 70 60 20
    own = [2, 2, 2, 2, 0, 2, 2, 2]
    assert found["class purity of 3 neighbours"] == pytest.approx(np.mean(own) / 3)
    # BoolQ at 12: three CR; at 60: one, the RTE at 20
    assert found["CR among 3 neighbours of BoolQ"] == pytest.approx((1 + 1 / 3) / 2)
    # within a class every point sees its three others: one of its own model
    assert found["model purity of 3 neighbours"] == pytest.approx(1 / 3)
    # of the other model's: 0 -> 1, 10 -> 1, 12 -> 20, 70 -> 60; 1 -> 0, 20 -> 12, 60 -> 70, 90 -> 70
    assert found["own dataset nearest among other models"] == 3 / 8
    assert found["own dataset nearest among other models, by chance"] == 1 / 4
    # two of four datasets have label strings of their own; SNLI and RTE share theirs
    assert found["own dataset nearest among other models, by label strings alone"] == (4 * 1 + 4 / 2) / 8
    assert found["own dataset nearest where datasets share label strings, by these alone"] == 1 / 2
    # of the other model's: 0 -> 1 and 1 -> 0 are hits, 10 -> 1 and 20 -> 12 are not
    assert found["own dataset nearest where datasets share label strings"] == 2 / 4
    # the nearest one of each SNLI is the other; of RTE at 10 and at 20 it is BoolQ at 12
    assert found["own dataset among the nearest of SNLI"] == 1
    assert found["own dataset among the nearest of RTE"] == 0


def test_model_purity_by_class():
    """Two models far apart on CR, and each beside the other on QA."""
    wide = {
        f"{group}{i}": TransferDataset(title=f"{group}{i}", group=group) for group in ("cr", "qa") for i in range(6)
    }
    keys = [(model, name) for model in ("m", "k") for name in wide]
    degrees = [30 * (m == "k") + i if n.startswith("cr") else 100 + 10 * i + (m == "k")
               for m, n in keys for i in [int(n[2:])]]  # fmt: skip
    frame = pd.DataFrame([{"model": m, "dataset": n, "class": wide[n].group} for m, n in keys])
    labels = {name: (name,) for name in wide}
    rows = _statistics(settings(datasets=wide, labels=labels, crossing=(), clusters=()), angles(*degrees), frame)
    found = {row["statistic"]: row["value"] for row in rows}
    assert found["model purity of 5 neighbours in CR"] == 1
    # the five nearest of a QA point by angle, its twin of the other model first
    places = [(100 + 10 * i + off, off) for off in (0, 1) for i in range(6)]
    shares = []
    for place, model in places:
        near = sorted((abs(place - other), m) for other, m in places if (other, m) != (place, model))[:5]
        shares.append(np.mean([m == model for _, m in near]))
    assert found["model purity of 5 neighbours in QA"] == pytest.approx(np.mean(shares)) and np.mean(shares) < 0.5
    assert found["model purity of 5 neighbours"] == pytest.approx((1 + np.mean(shares)) / 2)


def test_one_model_has_no_purity_of_models_and_says_so():
    keys = [("m", name) for name in DATASETS]
    rows = _statistics(settings(models=("m",)), angles(0, 10, 80, 90), points(*keys))
    reasons = {row["statistic"]: row["reason"] for row in rows if np.isnan(row["value"])}
    assert set(reasons.values()) == {"one model"} and len(reasons) == 10


@pytest.mark.parametrize(
    ("keys", "reasons"),
    [
        (
            [(model, name) for model in ("m", "k") for name in ("snli", "rte", "drop")],
            {"CR among 1 neighbour of BoolQ": "it has no vector"},
        ),
        (
            [("m", "boolq"), ("m", "snli"), ("k", "rte")],
            {
                "model purity of 1 neighbour in QA": "no two vectors of a class",
                "own dataset nearest among other models": "no dataset has vectors of two models",
                "own dataset nearest where datasets share label strings": "no dataset has vectors of two models",
                "own dataset among the nearest of SNLI": "it has no two vectors",
            },
        ),
    ],
)
def test_every_statistic_that_lacks_a_vector_says_why(keys, reasons):
    """A model that says the same of all texts has no vector of LabelCov; the figure refuses a NaN without a reason."""
    rows = _statistics(settings(), angles(*range(0, 10 * len(keys), 10)), points(*keys))
    found = {row["statistic"]: row["reason"] for row in rows}
    assert reasons.items() <= found.items()
    statistic_texts({row["statistic"]: row["value"] for row in rows}, found)


def test_without_shared_label_strings_there_is_nothing_left_to_find():
    labels = {name: (name,) for name in DATASETS}
    keys = [(model, name) for model in ("m", "k") for name in DATASETS]
    rows = _statistics(settings(labels=labels), angles(0, 10, 80, 90, 1, 11, 81, 91), points(*keys))
    found = {row["statistic"]: row for row in rows}
    assert found["own dataset nearest among other models, by label strings alone"]["value"] == 1
    left = found["own dataset nearest where datasets share label strings"]
    assert np.isnan(left["value"]) and left["reason"] == "no two datasets have the same label strings"


def test_the_step_and_its_figure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    files = [
        put_vector(
            paths.mte("s", "tupate", model, name),
            np.array([5.0 if DATASETS[name].group == "cr" else -5, 1, 0]) + rng.normal(size=3) / 10,
            start=[0.5, 0.5, 0.5],
        )
        for model in ("k", "m")
        for name in DATASETS
    ]
    lm_geometry(settings(), files=files, statistics=Path("g.csv"), coordinates=Path("x.csv"))
    placed, found = pd.read_csv("x.csv"), pd.read_csv("g.csv")
    assert set(placed["view"]) == {"raw", "centred"} and len(placed) == 16
    raw = placed[placed["view"] == "raw"]
    # the run's order, not that of the file names
    assert raw["model"].tolist() == ["m"] * 4 + ["k"] * 4 and raw["dataset"].tolist() == list(DATASETS) * 2
    assert raw["title"].tolist() == [d.title for d in DATASETS.values()] * 2
    values = found[found["view"] == "raw"].set_index("statistic")["value"]
    assert values["silhouette by class"] > 0.9 and values["CR among 3 neighbours of BoolQ"] == 0
    drawings = {name: Drawing(figure=name, method="tupate", view="raw") for name in ("fig3", "figa1")}
    drawn = FigureSettings(drawings=drawings, note="Made up.")
    figure(drawn, coordinates=Path("x.csv"), geometry=Path("g.csv"), folder=Path("figures"))
    for name in drawings:
        lines = Path(f"figures/{name}.csv").read_text().splitlines()
        assert lines[0].startswith("# silhouette by class: ") and "class,model,dataset,tsne_1" in "\n".join(lines)
        assert lines[-8].startswith("cr,m,SNLI,")
        assert Path(f"figures/{name}.pdf.prov.json").is_file()
