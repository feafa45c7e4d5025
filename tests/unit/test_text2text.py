"""Target strings of the surrogate."""

import pytest

from fute.data.rows import Row
from fute.data.text2text import CLASSES, labelled_pairs, mte_target

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
