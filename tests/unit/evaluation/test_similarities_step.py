"""Similarities, controls and geometry from made-up vectors, against direct calculations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from support.vectors import put_covariance, put_vector

from fute.embeddings import Embedding, load, save
from fute.evaluation.geometry_step import GeometrySettings, geometry
from fute.evaluation.similarities_step import SimilaritySettings, similarities, similarity_row

PROMPTS = ("sa-1", "sa-2", "sa-3", "sa-4")
START = np.array([1.0, 1.0, 1.0, 0.0, 0.0], dtype=np.float32)


def write(name: str, orders: np.ndarray, basis: str = "b") -> Path:
    path = f"results/embeddings/s/tupate/{name}.safetensors"
    distance = float(np.linalg.norm(orders.mean(0) - START))
    return put_vector(path, orders, start=START, basis={"basis": basis}, relative_distance=distance)


@pytest.fixture
def files(tmp_path, monkeypatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    found = {"dte/d": write("dte/d", rng.normal(size=(2, 5)))}
    found["d.abc"] = write("dte-controls/d.abc", rng.normal(size=(1, 5)))
    for prompt in PROMPTS:
        found[prompt] = write(f"mte/m/{prompt}", rng.normal(size=(2, 5)))
        for variant in ("null-1", "null-2", "abc"):
            found[f"{prompt}.{variant}"] = write(f"controls/m/{prompt}.{variant}", rng.normal(size=(1, 5)))
    return found


def settings(**changes) -> SimilaritySettings:
    values = {"surrogate": "s", "methods": ("tupate",), "models": ("m",), "prompts": {"sa": PROMPTS}}
    values |= {"datasets": {"sa": ("d",)}, "control_methods": ("tupate",), "variants": ("null-1", "null-2", "abc")}
    return SimilaritySettings(**values | changes)


def cos(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(float), b.astype(float)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_similarities_and_controls_are_what_the_vectors_say(files):
    similarities(settings(), files=list(files.values()), cosines=Path("s.csv"), controls=Path("c.csv"))
    vectors = {name: load(path) for name, path in files.items()}
    dte = vectors["dte/d"]
    table = pd.read_csv("s.csv").set_index("prompt")
    for prompt in PROMPTS:
        row, mte = table.loc[prompt], vectors[prompt]
        assert row["cosine"] == pytest.approx(cos(mte.vector, dte.vector))
        assert row["centred_cosine"] == pytest.approx(cos(mte.vector - START, dte.vector - START))
        for name, members in (("candidates", PROMPTS), ("nulls", [f"{p}.null-{i}" for p in PROMPTS for i in (1, 2)])):
            centre = np.mean([vectors[member].vector for member in members], axis=0)
            assert row[f"{name}_cosine"] == pytest.approx(cos(mte.vector - centre, dte.vector - centre), rel=1e-5)
        assert np.isnan(row["task2vec_cosine"]) and np.isnan(row["largest_entry"]), "these are of TaskEmb"
    (check,) = pd.read_csv("c.csv").to_dict("records")
    cosines = np.array([cos(vectors[p].vector, dte.vector) for p in PROMPTS])
    of_orders = np.array([[cos(o, dte.vector) for o in vectors[p].orders] for p in PROMPTS])
    assert check["sd_prompts"] == pytest.approx(cosines.std(ddof=1))
    noise = of_orders - of_orders.mean(axis=1, keepdims=True) - of_orders.mean(axis=0) + of_orders.mean()
    assert check["sd_order_noise"] == pytest.approx(np.sqrt((noise**2).sum() / 3 / 2)), "of the mean of two orders"
    assert check["order_f"] == pytest.approx(of_orders.mean(axis=1).var(ddof=1) / check["sd_order_noise"] ** 2)
    assert 0 < check["order_p"] < 1
    null = np.array([[cos(vectors[f"{p}.null-{i}"].vector, dte.vector) for i in (1, 2)] for p in PROMPTS])
    assert check["null_mean"] == pytest.approx(null.mean()) and check["null_max"] == pytest.approx(null.max())
    assert table[["null-1", "null-2"]].to_numpy() == pytest.approx(null), "every draw stands beside its prompt"
    assert table["one_order_cosine"].to_numpy() == pytest.approx(of_orders[:, 0]), "as permuted labels are learned"
    assert check["order_df"] == 3
    abc = [cos(vectors[f"{p}.abc"].vector, vectors["d.abc"].vector) for p in PROMPTS]
    assert check["abc_spearman"] == pytest.approx(spearmanr(of_orders[:, 0], abc).statistic)
    distances = [vectors[p].meta["relative_distance"] for p in PROMPTS]
    assert check["norm_spearman"] == pytest.approx(spearmanr(cosines, distances).statistic)


def test_taskemb_has_task2vecs_similarity_and_says_what_one_entry_carries():
    mte, dte = (
        Embedding(
            np.array(values, dtype=np.float32),
            "taskemb",
            {},
            {"unknown_tokens": 0.0},
            np.array([values], dtype=np.float32),
        )
        for values in ([9.0, 1.0, 0.0], [9.0, 0.0, 1.0])
    )
    row = similarity_row(mte, dte)
    assert row["largest_entry"] == 1 and row["cosine"] == pytest.approx(81 / 82)
    assert row["task2vec_cosine"] == pytest.approx(0.2)
    assert np.isnan(row["candidates_cosine"]) and np.isnan(row["nulls_cosine"])


def test_gates_stand_beside_the_cosines(files):
    """`yes`, `no`, and nothing for a vector without a gate."""
    figures = {"held_out_loss": 0.5, "prior_loss": 0.7, "held_out_accuracy": 0.8, "needed_accuracy": 0.6}
    gates = {"mte/m/sa-1": figures | {"learned": True, "held_out_accuracy": None, "needed_accuracy": None},
             "mte/m/sa-2": figures | {"learned": False}, "dte/d": figures | {"learned": False}}  # fmt: skip
    for name, gate in gates.items():
        path = Path(f"results/embeddings/s/tupate/{name}.safetensors")
        vector = load(path)
        vector.meta["gate"] = gate
        save(vector, path)
    similarities(settings(), files=list(files.values()), cosines=Path("s.csv"), controls=Path("c.csv"))
    table = pd.read_csv("s.csv", keep_default_na=False).set_index("prompt")
    assert list(table["mte_learned"]) == ["yes", "no", "", ""] and set(table["dte_learned"]) == {"no"}
    assert list(table["mte_held_out_loss"]) == ["0.5", "0.5", "", ""]
    assert table.loc["sa-1", "mte_held_out_accuracy"] == "" and table.loc["sa-1", "dte_needed_accuracy"] == 0.6


def test_vectors_of_another_basis_are_refused(files):
    write("mte/m/sa-2", np.random.default_rng(1).normal(size=(2, 5)), basis="other")
    with pytest.raises(ValueError, match="basis: 'other' and 'b'"):
        similarities(settings(), files=list(files.values()), cosines=Path("s.csv"), controls=Path("c.csv"))
    assert not Path("s.csv").exists()


def test_without_controls_their_cells_are_empty(files):
    similarities(
        settings(control_methods=()), files=list(files.values()), cosines=Path("s.csv"), controls=Path("c.csv")
    )
    (check,) = pd.read_csv("c.csv").to_dict("records")
    table = pd.read_csv("s.csv")
    assert table[["nulls_cosine", "null-1", "null-2"]].isna().all(axis=None)
    assert table["candidates_cosine"].notna().all()
    assert np.isnan(check["null_mean"]) and np.isnan(check["abc_spearman"]) and np.isfinite(check["order_p"])


def test_geometry_tells_two_clusters_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    paths, prompts = [], {}
    for category, centre in (("sa", 5.0), ("nli", -5.0)):
        for number in range(1, 7):
            centred = np.array([centre, 1, 0, 0, 0]) + rng.normal(size=(1, 5)) / 10
            paths.append(write(f"mte/m/{category}-{number}", centred))
            prompts[f"{category}-{number}"] = (category, number, number > 4)
    given = GeometrySettings(prompts=prompts, seed=42)
    geometry(given, files=paths, statistics=Path("g.csv"), coordinates=Path("x.csv"))
    points = pd.read_csv("x.csv")
    assert set(points["view"]) == {"raw", "centred"} and len(points) == 24
    raw = points[points["view"] == "raw"]
    sides = np.sign(raw["pca_x"]) == np.where(raw["category"] == "sa", 1, -1)
    assert sides.all() or not sides.any()
    found = pd.read_csv("g.csv")
    values = found[found["view"] == "raw"].set_index("statistic")["value"]
    assert values["silhouette by category"] > 0.9
    assert values["category purity of 5 neighbours"] == 1
    assert np.isnan(values["model purity of 5 neighbours"])
    shares = found[(found["unit"] == "variance") & (found["view"] == "raw")]["value"]
    assert 0.9 < shares.sum() <= 1


def write_covariance(name: str, rows: np.ndarray, classes: tuple[str, ...], **meta: str) -> Path:
    return put_covariance(f"results/embeddings/encoder/labelcov/{name}.safetensors", rows, classes, **meta)


@pytest.fixture
def covariances(tmp_path, monkeypatch) -> tuple[list[Path], dict[str, np.ndarray]]:
    """LabelCov of four prompts with two permutations each; the last prompt says the same of all texts."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = {name: rng.normal(size=(2, 5)) for name in ("dte/d", *PROMPTS[:3])}
    files = [write_covariance("dte/d", rows["dte/d"], ("no", "yes"))]
    for prompt in PROMPTS[:3]:
        files.append(write_covariance(f"mte/m/{prompt}", rows[prompt][::-1], ("yes", "no")))
    files.append(write_covariance(f"mte/m/{PROMPTS[3]}", np.zeros((2, 5)), ("no", "yes"), no_vector="all the same"))
    for prompt in PROMPTS:
        for i in (1, 2):
            files.append(write_covariance(f"controls/m/{prompt}.null-{i}", rng.normal(size=(2, 5)) / 10, ("no", "yes")))
    return files, rows


