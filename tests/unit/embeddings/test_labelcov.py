"""LabelCov on texts: what rows and labels say, vectors of a small frozen encoder, and their files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from support.small_lms import save_small
from transformers import AutoModel, AutoTokenizer

from fute.config.methods import LabelCovSettings
from fute.data.rows import Answer, Row
from fute.embeddings import EmbeddingError, cosine, label_covariance, load, number_covariance, output_covariance, save
from fute.embeddings.covariance import whitening
from fute.embeddings.labelcov import LabelCov, Outputs, _of_rows, label_outputs
from fute.embeddings.sentence_encoder import SentenceEncoder
from fute.specs.embeddings import Item

CLASSES = ("negative", "positive")
TEXTS = [("a good film",), ("a very bad film with no end",), ("the", "end of it"), ("good",), ("bad bad",), ("so-so",)]
SAID = ["positive", "negative", "negative", "positive", "negative", "positive"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("bert"), "bert")


def box(folder, **changes) -> LabelCov:
    return LabelCov(folder, LabelCovSettings(batch_size=2, **changes), "sha")


def embedded(folder, texts) -> np.ndarray:
    """One text at a time, without padding."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    means = []
    for text in texts:
        with torch.no_grad():
            mean = model(**tokenizer(*text, return_tensors="pt")).last_hidden_state[0].mean(0)
        means.append((mean / mean.norm()).numpy())
    return np.array(means)


def test_vectors_of_every_kind_of_output(folder):
    phi, made = embedded(folder, TEXTS), box(folder)
    labels = made.embed(TEXTS, Outputs("labels", SAID, CLASSES))
    np.testing.assert_allclose(labels.vector, label_covariance(phi, SAID).ravel(), atol=1e-6)
    assert [name for name, *_ in labels.segments] == list(CLASSES) and labels.segments[1][1:] == (16, 32)
    assert labels.meta["shares"] == {"negative": 0.5, "positive": 0.5} and labels.meta["inputs_cut"] == 0
    soft = [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.7, 0.3], [0.1, 0.9], [0.6, 0.4]]
    found = made.embed(TEXTS, Outputs("probabilities", soft, CLASSES))
    np.testing.assert_allclose(found.vector, output_covariance(phi, soft).ravel(), atol=1e-6)
    numbers = [1.0, 4.0, 2.5, 0.0, 3.0, 5.0]
    found = made.embed(TEXTS, Outputs("numbers", numbers))
    np.testing.assert_allclose(found.vector, number_covariance(phi, numbers).ravel(), atol=1e-6)
    answers = ["film", "no end", "it", "good", "bad", "film"]
    found = made.embed(TEXTS, Outputs("answers", answers))
    expected = output_covariance(phi, embedded(folder, [(answer,) for answer in answers]))
    np.testing.assert_allclose(found.vector, expected.ravel(), atol=1e-6)
    assert 0 <= cosine(found, labels) <= 1  # one space for all


def test_padding_is_on_the_right_whatever_the_tokenizer_says(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    AutoTokenizer.from_pretrained(folder, padding_side="left").save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).padding_side == "left"
    found, _ = SentenceEncoder(tmp_path, max_tokens=60, batch_size=len(TEXTS)).encode(TEXTS)
    np.testing.assert_allclose(found, embedded(folder, TEXTS), atol=1e-6)


def test_cut_texts_are_counted_and_equal_texts_read_once(folder):
    made = box(folder, max_tokens=6)
    phi, cut = made.encoder.encode([*TEXTS, TEXTS[1]])
    np.testing.assert_array_equal(phi[1], phi[-1])
    np.testing.assert_allclose(np.linalg.norm(phi, axis=1), 1, atol=1e-6)
    lengths = [len(made.encoder.tokenizer(*text)["input_ids"]) for text in TEXTS]
    assert cut == sum(length > 6 for length in [*lengths, lengths[1]]) > 0


def test_a_box_that_says_one_thing_has_no_vector_and_says_so(folder, tmp_path):
    made = box(folder)
    nothing = made.embed(TEXTS, Outputs("labels", ["positive"] * 6, CLASSES))
    assert not nothing.vector.any() and len(nothing.vector) == 32
    assert nothing.meta["no_vector"] == "the output is the same, 'positive', for all 6 texts"
    save(nothing, tmp_path / "v.safetensors")
    with pytest.raises(EmbeddingError, match="has no vector, so no cosine: the output is the same, 'positive'"):
        cosine(load(tmp_path / "v.safetensors"), made.embed(TEXTS, Outputs("labels", SAID, CLASSES)))
    with pytest.raises(EmbeddingError, match="'neutral' is not one of the classes"):
        made.embed(TEXTS, Outputs("labels", [*SAID[:5], "neutral"], CLASSES))
    with pytest.raises(EmbeddingError, match="no texts"):
        made.embed([], Outputs("labels", [], CLASSES))


