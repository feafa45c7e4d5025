"""`import fute` in a notebook: the examples of its docstrings, rankings worked by hand, and what it refuses."""

from __future__ import annotations

import doctest
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from support.small_lms import save_small
from support.stand_ins import save_stand_in

import fute
from fute import notebook
from fute.config.methods import LabelCovSettings
from fute.embeddings import Embedding, EmbeddingError
from fute.embeddings.covariance import label_covariance
from fute.embeddings.sentence_encoder import SentenceEncoder

TEXTS = ["a great film", "a dull film", "it was good", "it was bad"]
LABELS = ["positive", "negative", "positive", "negative"]
RECIPE = {"epochs": 4, "batch_size": 4, "learning_rate": 0.05, "length": 3}


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory):
    return save_stand_in(tmp_path_factory.mktemp("models") / "surrogate", "causal")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("models") / "encoder", "bert")


@pytest.mark.parametrize("name", ["embed", "labelcov", "rank"])
def test_the_examples_of_the_docstrings_are_true(name, surrogate, encoder):
    examples = doctest.DocTestFinder().find(
        getattr(notebook, name), name, globs={"fute": fute, "surrogate": surrogate, "encoder": encoder}
    )
    assert sum(len(example.examples) for example in examples) > 0
    results = [doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example) for example in examples]
    assert [result.failed for result in results] == [0]


