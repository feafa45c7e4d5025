"""Similarities beside the raw cosine, by hand and on vectors with a planted order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.vectors import put_covariance, put_vector

from fute.embeddings import EmbeddingError, cosine
from fute.embeddings.compare_files import compare_files
from fute.embeddings.similarity import cosine_around, largest_entry_share, task2vec_similarity


def test_around_a_centre_by_hand():
    assert cosine_around([3, 1], [1, 3], [1, 1]) == 0
    assert cosine_around([3, 1], [2, 1], [1, 1]) == 1
    assert np.isnan(cosine_around([1, 1], [2, 1], [1, 1])), "a single candidate is its own centre"
    tenths = np.full(3, 0.1)
    assert np.isnan(cosine_around(tenths, [2, 1, 1], np.mean([tenths * (1 + 1e-15)] * 3, axis=0))), "but for rounding"
    assert cosine_around([1.001, 1], [1, 1.001], [1, 1]) == pytest.approx(0), "a small difference is one"
    vectors = np.random.default_rng(0).normal(size=(50, 3))
    assert max(cosine_around(v, 3 * v, np.zeros(3)) for v in vectors) <= 1


def test_centring_finds_what_a_shared_part_hides():
    """Candidates share a long part, and the one that learned nothing lies along it. The dataset is of candidate 2."""
    rng = np.random.default_rng(0)
    shared, own = 10 * rng.normal(size=100), 0.3 * rng.normal(size=(4, 100))
    candidates = np.array([shared, 0.9 * shared + own[1], 0.9 * shared + 8 * own[2], 0.9 * shared + own[3]])
    dataset = shared + 4 * own[2]
    raw = [cosine(candidate, dataset) for candidate in candidates]
    centred = [cosine_around(candidate, dataset, candidates.mean(axis=0)) for candidate in candidates]
    assert np.argmax(raw) != 2 and np.argmax(centred) == 2


def test_task2vec_by_hand():
    # shares 1/4, 1/2, 0 and 3/4, 1/2, 0: an entry that is 0 in both is left out
    expected = (3 / 16 + 1 / 4) / (np.sqrt(1 / 16 + 1 / 4) * np.sqrt(9 / 16 + 1 / 4))
    assert task2vec_similarity([1, 50, 0], [3, 50, 0]) == pytest.approx(expected)
    assert task2vec_similarity([1, 2, 3], [1, 2, 3]) == pytest.approx(1)
    assert task2vec_similarity([1, 0], [0, 1]) == 0 and np.isnan(task2vec_similarity([0, 0], [0, 1]))
    # one huge entry decides the raw cosine, and not this one
    assert cosine(np.array([1e6, 1, 0]), np.array([1e6, 0, 1])) > 0.999
    assert task2vec_similarity([1e6, 1, 0], [1e6, 0, 1]) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="no negative entries"):
        task2vec_similarity([1, -1], [1, 1])


@pytest.mark.parametrize("similarity", [lambda a, b: cosine_around(a, b, b), task2vec_similarity])
def test_what_has_no_similarity_is_refused(similarity):
    for a, b in (([1, float("nan")], [1, 2]), ([1, float("inf")], [1, 2])):
        with pytest.raises(ValueError, match="values that are not finite"):
            similarity(a, b)
    for a, b in (([1, 2], [1, 2, 3]), ([1], [1, 2]), ([[1, 2]], [[1, 2]]), ([], [])):
        with pytest.raises(ValueError, match="must be 1-D and of one length, got "):
            similarity(a, b)


def test_largest_entry():
    assert largest_entry_share([3, 1], [1, 2]) == pytest.approx(3 / 5)
    assert largest_entry_share([3e-9, 1e-9], [1e-9, 2e-9]) == pytest.approx(3 / 5), "squares of gradients are small"
    assert largest_entry_share([1, 1, 1, 1], [2, 2, 2, 2]) == 1 / 4
    assert np.isnan(largest_entry_share([1, 0], [0, 1]))


def test_compare_shows_what_is_left_of_a_cosine(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")  # a narrow terminal breaks headings
    monkeypatch.chdir(tmp_path)
    vectors = {"d": [9.0, 0.0, 1.0], "a": [9.0, 1.0, 0.0], "b": [9.0, 0.0, 2.0]}
    for name, values in vectors.items():
        put_vector(name, values, method="taskemb")
    compare_files(Path("d"), [Path("a"), Path("b")])
    shown = capsys.readouterr().out
    assert "On their mean" in shown and "task2vec" in shown and "Centred" not in shown
    first, second = (line.split("│")[1:-1] for line in shown.splitlines() if line.startswith("│"))
    # around (9, 0.5, 1) the dataset is at (0, -0.5, 0), a at (0, 0.5, -1), b at (0, -0.5, 1)
    cells = [[cell.strip() for cell in row] for row in (first, second)]
    assert cells[0][1:] == ["b", f"{83 / (82 * 85) ** 0.5:.4f}", f"{100 * 81 / 83:.1f} %", cells[0][4], "0.4472"]
    assert cells[1][1:4] == ["a", f"{81 / 82:.4f}", "100.0 %"] and cells[1][5] == "-0.4472"
    assert cells[1][4] == "0.2000"
    compare_files(Path("d"), [Path("a")])
    assert "On their mean" not in capsys.readouterr().out, "one vector is its own mean"


def test_a_files_name_is_no_markup(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    for name in ("d[old]", "a[v2]"):
        put_vector(name, [9.0, 0.0, 1.0], method="taskemb")
    compare_files(Path("d[old]"), [Path("a[v2]")])
    shown = capsys.readouterr().out
    assert "similarity with d[old]" in shown and " a[v2] " in shown


def test_covariances_are_listed_by_one_measure_and_what_has_no_vector_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    put_covariance("d", [[1, 0], [-1, 0]], "xy")
    put_covariance("same", [[2, 0], [-2, 0]], "xy")
    put_covariance("opposite", [[-1, 0], [1, 0]], "xy")
    put_covariance("slanted", [[1, 1], [-1, -1]], "xy")
    put_covariance("letters", [[1, 1], [-1, -1], [0, 0]], "ABC")
    put_covariance("nothing", [[0, 0], [0, 0]], "xy", no_vector="the output is the same")
    compare_files(Path("d"), [Path("same"), Path("opposite"), Path("slanted")])
    by_names = capsys.readouterr().out
    assert [f"{value:.4f}" in by_names for value in (1, -1, np.sqrt(0.5))] == [True] * 3
    compare_files(Path("d"), [Path("same"), Path("opposite"), Path("letters")])
    by_scatters = capsys.readouterr().out
    assert "0.5000" in by_scatters and by_scatters.count("1.0000") >= 2, "a scatter has no sign"
    put_covariance("renamed", [[1, 0], [-1, 0]], "AB")
    compare_files(Path("d"), [Path("opposite"), Path("renamed")])
    shown = capsys.readouterr().out
    rows = [line.split("│")[1:-1] for line in shown.splitlines() if line.startswith("│")]
    assert "On their mean" in shown
    assert [[cell.strip() for cell in row[2:]] for row in rows] == [["1.0000", ""]] * 2, "equal vectors have no centre"
    with pytest.raises(EmbeddingError, match="nothing holds no vector: the output is the same"):
        compare_files(Path("d"), [Path("same"), Path("nothing")])
    with pytest.raises(EmbeddingError, match=r"^nowhere: there is no such file; give vectors that"):
        compare_files(Path("d"), [Path("same"), Path("nowhere")])