def test_class_names_decide_how_two_vectors_are_compared(folder):
    made = box(folder)
    one = made.embed(TEXTS, Outputs("labels", SAID, CLASSES))
    turned = made.embed(TEXTS, Outputs("labels", [CLASSES[label == "negative"] for label in SAID], CLASSES))
    letters = made.embed(TEXTS, Outputs("labels", ["AB"[label == "negative"] for label in SAID], ("A", "B")))
    reordered = made.embed(TEXTS, Outputs("labels", SAID, CLASSES[::-1]))
    assert cosine(one, turned) == pytest.approx(-1) and cosine(one, letters) == pytest.approx(1)
    assert cosine(one, reordered) == pytest.approx(1)
    with pytest.raises(EmbeddingError, match="max_tokens"):
        cosine(one, box(folder, max_tokens=6).embed(TEXTS, Outputs("labels", SAID, CLASSES)))


def test_whitened_vectors(folder):
    """They are of other texts' spread each, and are not compared with others."""
    made, plain = box(folder, whiten=True), box(folder)
    for texts, said in ((TEXTS, SAID), (TEXTS[::-1][1:], SAID[::-1][1:])):
        phi = embedded(folder, texts)
        found = made.embed(texts, Outputs("labels", said, CLASSES))
        np.testing.assert_allclose(found.vector, (label_covariance(phi, said) @ whitening(phi)).ravel(), rtol=1e-3)
        with pytest.raises(EmbeddingError, match="whiten"):
            cosine(found, plain.embed(texts, Outputs("labels", said, CLASSES)))


def item(**changes) -> Item:
    values = {"key": "k", "kind": "mte", "category": "sa", "source": "m/sa-3", "variant": None, "pairs": None}
    return Item(**values | {"target": "label", "seed": 1, "classes": CLASSES} | changes)


def test_labels_of_black_boxes():
    lines = [
        {"id": "1", "prediction": "positive", "classes": ["positive", "negative"], "probabilities": [0.8, 0.2]},
        {"id": "2", "prediction": "negative", "classes": ["negative", "positive"], "probabilities": [0.6, 0.4]},
    ]
    assert label_outputs(item(), lines) == Outputs("labels", ["positive", "negative"], CLASSES)
    assert label_outputs(item(target="soft"), lines) == Outputs("probabilities", [[0.2, 0.8], [0.6, 0.4]], CLASSES)
    numbers = [{"id": "1", "prediction": "1.8", "value": 1.75}, {"id": "2", "prediction": "4.0", "value": 4.1}]
    assert label_outputs(item(classes=()), numbers) == Outputs("numbers", [1.8, 4.0])
    assert label_outputs(item(classes=(), target="soft"), numbers) == Outputs("numbers", [1.75, 4.1])
    spans = [{"id": "1", "prediction": "a film", "span": None}, {"id": "2", "prediction": "it", "span": None}]
    assert label_outputs(item(classes=()), spans) == Outputs("answers", ["a film", "it"])
    with pytest.raises(EmbeddingError, match="m/sa-3: label of 1 has no probability of 'negative'"):
        label_outputs(item(target="soft"), [{"id": "1", "prediction": "positive"}])
    with pytest.raises(EmbeddingError, match="m/sa-3: label of 2: '4 stars' is not a finite number"):
        label_outputs(item(classes=()), [numbers[0], {"id": "2", "prediction": "4 stars", "value": 4.0}])


def test_labels_of_datasets():
    rows = [Row("1", ("x",), "negative"), Row("2", ("y",), "positive")]
    assert _of_rows(item(), rows) == ([("x",), ("y",)], Outputs("labels", ["negative", "positive"], CLASSES))
    numbers = [Row("1", ("x",), "1.8", value=1.75), Row("2", ("y",), "4.0", value=4.1)]
    assert _of_rows(item(), numbers)[1] == Outputs("numbers", [1.75, 4.1])
    spans = [Row("1", ("q", "it"), "it", answers=(Answer("it", 0),)), Row("2", ("q", "x"), "unanswerable", answers=())]
    assert _of_rows(item(), spans)[1] == Outputs("answers", ["it", "unanswerable"])
    with pytest.raises(ValueError, match="row 1 has no label"):
        _of_rows(item(), [Row("1", ("x",))])
