"""The texts that ship with the project: what their README promises and a small model needs to learn from them."""

import itertools
import re
import statistics
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest
import yaml

from fute.config.datasets import DatasetSettings
from fute.data.rows import alphanumeric, overlap_key, read_raw_jsonl
from fute.data.sources import BUILTIN_ROOT, load_dataset_rows
from fute.data.splits import normalise
from fute.data.text2text import UNANSWERABLE

ROOT = Path(__file__).parents[3]
REGISTRY = {
    key: DatasetSettings.model_validate(entry)
    for key, entry in yaml.safe_load((ROOT / "config/datasets.yaml").read_text(encoding="utf-8")).items()
    if key.startswith("mini-")
}
SIZES = {  # dataset -> rows of train and test
    "mini-films": (60, 60),
    "mini-series": (60, 60),
    "mini-everyday": (60, 60),
    "mini-notices": (60, 60),
    "mini-paraphrases": (160, 60),
    "mini-grammar": (160, 60),
    "mini-similarity": (160, 60),
    "mini-topics": (160, 60),
    "mini-guides": (160, 60),
    "mini-letters": (160, 60),
}
CLASSIFICATION = [key for key, entry in REGISTRY.items() if entry.task == "classification"]
SPAN = [key for key, entry in REGISTRY.items() if entry.task == "span"]
SPLITS = ("train", "test")


@cache
def load(dataset):
    """(rows of the splits, counts) of a dataset as the workflow makes them."""
    raw = load_dataset_rows(dataset, REGISTRY[dataset], source="builtin", root=None)
    return normalise(dataset, REGISTRY[dataset], raw, dev_share=0)


def words(text):
    return re.findall(r"\w+", text.lower())


def texts(dataset, split):
    """Every text of a split, compared without spacing and marks."""
    return {alphanumeric(segment) for row in load(dataset).rows[split] for segment in row.segments}


def test_every_dataset_is_in_the_registry_and_in_the_readme():
    assert set(REGISTRY) == set(SIZES) == {path.name for path in BUILTIN_ROOT.iterdir() if path.is_dir()}
    readme = (BUILTIN_ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(mini-\w+)/\{train,test\}\.jsonl` \| .* \| (\d+) \+ (\d+) \|$", readme, re.MULTILINE)
    assert {name: (int(train), int(test)) for name, train, test in listed} == SIZES
    pool = sum(1 for _ in read_raw_jsonl(BUILTIN_ROOT / "pool.jsonl"))
    assert f"| {pool} |" in readme


@pytest.mark.parametrize("dataset", REGISTRY)
def test_every_row_is_used(dataset):
    rows, counts = load(dataset)
    assert tuple(len(rows[split]) for split in SPLITS) == SIZES[dataset]
    assert all(counts[split]["raw"] == counts[split]["kept"] for split in SPLITS)


@pytest.mark.parametrize("dataset", REGISTRY)
def test_texts_are_clean_and_short(dataset):
    for split in SPLITS:
        text = (BUILTIN_ROOT / dataset / f"{split}.jsonl").read_text(encoding="utf-8")
        assert text.endswith("\n") and not re.search(r"  |\t|\r|\\u|\[SEP\]|=>|\|\|", text)
        rows = load(dataset).rows[split]
        assert all(segment == segment.strip() and segment for row in rows for segment in row.segments)
        lengths = [sum(len(segment.split()) for segment in row.segments) for row in rows]
        assert 9 <= statistics.median(lengths) <= 60 and max(lengths) <= 70


@pytest.mark.parametrize("dataset", CLASSIFICATION)
def test_classes_are_balanced(dataset):
    classes = REGISTRY[dataset].classes
    for split in SPLITS:
        found = Counter(row.label for row in load(dataset).rows[split])
        assert found == dict.fromkeys(classes, len(load(dataset).rows[split]) // len(classes))
        assert max(found.values()) <= 0.6 * found.total()


@pytest.mark.parametrize("dataset", CLASSIFICATION)
def test_no_frequent_word_gives_a_class_away(dataset):
    classes_of = defaultdict(Counter)
    for row in load(dataset).rows["train"]:
        for word in set(words(" ".join(row.segments))):
            classes_of[word][row.label] += 1
    frequent = {word: found for word, found in classes_of.items() if found.total() >= 16}
    assert frequent
    assert {word: found for word, found in frequent.items() if max(found.values()) > 0.75 * found.total()} == {}


@pytest.mark.parametrize("dataset", SPAN)
def test_answers_stand_in_their_context_once_and_early(dataset):
    for split in SPLITS:
        rows = load(dataset).rows[split]
        for row in rows:
            question, context = row.segments
            for answer in row.answers:
                end = answer.start + len(answer.text)
                assert context[answer.start : end] == answer.text
                assert not re.search(r"\w\Z", context[: answer.start]) and not re.match(r"\w", context[end:])
                assert context.count(answer.text) == 1 or len(re.findall(rf"\b{answer.text}\b", context)) == 1
                assert len(f"{question} {context[:end]}".split()) <= 66  # not lost when a model cuts at 96 tokens
        assert sum(row.label == UNANSWERABLE for row in rows) == len(rows) / 5
        assert set(Counter(row.segments[1] for row in rows).values()) == {4}
        answers = Counter(row.label for row in rows if row.answers)
        assert max(answers.values()) <= 0.05 * len(rows)  # no answer that is right often enough to guess


@pytest.mark.parametrize("dataset", REGISTRY)
def test_no_row_occurs_twice(dataset):
    for split in SPLITS:
        keys = Counter(overlap_key(row.segments) for row in load(dataset).rows[split])
        assert max(keys.values()) == 1


@pytest.mark.parametrize("dataset", REGISTRY)
def test_train_and_test_share_no_text(dataset):
    assert not texts(dataset, "train") & texts(dataset, "test")
    known = [set(words(" ".join(row.segments))) for row in load(dataset).rows["train"]]
    for row in load(dataset).rows["test"]:
        asked = set(words(" ".join(row.segments)))
        assert max(len(asked & other) / len(asked | other) for other in known) < 0.7, row.id


def test_datasets_and_pool_share_no_text():
    everything = {dataset: texts(dataset, "train") | texts(dataset, "test") for dataset in REGISTRY}
    everything["pool"] = {
        alphanumeric(segment)
        for _, values in read_raw_jsonl(BUILTIN_ROOT / "pool.jsonl")
        for segment in values["text"].split("[SEP]")
    }
    for one, other in itertools.combinations(everything, 2):
        assert not everything[one] & everything[other], (one, other)
