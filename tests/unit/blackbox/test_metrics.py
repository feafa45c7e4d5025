"""Scores of black boxes, by hand and against the definitions."""

import pytest
from support.small_lms import SENTIMENT, SIMILAR, WHERE, mood_rows

from fute.blackbox.metrics import majority_score, normalise_answer, span_f1, task_score
from fute.data.rows import Answer, Row


def labelled(names: str) -> list[Row]:
    return [Row(f"r/{i}", ("x",), SENTIMENT.classes[name == "p"]) for i, name in enumerate(names)]


def said(names: str) -> list[str]:
    return [SENTIMENT.classes[name == "p"] for name in names]


def numbers(values) -> list[Row]:
    return [Row(f"r/{i}", ("a", "b"), str(v), value=float(v)) for i, v in enumerate(values)]


@pytest.mark.parametrize(
    "metric, expected",
    [
        ("accuracy", 62.5),
        ("f1", 100 * 4 / 7),  # 2 true positives, 1 false one, 2 missed: 2*2 / (2*2 + 1 + 2)
        ("matthews", 100 * (2 * 3 - 1 * 2) / (3 * 4 * 4 * 5) ** 0.5),
    ],
)
def test_scores_of_classes_by_hand(metric, expected):
    task = SENTIMENT.model_copy(update={"metric": metric})
    assert task_score(task, labelled("ppppnnnn"), said("ppnnpnnn")) == pytest.approx(expected)


def test_f1_is_of_the_class_with_index_one():
    task = SENTIMENT.model_copy(update={"metric": "f1", "classes": ("positive", "negative")})
    assert task_score(task, labelled("ppppnnnn"), said("ppnnpnnn")) == pytest.approx(100 * 6 / 9)


@pytest.mark.parametrize("metric", ["f1", "matthews"])
def test_a_constant_scores_nothing(metric):
    task = SENTIMENT.model_copy(update={"metric": metric})
    assert task_score(task, labelled("ppnn"), said("nnnn")) == 0.0


def test_spearman_is_of_ranks_and_zero_where_constant():
    rows = numbers([0.0, 1.0, 2.0, 5.0])
    assert task_score(SIMILAR, rows, [-3.0, 0.1, 0.2, 99.0]) == pytest.approx(100)
    assert task_score(SIMILAR, rows, [4.0, 3.0, 1.0, 2.0]) == pytest.approx(-80)  # 1 - 6*18/(4*15)
    assert task_score(SIMILAR, rows, [1.0] * 4) == task_score(SIMILAR, numbers([2.0] * 4), [1.0, 2.0, 3.0, 4.0]) == 0.0


def test_scores_need_a_prediction_a_row():
    with pytest.raises(ValueError, match="mood: 1 predictions for 2 rows"):
        task_score(SENTIMENT, mood_rows(2), ["negative"])


def test_answers_are_compared_as_the_official_script_does():
    assert normalise_answer("The  Cat, an ANT; (a dog)!") == "cat ant dog"
    assert normalise_answer("theatre's") == "theatres"


@pytest.mark.parametrize(
    "predicted, gold, expected",
    [
        ("in the big city", ["the city"], 0.5),  # 1 of 3 words, 1 of 1: 2 * (1/3) / (4/3)
        ("city", ["town", "The City!"], 1.0),
        ("", [], 1.0),
        ("city", [], 0.0),
        ("", ["city"], 0.0),
        ("town", ["city"], 0.0),
        ("the", ["a"], 1.0),  # a gold answer of which nothing is left counts as none, and so does the prediction
        ("", ["a", "Oslo"], 0.0),  # nor does it make silence right where another answer is left
        ("b b c", ["b c c"], 2 / 3),  # words in common count as often as they stand on both sides
    ],
)
def test_span_f1_by_hand(predicted, gold, expected):
    assert span_f1(predicted, gold) == pytest.approx(expected)


def test_the_baseline_looks_at_no_text():
    assert majority_score(SENTIMENT, labelled("ppn"), labelled("pnnn")) == 25.0
    f1 = SENTIMENT.model_copy(update={"metric": "f1"})
    assert majority_score(f1, labelled("ppn"), labelled("pnnn")) == pytest.approx(40.0)
    assert majority_score(f1, labelled("pnn"), labelled("pnnn")) == pytest.approx(40.0), "never saying it is no rival"
    assert majority_score(SIMILAR, numbers([1, 2]), numbers([1, 2, 3])) == 0.0
    rows = [Row("a", ("q", "Oslo"), "Oslo", answers=(Answer("Oslo", 0),)), Row("b", ("q", "c"), "-", answers=())]
    assert majority_score(WHERE, rows, rows) == 50.0