def test_every_name_is_there_and_nothing_heavy_comes_with_the_package():
    code = (
        "import sys, fute; print(sorted({'torch', 'numpy', 'pandas', 'transformers', 'pydantic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
    assert all(callable(getattr(fute, name)) for name in fute.__all__)
    assert set(dir(fute)) == set(fute.__all__), "a notebook completes them"
    with pytest.raises(AttributeError, match="has no attribute 'rnak'"):
        fute.rnak  # noqa: B018


def test_labelcov_is_the_covariance_of_the_encoders_states(encoder):
    settings = LabelCovSettings()
    phi, _ = SentenceEncoder(encoder, max_tokens=settings.max_tokens, batch_size=settings.batch_size).encode(
        [(text,) for text in TEXTS]
    )
    vector = fute.labelcov(TEXTS, LABELS, encoder)
    np.testing.assert_allclose(vector.vector, label_covariance(phi, LABELS).ravel(), rtol=1e-6)
    other = fute.labelcov(TEXTS, ["negative" if label == "positive" else "positive" for label in LABELS], encoder)
    assert fute.cosine(vector, other) == pytest.approx(-1)
    ranked = fute.rank({"inverted": other, "right": vector}, vector)
    assert [(row.rank, row.name) for row in ranked] == [(1, "right"), (2, "inverted")]


def test_a_ranking_of_labelcov_has_one_measure():
    """Of a box with the dataset's classes and one with others, neither is compared by names: that would be -1."""

    def covariance(names: list[str], rows: list[list[float]]) -> Embedding:
        flat = np.array(rows, np.float32).ravel()
        segments = [(name, 2 * i, 2 * i + 2) for i, name in enumerate(names)]
        return Embedding(flat, "labelcov", {}, {}, flat[None], segments=segments)

    dataset = covariance(["no", "yes"], [[1, 0], [-1, 0]])
    opposite, other = covariance(["no", "yes"], [[-1, 0], [1, 0]]), covariance(["a", "b"], [[1, 1], [-1, -1]])
    assert [row.similarity for row in fute.rank({"opposite": opposite}, dataset)] == pytest.approx([-1])
    ranked = fute.rank({"opposite": opposite, "other": other}, dataset)
    assert [(row.name, row.similarity) for row in ranked] == [
        ("opposite", pytest.approx(1)),
        ("other", pytest.approx(0.5)),
    ]


def test_equal_candidates_share_a_rank():
    ranked = fute.rank({"a": [0, 1], "b": [2, 2], "c": [1, 1]}, [1, 1])
    assert [(row.rank, row.name) for row in ranked] == [(1, "b"), (1, "c"), (3, "a")]
    vector = np.random.default_rng(0).random(50, np.float32)
    basis = {"method": "tupate"}
    same, other = (Embedding(v, "tupate", basis, {}, v[None]) for v in (vector, vector[::-1].copy()))
    equal = fute.rank({name: same for name in "abcdefg"}, other)
    assert all(row.rank == 1 and math.isnan(row.centred) for row in equal), "nothing is left around their mean"
    assert math.isnan(fute.rank({"alone": [1, 1]}, [1, 1])[0].centred)


def test_one_direction_is_one_rank_whatever_the_last_digit_says():
    ranked = fute.rank({"a": [1, 1], "b": [3, 3], "c": [0.1, 0.1], "d": [1, 0.9]}, [1, 1])
    assert [row.rank for row in ranked] == [1, 1, 1, 4] and len({row.similarity for row in ranked[:3]}) > 1


def test_zips_and_columns_of_tables_are_lists_too(surrogate, encoder):
    table = pd.DataFrame({"text": TEXTS * 6, "label": LABELS * 6}, index=range(50, 74))
    from_list = fute.embed([*zip(TEXTS * 6, LABELS * 6, strict=True)], surrogate, recipe=RECIPE)
    for pairs in (zip(table["text"], table["label"], strict=True), table.to_numpy()):
        np.testing.assert_array_equal(fute.embed(pairs, surrogate, recipe=RECIPE).vector, from_list.vector)
    one = fute.labelcov(table["text"], table["label"], encoder, classes=table["label"].unique())
    assert fute.cosine(one, fute.labelcov(TEXTS * 6, LABELS * 6, encoder)) == pytest.approx(1)


def test_vectors_of_one_recipe_compare_and_repeat(surrogate):
    pairs = [(("a great", "film"), "positive"), ("a dull film", "negative")] * 12
    mte, again = (fute.embed(pairs, surrogate, recipe=RECIPE) for _ in range(2))
    np.testing.assert_array_equal(mte.vector, again.vector)
    dte = fute.embed(pairs, str(surrogate), kind="dte", recipe=RECIPE | {"max_epochs": None, "patience": None})
    assert "held_out_accuracy" in dte.meta["gate"] and -1 <= fute.rank({"m": mte}, dte)[0].similarity <= 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, e: fute.embed([], s), "no pairs"),
        (lambda s, e: fute.embed([("a", "b")], s, method="labelcov"), "call fute.labelcov"),
        (lambda s, e: fute.embed([("a", "b")], s, kind="dte"), "stops early: give held-out pairs as dev"),
        (lambda s, e: fute.embed([("a", "b")], s, kind="mtes"), "kind must be"),
        (lambda s, e: fute.embed([("a", "b")], s / "none"), "holds no saved model"),
        (lambda s, e: fute.embed([("a", "b")], s, recipe={"epoch": 3}), "recipe: epoch: .* did you mean epochs"),
        (lambda s, e: fute.embed([("a", "b")], s, recipe=RECIPE, settings={"famly": 1}), "settings: famly: .* family"),
        (lambda s, e: fute.embed([("a", "b")], s, settings={"form": "heads"}), "use form 'text2text'|or form"),
        (lambda s, e: fute.embed([("a", "b"), ("a", 1)], s), "pair 1: y must be a text, got 1"),
        (lambda s, e: fute.embed([(math.nan, "b")], s), "pair 0, x: must be a text or two texts, got nan"),
        (lambda s, e: fute.embed([(("a", "b", "c"), "b")], s), "pair 0, x: must be a text or two texts"),
        (lambda s, e: fute.embed([("a", "b")], s, dev=[("a", None)]), "dev, pair 0: y must be a text, got None"),
        (lambda s, e: fute.labelcov([*TEXTS[:3], math.nan], LABELS, e), "text 3: must be a text or two"),
        (lambda s, e: fute.labelcov(TEXTS, [*LABELS[:3], math.nan], e), "label 3: must be the name of a class"),
        (lambda s, e: fute.labelcov(TEXTS, LABELS, e, classes=[*LABELS[:2], "positive"]), "'positive' is named twice"),
        (lambda s, e: fute.labelcov(TEXTS, LABELS[:3], e), "4 texts and 3 labels"),
        (lambda s, e: fute.labelcov(TEXTS, ["positive"] * 4, e), "there is no vector: the output is the same"),
        (lambda s, e: fute.labelcov(TEXTS, LABELS, e, classes=["positive", "neutral"]), "'negative' is not one of"),
        (lambda s, e: fute.labelcov(TEXTS, LABELS, "nowhere"), "nowhere holds no saved model"),
        (lambda s, e: fute.embed(["ab", "cd"], s), r"pair 0: must be \(x, y\), got 'ab'"),
        (lambda s, e: fute.embed([("a", "b", "c")], s), r"pair 0: must be \(x, y\), got \('a', 'b', 'c'\)"),
        (lambda s, e: fute.rank({}, [1.0]), "no candidates"),
        (lambda s, e: fute.rank([[1.0]], [1.0]), "must be a dict, name -> vector, got a list"),
        (lambda s, e: fute.rank(pd.DataFrame({"a": [1.0]}), [1.0]), "must be a dict, name -> vector, got a DataFrame"),
        (lambda s, e: fute.rank({"a": [1.0, 2.0]}, [1.0]), r"must all be \(d,\)"),
        (lambda s, e: fute.rank({"a": [0.0, 0.0]}, [1.0, 0.0]), "a and the dataset: a vector of zero"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(call, words, surrogate, encoder):
    with pytest.raises((ValueError, EmbeddingError), match=words):
        call(surrogate, encoder)
