"""A category is data: classes, texts and colours come from its entry."""

from __future__ import annotations

import subprocess

import pytest
from pydantic import ValidationError
from support.categories import CLASSES, CONTEXT, ENTRIES

from fute.code_hash import PACKAGE
from fute.config.categories import CategoryEntry
from fute.config.datasets import DatasetSettings
from fute.config.prompts import listed_prompts
from fute.data.text2text import mte_target
from fute.paper.figures import CYCLE, coloured

TEN = tuple(f"topic {letter}" for letter in "abcdefghij")


def category_looks(entries):
    return coloured({name: (entry.title_of(name), entry.colour) for name, entry in entries.items()})


def test_no_module_names_a_shipped_category():
    pattern = r"""['\"](sa|nli)['\"]"""
    found = subprocess.run(["grep", "-rnE", pattern, "--include=*.py", str(PACKAGE)], capture_output=True, text=True)
    assert found.stdout == ""


def test_shipped_categories_are_those_of_the_paper():
    assert CLASSES == {"sa": ("negative", "positive"), "nli": ("entailment", "neutral", "contradiction")}
    assert category_looks(ENTRIES) == {"sa": ("SA", "#2f6db3"), "nli": ("NLI", "#c8443c")}


def test_ten_classes_fit_and_get_a_colour_and_a_question():
    entry = CategoryEntry(classes=TEN)
    assert entry.task == f"decide which of these a text is: {', '.join(TEN)}"
    assert category_looks(ENTRIES | {"topics": entry})["topics"] == ("TOPICS", CYCLE[0])


def test_an_own_colour_is_not_given_twice():
    looks = category_looks({"a": CategoryEntry(classes=TEN, colour=CYCLE[0]), "b": CategoryEntry(classes=TEN)})
    assert looks == {"a": ("A", CYCLE[0]), "b": ("B", CYCLE[1])}


def test_letters_go_on_after_z():
    classes = [str(number) for number in range(60)]
    targets = [mte_target("abc", name, classes, {}) for name in classes]
    assert targets[:2] == ["A", "B"] and targets[25:28] == ["Z", "AA", "AB"] and targets[52] == "BA"
    assert len(set(targets)) == 60


def test_verbalizers_labels_and_classes_default_to_those_of_the_category():
    (prompt,) = listed_prompts([{"template": "{premise} {hypothesis}?"}], "nli", ENTRIES["nli"], "my.yaml", "my.yaml")
    assert (prompt.id, prompt.number) == ("nli-1", 1)
    assert prompt.verbalizers == {name: (name,) for name in CLASSES["nli"]}
    entry = {"title": "T", "category": "sa", "fields": ["t"], "label_field": "l", "splits": {"train": "a", "test": "b"}}
    dataset = DatasetSettings.model_validate(entry, context=CONTEXT)
    assert dataset.classes == CLASSES["sa"] and dataset.label_map == {name: name for name in CLASSES["sa"]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": ["one"]}, "at least 2"),
        ({"classes": ["a", "a"]}, "'a' is named twice"),
        ({"classes": ["a ", "b"]}, "blanks around it"),
        ({"classes": ["a", "b"], "segments": ["Two Words"]}, "cannot stand in braces"),
        ({"classes": ["a", "b", "c"], "zps_flip": True}, "zps_flip swaps two classes"),
        ({"classes": ["a", "b"], "colour": "red"}, "pattern"),
    ],
)
def test_a_category_that_cannot_be_used_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        CategoryEntry.model_validate(values)
