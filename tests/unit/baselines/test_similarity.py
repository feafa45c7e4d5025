"""What vectors of datasets say of sources: components and their fusion by hand, and the scores in the step's file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fute.baselines import components
from fute.baselines.components import component_cosines, cosines, save_components
from fute.baselines.lm_baselines_step import LmBaselineSettings, lm_baselines
from fute.baselines.similarity import fused_cosines, vector_cosines
from fute.embeddings import Embedding, EmbeddingError, save
from fute.evaluation.transfer_matrix_step import TransferDataset

DATASETS = {
    "a": TransferDataset(title="A", group="cr"),
    "b": TransferDataset(title="B", group="cr"),
    "q": TransferDataset(title="Q", group="qa"),
    "d": TransferDataset(title="D", group="cr", domain="medical"),
}


def vector(values, **basis) -> Embedding:
    values = np.array(values, dtype=np.float32)
    return Embedding(values, "textemb", basis, {}, values[None])


def write(folder: Path, **found: dict) -> dict[str, Path]:
    """Files of components, a dataset each."""
    for name, parts in found.items():
        arrays = {key: np.array(value, dtype=np.float32) for key, value in parts.items()}
        save_components(arrays, {"model": "m"}, {"rows": 1}, folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in found}


def test_cosines_by_hand_and_in_chunks(monkeypatch):
    rows = [np.array(row, dtype=np.float32) for row in ([1, 0, 0], [1, 1, 0], [0, 0, 0])]
    for chunk in (1, 2, 100):
        monkeypatch.setattr(components, "CHUNK", chunk)
        found = cosines([*rows, None])
        assert found[:2, :2] == pytest.approx(np.array([[1, 0.5**0.5], [0.5**0.5, 1]]))
        assert np.isnan(found[2:]).all() and np.isnan(found[:, 2:]).all()


def test_squares_of_tiny_gradients_keep_their_direction():
    one, other = (np.array(row, dtype=np.float32) * 1e-24 for row in ([3, 4], [4, 3]))
    assert cosines([one, other])[0, 1] == pytest.approx(0.96)


def test_a_component_that_a_model_lacks_has_no_cosine(tmp_path):
    files = write(tmp_path, a={"w": [[1, 0], [0, 0]], "cls_output": [1, 1]}, q={"w": [[1, 0], [0, 1]]})
    found = dict(component_cosines(files))
    assert list(found) == ["cls_output", "w"]
    assert found["w"][0, 1] == pytest.approx(0.5**0.5)
    assert found["cls_output"][0, 0] == pytest.approx(1) and np.isnan(found["cls_output"][0, 1])


def test_components_of_other_models_and_shapes_are_refused(tmp_path):
    files = write(tmp_path, a={"w": [1, 2]}, b={"w": [1, 2, 3]})
    with pytest.raises(EmbeddingError, match="component w differs in size"):
        dict(component_cosines(files))
    save_components({"w": np.ones(2, np.float32)}, {"model": "n"}, {}, files["b"])
    with pytest.raises(EmbeddingError, match="components of a and b have different bases"):
        dict(component_cosines(files))
    save(vector([1, 2]), files["b"])
    with pytest.raises(EmbeddingError, match="different bases"):
        dict(component_cosines(files))


def test_the_same_components_give_the_same_bytes(tmp_path):
    write(tmp_path, one={"x": [1], "w": [[1, 2]]}, two={"w": [[1, 2]], "x": [1]})
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


def test_rankings_of_components_are_fused_by_hand():
    """Sources of d are a, b and q; q's model has no third component, where a and b are 2nd and 1st."""
    nan, names = np.nan, ("a", "b", "q", "d")

    def matrix(a, b, q):
        found = np.zeros((4, 4))
        found[3, :3] = found[:3, 3] = [a, b, q]
        return found

    fused = fused_cosines([matrix(0.9, 0.5, 0.1), matrix(0.2, 0.2, 0.8), matrix(0.1, 0.3, nan)], names, DATASETS)
    # ranks 1, 2, 3; 2.5, 2.5, 1; 2, 1, 3
    assert fused["a", "d"] == pytest.approx(1 / 61 + 1 / 62.5 + 1 / 62)
    assert fused["b", "d"] == pytest.approx(1 / 62 + 1 / 62.5 + 1 / 61)
    assert fused["q", "d"] == pytest.approx(1 / 63 + 1 / 61 + 1 / 63)
    assert set(fused) == {(s, t) for t in DATASETS for s in "abq" if s != t}


