"""Figures 4 and A2, drawn from synthetic coordinates."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fute.evaluation.geometry import Projection, project
from fute.paper.figures import BLUE, CYCLE, FIGURES, RED, draw_figure, llm_shapes, lm_shapes, statistic_texts
from fute.paper.label_placement import LETTER, merge_close, spread_labels

ROOT = Path(__file__).parents[3]
PAPER = ("llama-2-13b", "llama-2-70b", "mixtral-8x7b")
STATISTICS = {"silhouette by category": 0.4321, "CoT cohesion": float("nan")}
REASONS = {"CoT cohesion": "no such prompt"}

LOOKS = {"sa": ("SA", "#2f6db3"), "nli": ("NLI", "#c8443c")}
BESIDE = {"statistics": STATISTICS, "reasons": REASONS, "categories": LOOKS}


def read_coordinates(table: bytes) -> pd.DataFrame:
    """The table in a figure's CSV, below the statistics."""
    return pd.read_csv(io.BytesIO(table), comment="#", dtype={"prompt": str}, float_precision="round_trip")


def image(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def drawn(figure: str, coords: Projection, *keys: list, **more) -> dict[str, bytes]:
    """A figure of points at these places. keys: group, model and name of each."""
    columns = [*FIGURES[figure][0].source, "tsne_x", "tsne_y", "pca_x", "pca_y"]
    points = dict(zip(columns, (*keys, *coords.tsne.T, *coords.pca.T), strict=True))
    return draw_figure(figure, pd.DataFrame(points), coords.explained, **more)


def synthetic(models: tuple[str, ...], prompts: int) -> tuple[Projection, list[str], list[str], list[int]]:
    """Places around one centre a category and model, at very different scales left and right; made up."""
    draw = np.random.default_rng(3)
    keys = [(c, m, p) for c in ("sa", "nli") for m in models for p in range(1, prompts + 1)]
    centres = {name: draw.normal(size=2) for name in ("sa", "nli", *models)}
    places = np.array([3 * centres[c] + centres[m] + draw.normal(size=2) / 4 for c, m, _ in keys])
    return Projection(30 * places, places[:, ::-1] / 70, (0.61, 0.2)), *map(list, zip(*keys, strict=True))


@pytest.mark.parametrize("figure", ["fig4", "figa2"])
@pytest.mark.parametrize(("models", "prompts"), [(("smollm2-135m",), 4), (PAPER, 13)])
def test_files_are_equal_byte_for_byte_over_two_runs(figure, models, prompts):
    coords, *keys = synthetic(models, prompts)
    first, second = (drawn(figure, coords, *keys, **BESIDE, note="Small run.") for _ in range(2))
    assert list(first) == [".pdf", ".png", ".csv"] and first == second


def test_files_carry_no_time_and_are_equal_in_another_process(tmp_path):
    coords, *keys = synthetic(("smollm2-135m",), 4)
    here = drawn("figa2", coords, *keys, **BESIDE)
    code = (
        "import sys; from pathlib import Path; from tests.unit.paper.test_figures import *\n"
        "coords, *keys = synthetic(('smollm2-135m',), 4)\n"
        "for suffix, content in drawn('figa2', coords, *keys, **BESIDE).items():\n"
        "    Path(sys.argv[1] + suffix).write_bytes(content)"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True, cwd=ROOT, env=environment)
    for suffix, content in here.items():
        assert content == (tmp_path / f"there{suffix}").read_bytes()
    assert b"CreationDate" not in here[".pdf"] and b"/Type3" not in here[".pdf"]
    assert image(here[".png"]).info.keys() <= {"dpi"}


def test_coordinates_survive_the_csv_exactly():
    coords, *keys = synthetic(PAPER, 13)
    content = drawn("fig4", coords, *keys, **BESIDE)[".csv"]
    table = read_coordinates(content)
    np.testing.assert_array_equal(table[["tsne_1", "tsne_2"]], coords.tsne)
    np.testing.assert_array_equal(table[["pca_1", "pca_2"]], coords.pca)
    assert [table[column].tolist() for column in ("category", "model", "prompt")] == [list(map(str, k)) for k in keys]
    assert content.decode().splitlines()[:2] == [
        "# silhouette by category: 0.43",
        "# CoT cohesion: not defined (no such prompt)",
    ]


@pytest.mark.parametrize("figure", ["fig4", "figa2"])
def test_too_few_points_for_tsne_have_one_map(figure):
    """A choice among three prompts is no reason to end without a figure."""
    coords = project(np.eye(3, 5))
    keys = (["sa"] * 3, ["smollm2-135m"] * 3, [1, 2, 3])
    files = drawn(figure, coords, *keys, statistics={}, categories=LOOKS)
    read = read_coordinates(files[".csv"])
    assert read[["tsne_1", "tsne_2"]].isna().all(axis=None)
    np.testing.assert_array_equal(read[["pca_1", "pca_2"]], coords.pca)
    assert image(files[".png"]).size[0] > 500


@pytest.mark.parametrize("figure", ["fig4", "figa2"])
@pytest.mark.parametrize("vectors", [np.eye(1, 5), np.ones((2, 5)), np.ones((5, 5))])
def test_prompts_that_all_answer_alike_have_no_map_and_a_figure(figure, vectors):
    coords = project(vectors)
    assert np.isnan(coords.tsne).all() and np.isnan(coords.pca).all() and coords.pca.shape == (len(vectors), 2)
    keys = (["sa"] * len(vectors), ["m"] * len(vectors), list(range(len(vectors))))
    files = drawn(figure, coords, *keys, statistics={}, categories=LOOKS)
    assert len(read_coordinates(files[".csv"])) == len(vectors)
    assert image(files[".png"]).size[0] > 500 and len(files[".pdf"]) > 999


def test_an_undefined_statistic_needs_a_reason():
    assert statistic_texts({"a": 1.0}, {}) == {"a": "1.00"}
    for reasons in ({}, {"CoT cohesion": ""}):
        with pytest.raises(ValueError, match="statistic 'CoT cohesion' is nan; give the reason"):
            statistic_texts(STATISTICS, reasons)


def test_shapes_are_the_papers_and_others_by_name():
    assert llm_shapes([*PAPER, "zephyr", "gemma"]) == {
        "llama-2-13b": "s",
        "llama-2-70b": "^",
        "mixtral-8x7b": "o",
        "gemma": "D",
        "zephyr": "v",
    }


def test_shapes_come_again_where_there_are_more_models_than_shapes():
    shapes = list(llm_shapes([f"m{i:02}" for i in range(20)]).values())
    assert len(set(shapes[:16])) == 16 and shapes[16:] == shapes[:4]
    shapes = list(lm_shapes([f"m{i}" for i in range(20)]).values())
    assert len(set(shapes[:19])) == 19 and shapes[19] == shapes[0]
    coords, *keys = fine_tuned(("one", "two"))
    files = drawn("figa1", coords, keys[0], [f"model {i}" for i in range(len(keys[0]))], keys[2], statistics={})
    assert image(files[".png"]).size[0] > 1000


def test_shapes_of_fine_tuned_models_are_circle_triangle_square_in_their_order():
    assert lm_shapes(["t5", "bert", "t5", "gpt2", "roberta"]) == {"t5": "o", "bert": "^", "gpt2": "s", "roberta": "D"}


def fine_tuned(names: tuple[str, ...]) -> tuple[Projection, list[str], list[str], list[str]]:
    """66 made-up points: three models on 22 datasets, in two clusters."""
    draw = np.random.default_rng(1)
    keys = [(group, model, f"{name}-{group}") for model in ("bert-base", "gpt2", "t5-base")
            for group in ("cr", "qa") for name in names]  # fmt: skip
    places = np.array([[3 if group == "cr" else -3, 0] for group, _, _ in keys]) + draw.normal(size=(len(keys), 2))
    return Projection(20 * places, places / 9, (0.7, 0.1)), *map(list, zip(*keys, strict=True))


@pytest.mark.parametrize("figure", ["fig3", "figa1"])
def test_figures_of_fine_tuned_models(figure):
    coords, *keys = fine_tuned(tuple(f"dataset {i}" for i in range(11)))
    statistics = {"silhouette by class": 0.5}
    files, again = (drawn(figure, coords, *keys, statistics=statistics) for _ in range(2))
    assert files == again
    table = read_coordinates(files[".csv"])
    assert [table[column].tolist() for column in ("class", "model", "dataset")] == keys
    pixels = np.asarray(image(files[".png"]).convert("RGB")).astype(int)
    # the left panel: CR lies right and is red, QA lies left and is blue
    panel = pixels[int(len(pixels) * 0.2) : int(len(pixels) * 0.85), : pixels.shape[1] // 2]
    red, blue = panel[..., 0] - panel[..., 2] > 60, panel[..., 2] - panel[..., 0] > 60
    assert np.flatnonzero(red.sum(axis=0)).mean() > np.flatnonzero(blue.sum(axis=0)).mean()


def test_colours_say_the_category_left_and_right():
    """Two far points in each panel: SA left, NLI right; count blue and red pixels by half of the panel."""
    places = np.array([[-1.0, 0], [-1, 1], [1, 0], [1, 1]])
    coords = Projection(places, places, (0.5, 0.2))
    keys = (["sa", "sa", "nli", "nli"], ["m"] * 4, [1, 2, 1, 2])
    files = drawn("fig4", coords, *keys, statistics={"purity": 1.0}, categories=LOOKS)
    pixels = np.asarray(image(files[".png"]).convert("RGB")).astype(int)
    pixels = pixels[int(len(pixels) * 0.15) :]  # under the legend
    red, blue = pixels[..., 0] - pixels[..., 2] > 60, pixels[..., 2] - pixels[..., 0] > 60
    quarters = [(b.sum(), r.sum()) for b, r in zip(np.array_split(blue, 4, 1), np.array_split(red, 4, 1), strict=True)]
    assert [bool(b) for b, _ in quarters] == [True, False, True, False]
    assert [bool(r) for _, r in quarters] == [False, True, False, True]


def test_points_that_coincide_share_a_label():
    places = np.array([[0.0, 0], [10, 0], [0.5, 0], [10, 1], [0, 9]])
    assert merge_close(places, 2.0) == [[0, 2], [1, 3], [4]]


def test_labels_of_a_cluster_do_not_overlap():
    anchors = np.random.default_rng(0).normal(scale=6, size=(12, 2)) + 150
    lengths = [1, 2] * 6
    centres = spread_labels(anchors, anchors, lengths)
    half = np.array([[length, 1] for length in lengths]) * LETTER
    overlap = half[:, None] + half[None] - np.abs(centres[:, None] - centres[None])
    area = np.where((overlap > 0).all(axis=2), overlap.prod(axis=2), 0)
    np.fill_diagonal(area, 0)
    assert area.max() < 0.05 * (2 * half[0]).prod()
    assert np.linalg.norm(centres - anchors, axis=1).max() < 60
    start = half[:, None] + half[None] - np.abs(anchors[:, None] - anchors[None])
    assert ((start > 0).all(axis=2).sum() - 12) > 20, "the case must start with overlaps"


RED_GREEN_BLIND = {
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
"""What linear RGB looks like to such eyes: Machado, Oliveira and Fernandes (2009), severity 1."""
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def cielab(colour: str, eyes: list[list[float]]) -> np.ndarray:
    """Coordinates of a colour, as such eyes see it, in CIELAB: distances under 10 are hard to see in small points."""
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(TO_XYZ @ np.clip(eyes @ linear, 0, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", RED_GREEN_BLIND)
@pytest.mark.parametrize("colours", [CYCLE, (BLUE, RED, *CYCLE[:3])])
def test_colours_of_maps_and_figures_differ_to_the_colour_blind(colours, eyes):
    seen = [cielab(colour, np.array(RED_GREEN_BLIND[eyes])) for colour in colours]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 12
