"""The step `planted`: vectors of a known order in, what the tests found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.vectors import put_covariance, put_vector

from fute.artifacts import gzip_bytes, jsonl_bytes
from fute.csv_files import read_table
from fute.evaluation.planted_step import planted
from fute.paper import planted_figure_step
from fute.paper.planted import planted_cells
from fute.paper.planted_figure_step import PlantedFigureSettings, planted_figure
from fute.specs.planted import Ladders, PlantedSettings

RUNGS = (0, 30, 60, 90, 150)
"""Degrees between the vector of a box and that of the target."""
SETTINGS = PlantedSettings.model_validate(
    {
        "models": {"tupate-lora": "s"},
        "ladders": {
            "flips": {
                "methods": ["tupate-lora"],
                "ladders": [{"target": "a", "boxes": [(f"f{angle}", "own", 1 - angle / 180) for angle in RUNGS]}],
            }
        },
        "retrievals": {"own": {"methods": ["tupate-lora"], "model": "m", "datasets": ["a", "b", "c", "d", "e"]}},
        "draws": 100,
        "seed": 1,
    }
)


def put(name: str, vector: np.ndarray) -> Path:
    return put_vector(f"results/embeddings/s/tupate-lora/{name}.safetensors", vector, method="tupate-lora")


@pytest.fixture
def given(tmp_path, monkeypatch) -> dict[str, Any]:
    """Inputs of the step: vectors, and labels of which each dataset and its own box have another share."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    datasets = {name: rng.normal(size=20) for name in "bcde"} | {"a": np.eye(20)[0]}
    places = {f"dte/{name}": vector for name, vector in datasets.items()}
    places |= {f"mte/m/{name}": vector + 0.1 * rng.normal(size=20) for name, vector in datasets.items()}
    places |= {f"mte/f{d}/own": np.cos(np.radians(d)) * np.eye(20)[0] + np.sin(np.radians(d)) * np.eye(20)[1]
               for d in RUNGS}  # fmt: skip
    files = [put(name, vector) for name, vector in places.items()]
    more: dict[str, Any] = {"labels": {}, "train": {}}
    for place, name in enumerate("abcde"):
        for kind, key, field in (("labels", f"m/{name}", "prediction"), ("train", name, "label")):
            rows = [{field: "A" if i <= 2 * place else "B"} for i in range(10)]
            more[kind][key] = Path(f"{kind}-{name}.jsonl.gz")
            more[kind][key].write_bytes(gzip_bytes(jsonl_bytes(rows)))
    return {"files": files, "scores": {}, **more}


def test_the_order_that_was_made_is_found(given):
    planted(SETTINGS, **given, results=Path("planted.csv"), similarities=Path("similar.csv"))
    found = read_table(Path("planted.csv")).set_index(["test", "target", "similarity", "measure"]).sort_index()
    for target in ("a", "mean"):
        row = found.xs(("flips", target, "cosine", "spearman")).iloc[0]
        assert row["value"] == pytest.approx(1) and row["p"] == pytest.approx(1 / 120) and row["passes"]
        assert row["boxes"] == 5
    for similarity in ("cosine", "candidates_cosine"):
        for measure in ("top-1", "mrr"):
            row = found.xs(("own", "mean", similarity, measure)).iloc[0]
            assert row["method"] == "tupate-lora" and row["value"] == 1 and row["p"] == pytest.approx(1 / 120)
    histogram = found.xs(("own", "mean", "cosine", "top-1"))
    assert histogram.loc[histogram["method"] == "label-histogram", "value"].tolist() == [1]
    similar = read_table(Path("similar.csv"))
    assert len(similar) == len(RUNGS) + 2 * 25
    shares = similar[(similar["method"] == "label-histogram") & (similar["target"] == "a")]
    assert shares["cosine"].tolist() == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    rung = similar[similar["model"] == "f60"].iloc[0]
    assert (rung["source"], rung["target"], rung["quality"]) == ("own", "a", pytest.approx(2 / 3))
    assert rung["cosine"] == pytest.approx(0.5, abs=1e-6)
    cells = list(planted_cells(read_table(Path("planted.csv"))))
    assert cells[0] == ("flips", "TuPaTE by LoRA", "Spearman", "1.00", "0.13 to 1.00", "0.00", "0.008", "passes")


def test_nulls_are_no_candidates_but_an_origin(given):
    """All boxes share a direction that the target has not: it hides their order until it is taken away."""
    shared = 3 * np.eye(20)[2]
    places = {f"f{d}": np.cos(np.radians(d)) * np.eye(20)[0] + np.sin(np.radians(d)) * np.eye(20)[1] for d in RUNGS}
    for name, vector in (places | {"null-a": 0.01 * np.eye(20)[3], "null-b": -0.01 * np.eye(20)[3]}).items():
        path = put(f"mte/{name}/own", vector + shared)
        given["files"] = [*dict.fromkeys([*given["files"], path])]
    put("dte/a", np.eye(20)[0] + shared)
    (ladder,) = SETTINGS.ladders["flips"].ladders
    ladder = ladder.model_copy(update={"nulls": (("null-a", "own"), ("null-b", "own"))})
    ladders = {"flips": Ladders(methods=("tupate-lora",), ladders=(ladder,))}
    planted(
        SETTINGS.model_copy(update={"ladders": ladders}),
        **given, results=Path("planted.csv"), similarities=Path("similar.csv"),
    )  # fmt: skip
    similar = read_table(Path("similar.csv"))
    rungs = similar[similar["test"] == "flips"]
    assert rungs["model"].tolist() == [f"f{d}" for d in RUNGS], "a null is no candidate"
    assert rungs["nulls_cosine"].tolist() == pytest.approx(np.cos(np.radians(RUNGS)), abs=1e-5)
    assert similar.loc[similar["test"] == "own", "nulls_cosine"].isna().all(), "that test has no nulls"
    found = read_table(Path("planted.csv")).set_index(["test", "target", "similarity"]).sort_index()
    assert found.xs(("flips", "mean", "nulls_cosine"))["value"].tolist() == pytest.approx([1])


