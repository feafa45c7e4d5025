"""Target strings of the surrogate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.categories import CLASSES

from fute.data.rows import Answer, Row
from fute.data.text2text import answer_target, labelled_pairs, mte_target, number_target

STSB = {"low": 0.0, "high": 5.0, "step": 0.2}

NLI = CLASSES["nli"]
WORDS = {"entailment": ("yes", "Yes"), "neutral": ("maybe", "Maybe"), "contradiction": ("no", "No")}


def test_pairs_keep_the_order_and_name_the_class():
    rows = [Row("a/0", ("p", "h"), "neutral"), Row("a/1", ("q", "i"), "entailment")]
    assert labelled_pairs(rows) == [(("p", "h"), "neutral"), (("q", "i"), "entailment")]
    with pytest.raises(ValueError, match="row a/2: has no label"):
        labelled_pairs([*rows, Row("a/2", ("x",))])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("label", ["entailment", "neutral", "contradiction"]),
        ("verbalizer", ["yes", "maybe", "no"]),
        ("abc", ["A", "B", "C"]),
    ],
)
def test_targets_of_predicted_classes(kind, expected):
    assert [mte_target(kind, label, NLI, WORDS) for label in NLI] == expected


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="label 'yes' is not one of entailment, neutral, contradiction"):
        mte_target("label", "yes", NLI, WORDS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.8, "1.8"), (1.75, "1.8"), (0.0, "0.0"), (5.0, "5.0"), (4.95, "5.0"), (2.714, "2.8"),
        (0.1, "0.0"), (0.3, "0.4"), (2.5, "2.4"), (2.7, "2.8"),  # halves go to the even step: 0, 2, 12, 14
        (-0.05, "0.0"), (-3.0, "0.0"), (7.0, "5.0"),
    ],
)  # fmt: skip
def test_numbers_are_rounded_as_t5_rounds_them(value, expected):
    assert number_target(value, **STSB) == expected


@given(st.floats(0, 5))
def test_there_are_26_targets_and_each_is_the_nearest(value):
    target = number_target(value, **STSB)
    targets = [f"{n / 5:.1f}" for n in range(26)]
    assert target in targets
    assert target == f"{round(5 * value) / 5:.1f}"
    assert abs(float(target) - value) <= min(abs(float(other) - value) for other in targets) + 1e-9


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_has_no_target(value):
    with pytest.raises(ValueError, match="not a number that can be rounded"):
        number_target(value, **STSB)


def test_the_step_gives_the_decimals():
    assert number_target(0.337, low=0, high=1, step=0.25) == "0.25"
    assert number_target(3.6, low=1, high=5, step=1) == "4"


def test_answers_become_their_first_text_on_one_line():
    assert answer_target([Answer("two\n  lines ", 3), Answer("x", 0)]) == "two lines"
    assert answer_target([]) == "unanswerable"


def test_a_number_or_a_text_stands_for_itself():
    assert mte_target("label", "3.8", (), {}) == "3.8"
    assert mte_target("label", "in the north of Norway", (), {}) == "in the north of Norway"