def test_covariances_are_compared_by_class_names_and_no_vector_counts_as_0(covariances):
    files, rows = covariances
    given = settings(methods=("labelcov",), control_methods=("labelcov",), other_models={"labelcov": "encoder"})
    similarities(given, files=files, cosines=Path("s.csv"), controls=Path("c.csv"))
    table = pd.read_csv("s.csv").set_index("prompt")
    for prompt in PROMPTS[:3]:
        assert table.loc[prompt, "cosine"] == pytest.approx(cos(rows[prompt].ravel(), rows["dte/d"].ravel()))
    assert set(table["surrogate"]) == {"encoder"} and table["no_vector"].tolist()[3] == "all the same"
    assert table["no_vector"].isna().tolist() == [True, True, True, False] and table.loc[PROMPTS[3], "cosine"] == 0
    assert table["tensor_mean_cosine"].isna().all()
    (check,) = pd.read_csv("c.csv").to_dict("records")
    assert np.isfinite(check["null_mean"]) and np.isnan(check["abc_spearman"])  # no control with letters


def test_a_figure_of_covariances_holds_all_class_sets_and_leaves_out_what_has_no_vector(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng, files, prompts = np.random.default_rng(0), [], {}
    for category, classes in (("sa", ("no", "yes")), ("nli", ("no", "maybe", "yes"))):
        base = rng.normal(size=(len(classes), 5))
        for number in range(1, 6):
            rows = base + rng.normal(size=base.shape) / 20
            files.append(write_covariance(f"mte/m/{category}-{number}", rows, classes))
            prompts[f"{category}-{number}"] = (category, number, number > 3)
    files.append(write_covariance("mte/m/sa-6", np.zeros((2, 5)), ("no", "yes"), no_vector="all the same"))
    prompts["sa-6"] = ("sa", 6, False)
    given = GeometrySettings(prompts=prompts, seed=42)
    geometry(given, files=files, statistics=Path("g.csv"), coordinates=Path("x.csv"))
    assert sorted(pd.read_csv("x.csv")["prompt"]) == sorted(set(prompts) - {"sa-6"})
    values = pd.read_csv("g.csv").set_index("statistic")["value"]
    assert values["silhouette by category"] > 0.5
