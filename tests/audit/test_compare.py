"""How far artifacts are apart, by hand; and verdicts by kind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fute.artifacts import gzip_bytes, jsonl_bytes
from fute.audit.findings import Verdict
from fute.audit.rerun.compare import (
    DEFAULTS,
    UNLIKE,
    Kind,
    Tolerances,
    absolute_distance,
    array_distances,
    arrays_of,
    compare,
    distances,
    kind_of,
    label_distances,
    weight_distances,
)
from fute.embeddings import Embedding, save

DEFAULT = Tolerances(DEFAULTS, "the defaults")
LABELS = "results/labels/m/sa-1/sa.jsonl.gz"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (LABELS, Kind.LABELS),
        ("results/labels/m/sa-1/sa.offset.json", Kind.METRICS),
        ("results/labels/m/batches/0a.jsonl.gz", Kind.EXACT),
        ("results/embeddings/m/tupate/mte/m/sa-1.safetensors", Kind.VECTORS),
        ("results/models/m.lock.json", Kind.WEIGHTS),
        ("results/finetuned/m/rte.lock.json", Kind.WEIGHTS),
        ("results/finetuned/m/rte.score.json", Kind.METRICS),
        ("results/data/rte/source.lock.json", Kind.EXACT),
        ("results/data/rte/test.jsonl.gz", Kind.EXACT),
        ("results/evaluation/table3.csv", Kind.METRICS),
        ("results/paper/tables/table3.csv", Kind.EXACT),
        ("results/paper/figures/fig4.pdf", Kind.FIGURE),
        ("results/paper/figures/fig4.csv", Kind.EXACT),
    ],
)
def test_kinds(name: str, kind: Kind):
    assert kind_of(name) is kind


def labels(*said: str) -> list[dict]:
    return [{"id": str(i), "prediction": word, "prompt": 1} for i, word in enumerate(said)]


def test_labels_by_hand():
    one, two = labels("yes", "yes", "no", "no"), labels("yes", "no", "no", "maybe")
    # rows 1 and 3 differ; yes 2 -> 1, no 2 -> 2, maybe 0 -> 1 of 4 rows
    assert label_distances(one, two) == {"flips": 0.5, "class shift": 0.25}
    assert label_distances(one, one) == {"flips": 0.0, "class shift": 0.0}
    assert label_distances(one, two[:3]) == {"flips": UNLIKE, "class shift": UNLIKE}
    # two flips that cancel out move no class
    assert label_distances(labels("a", "b"), labels("b", "a")) == {"flips": 1.0, "class shift": 0.0}


def test_vectors_by_hand():
    a, b = {"v": np.array([3.0, 4.0])}, {"v": np.array([4.0, 3.0])}
    found = array_distances(a, b)
    assert found["cosine distance"] == pytest.approx(1 - 24 / 25)
    assert found["relative L2"] == pytest.approx(np.sqrt(2) / 5)
    assert array_distances(a, {"v": np.array([6.0, 8.0])})["relative L2"] == pytest.approx(1)
    assert array_distances(a, {"v": np.array([3.0])})["relative L2"] == UNLIKE
    assert array_distances(a, {"w": a["v"]})["cosine distance"] == UNLIKE
    assert array_distances(a, {"v": np.array([np.nan, 4.0])})["cosine distance"] == UNLIKE
    assert array_distances({"v": np.zeros(2)}, {"v": np.ones(2)})["relative L2"] == UNLIKE


def test_metrics_by_hand():
    one = {"rank": [1, 2.5], "name": ["a", "b"], "gap": [float("nan"), 1.0]}
    assert absolute_distance(one, {**one, "rank": [1, 2.25]}) == 0.25
    assert absolute_distance(one, one) == 0.0
    assert absolute_distance(one, {**one, "name": ["a", "c"]}) == UNLIKE
    assert absolute_distance(one, {**one, "gap": [0.0, 1.0]}) == UNLIKE
    assert absolute_distance(one, {**one, "rank": [1]}) == UNLIKE
    assert absolute_distance({"a": True}, {"a": 1}) == 0.0 == absolute_distance({"a": 1}, {"a": 1.0})
    assert absolute_distance({"a": True}, {"a": False}) == UNLIKE


def embedding(path: Path, vector: np.ndarray, **options: str) -> Path:
    save(Embedding(vector.astype(np.float32), "tupate", {}, {}, vector[None].astype(np.float32)), path, **options)
    return path


def test_an_embedding_is_read_scaled_back(tmp_path: Path):
    vector = np.array([1e6, -5e5, 3.0])
    full, half = embedding(tmp_path / "a", vector), embedding(tmp_path / "b", vector, store="float16")
    assert arrays_of(full)["vector"] == pytest.approx(vector)
    assert arrays_of(half)["vector"] == pytest.approx(vector, abs=1e3)
    name = "results/embeddings/m/tupate/dte/x.safetensors"
    assert distances(name, full, full) == {"cosine distance": 0.0, "relative L2": 0.0}


def pair(folder: Path, name: str, one: bytes, two: bytes) -> tuple[Path, Path]:
    paths = tuple(folder / side / Path(name).name for side in ("one", "two"))
    for path, data in zip(paths, (one, two), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return paths


def test_verdicts_of_labels(tmp_path: Path):
    many = [labels(*["yes"] * 200), labels(*["yes"] * 199, "no"), labels(*["yes"] * 190, *["no"] * 10)]
    same, flipped, drifted = (gzip_bytes(jsonl_bytes(rows)) for rows in many)
    header = bytearray(same)
    header[9] ^= 1
    for other, verdict in (
        (same, Verdict.IDENTICAL),
        (bytes(header), Verdict.EQUIVALENT),
        (flipped, Verdict.WITHIN_TOLERANCE),
        (drifted, Verdict.DRIFTED),
    ):
        found = compare(LABELS, *pair(tmp_path, LABELS, same, other), DEFAULT)
        assert found.verdict is verdict
        if other in (flipped, drifted):
            assert "flips" in found.words and "may be 0.01" in found.words
    # a measured floor of zero takes the place of the default
    strict = Tolerances({**DEFAULTS, Kind.LABELS: {"flips": 0.0, "class shift": 0.0}}, "measured")
    assert compare(LABELS, *pair(tmp_path, LABELS, same, flipped), strict).verdict is Verdict.DRIFTED


def test_tables_have_no_tolerance_and_figures_are_judged_by_their_data(tmp_path: Path):
    table = "results/paper/tables/table3.csv"
    assert compare(table, *pair(tmp_path, table, b"a\n1.0\n", b"a\n1.0000001\n"), DEFAULT).verdict is Verdict.DRIFTED
    metric = "results/evaluation/table3.csv"
    found = compare(metric, *pair(tmp_path, metric, b"a\n1.0\n", b"a\n1.0000001\n"), DEFAULT)
    assert found.verdict is Verdict.WITHIN_TOLERANCE
    figure = "results/paper/figures/fig4.pdf"
    drawn = pair(tmp_path, figure, b"one", b"two")
    pair(tmp_path, "fig4.csv", b"x\n1\n", b"x\n1\n")
    assert compare(figure, *drawn, DEFAULT).verdict is Verdict.EQUIVALENT
    pair(tmp_path, "fig4.csv", b"x\n1\n", b"x\n2\n")
    assert compare(figure, *drawn, DEFAULT).verdict is Verdict.DRIFTED


def test_weights_are_compared_tensor_by_tensor(tmp_path: Path):
    locks = []
    for side, value in (("one", 1.0), ("two", 1.001)):
        folder = tmp_path / side / "m"
        folder.mkdir(parents=True)
        save_file({"w": np.array([value, 2.0])}, folder / "model.safetensors")
        (folder / "config.json").write_text("{}")
        files = {"model.safetensors": {"sha256": side}, "config.json": {"sha256": "same"}}
        lock = folder.with_name("m.lock.json")
        lock.write_text(json.dumps({"model": "m", "files": files}))
        locks.append(lock)
    assert weight_distances(*locks)["relative L2"] == pytest.approx(0.001 / np.sqrt(5))
    value = json.loads(locks[1].read_text())
    value["files"]["config.json"]["sha256"] = "other"
    locks[1].write_text(json.dumps(value))
    assert weight_distances(*locks) == {"cosine distance": UNLIKE, "relative L2": UNLIKE}