def test_rankings_within_a_class_know_nothing_of_other_sources():
    """Of a's three sources b and c are of its class. Among all, q stands between them in the first component, so that
    the fused c comes before b; within the class each is first once, and they tie."""
    datasets = {"a": DATASETS["a"], "b": DATASETS["b"], "c": DATASETS["b"], "q": DATASETS["q"]}

    def matrix(b, c, q):
        found = np.eye(4)
        found[0, 1:] = found[1:, 0] = [b, c, q]
        return found

    components = [matrix(0.1, 0.9, 0.5), matrix(0.9, 0.8, 0.1)]
    both, own = (fused_cosines(components, tuple("abcq"), datasets, within_class=w) for w in (False, True))
    assert both["c", "a"] == pytest.approx(1 / 61 + 1 / 62) and both["b", "a"] == pytest.approx(1 / 63 + 1 / 61)
    assert both["c", "a"] > both["b", "a"]
    assert own["b", "a"] == pytest.approx(own["c", "a"]) == pytest.approx(1 / 61 + 1 / 62)
    assert set(own) == {(s, t) for t in "abc" for s in "abc" if s != t}, "q has no source of its class"


def test_a_component_that_the_target_lacks_moves_no_source():
    lacking = np.full((4, 4), np.nan)
    cosine = np.array([[1, 0.5, 0.2, 0.7], [0.5, 1, 0.1, 0.3], [0.2, 0.1, 1, 0.6], [0.7, 0.3, 0.6, 1]])
    one = fused_cosines([cosine], tuple("abqd"), DATASETS)
    both = fused_cosines([cosine, lacking], tuple("abqd"), DATASETS)
    order = [max("abq", key=lambda s: found[s, "d"]) for found in (one, both)]
    assert order == ["a", "a"] and both["a", "d"] - both["q", "d"] == pytest.approx(one["a", "d"] - one["q", "d"])


def test_cosines_of_vectors_by_hand():
    found = vector_cosines(
        {"a": vector([1, 0]), "b": vector([1, 1]), "q": vector([0, 2]), "d": vector([3, 4])}, DATASETS
    )
    assert found["a", "d"] == pytest.approx(0.6) and found["q", "d"] == pytest.approx(0.8)
    assert found["q", "a"] == 0 and len(found) == 9
    with pytest.raises(EmbeddingError, match="init: 2 and 1"):
        vector_cosines({n: vector([1, 0], init=1 + (n == "q")) for n in DATASETS}, DATASETS)


def test_the_step_writes_a_row_a_method_and_pair(tmp_path):
    rng = np.random.default_rng(0)
    vectors = {}
    for method in ("textemb", "tupate"):
        for name in DATASETS:
            vectors[f"{method}:{name}"] = tmp_path / f"{name}.{method}"
            save(vector(rng.normal(size=4)), vectors[f"{method}:{name}"])
    parts = {name: {"w": rng.random(3), "x": rng.random(2)} for name in DATASETS}
    vectors |= {f"taskemb:{name}": path for name, path in write(tmp_path, **parts).items()}
    settings = LmBaselineSettings(model="m", methods=("textemb", "taskemb", "tupate"), datasets=DATASETS)
    lm_baselines(settings, curves={}, counts={}, vectors=vectors, output=tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table) == ["model", "method", "source", "target", "score", "in_class"]
    assert table["method"].value_counts().to_dict() == {"TextEmb": 9, "TaskEmb": 9, "TuPaTE": 9}
    assert table["score"].notna().all()
    own = table[table["in_class"].notna()]
    assert {(row.source, row.target) for row in own.itertuples()} == {("a", "b"), ("b", "a")}
    fused = own["method"] == "TaskEmb"
    assert (own.loc[~fused, "in_class"] == own.loc[~fused, "score"]).all()
    assert own.loc[fused, "in_class"].tolist() == pytest.approx([2 / 61] * 2), "a's only source of its class is b"
    del vectors["tupate:d"]
    with pytest.raises(ValueError, match="no vector tupate:d is among the files of this step"):
        lm_baselines(settings, curves={}, counts={}, vectors=vectors, output=tmp_path / "out.csv")