def test_the_figure_has_a_panel_per_test_and_the_same_bytes_each_time(given):
    files = {"results": Path("planted.csv"), "similarities": Path("similar.csv")}
    planted(SETTINGS, **given, **files)
    for name in ("first", "second"):
        drawn = {"pdf": Path(f"{name}.pdf"), "png": Path(f"{name}.png")}
        planted_figure(PlantedFigureSettings(note="small"), **files, **drawn)
    assert Path("first.png").read_bytes() == Path("second.png").read_bytes()
    assert Path("first.pdf").read_bytes() == Path("second.pdf").read_bytes()


def test_panels_without_a_value_say_so(given, monkeypatch):
    """All qualities are equal, as measured scores may be; and a similarity of the retrieval is missing."""
    (ladder,) = SETTINGS.ladders["flips"].ladders
    equal = ladder.model_copy(update={"boxes": tuple((model, task, 0.5) for model, task, _ in ladder.boxes)})
    ladders = {"flips": Ladders(methods=("tupate-lora",), ladders=(equal,))}
    files = {"results": Path("planted.csv"), "similarities": Path("similar.csv")}
    planted(SETTINGS.model_copy(update={"ladders": ladders}), **given, **files)
    found = read_table(Path("planted.csv"))
    found.loc[found["test"] == "own", "value"] = np.nan
    Path("planted.csv.prov.json").unlink()
    found.to_csv("planted.csv", index=False)
    drawn: list[list[str]] = []

    def look(figure: Figure, suffix: str) -> bytes:
        drawn.append([text.get_text() for axes in figure.axes for text in axes.texts])
        return b"image"

    monkeypatch.setattr(planted_figure_step, "image_bytes", look)
    planted_figure(PlantedFigureSettings(), **files, pdf=Path("f.pdf"), png=Path("f.png"))
    assert drawn == [["not defined: a value is missing, or all are equal"] * 2] * 2


def test_a_missing_vector_is_named(given):
    with pytest.raises(ValueError, match=r"mte/f30/own.safetensors is not among the files"):
        given["files"] = [path for path in given["files"] if "f30" not in path.as_posix()]
        planted(SETTINGS, **given, results=Path("planted.csv"), similarities=Path("similar.csv"))


def test_labelcov_compares_by_class_names_beside_a_box_that_always_says_the_same(tmp_path, monkeypatch):
    """Such a box has no vector, no names, and a similarity of 0; the inverted box stays at the other end."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    covariance, noise = rng.normal(size=12), rng.normal(size=12)
    files = []
    for name, row in {"dte/a": covariance, "mte/good/own": covariance + 0.1 * noise, "mte/other/own": noise,
                      "mte/same/own": 0 * noise, "mte/inverted/own": -covariance}.items():  # fmt: skip
        path = f"results/embeddings/e/labelcov/{name}.safetensors"
        if row.any():
            files.append(put_covariance(path, [-row, row], ("negative", "positive")))
        else:
            files.append(put_covariance(path, [row], ("positive",), no_vector="one class"))
    boxes = [("good", "own", 1), ("other", "own", 0), ("same", "own", 0), ("inverted", "own", -1)]
    settings = {"models": {"labelcov": "e"}, "retrievals": {}, "draws": 10, "seed": 1,
                "ladders": {"p3": {"methods": ["labelcov"], "ladders": [{"target": "a", "boxes": boxes}]}}}  # fmt: skip
    output = {"results": Path("planted.csv"), "similarities": Path("similar.csv")}
    planted(PlantedSettings.model_validate(settings), files=files, scores={}, labels={}, train={}, **output)
    similar = read_table(Path("similar.csv")).set_index("model")["cosine"]
    assert similar["good"] > 0.9 and similar["inverted"] == pytest.approx(-1, abs=1e-6) and similar["same"] == 0
    assert abs(similar["other"]) < 0.9
    assert read_table(Path("planted.csv"))["value"].max() > 0.9


def test_a_quality_may_be_a_measured_score(given):
    boxes = [(f"f{angle}", "own", None) for angle in RUNGS]
    ladders = {"steps": {"methods": ["tupate-lora"], "ladders": [{"target": "a", "boxes": boxes}]}}
    settings = SETTINGS.model_copy(update={"ladders": {"steps": Ladders.model_validate(ladders["steps"])}})
    scores = {}
    for angle, score in zip(RUNGS, (60, 90, 80, 70, 50), strict=True):  # the first is not the best one
        scores[f"f{angle}/own"] = Path(f"f{angle}.json")
        scores[f"f{angle}/own"].write_text(json.dumps({"mean": score}))
    planted(settings, **given | {"scores": scores}, results=Path("planted.csv"), similarities=Path("similar.csv"))
    found = read_table(Path("planted.csv")).set_index(["test", "target", "similarity"]).sort_index()
    assert found.xs(("steps", "a", "cosine"))["value"].tolist() == pytest.approx([0.4])
