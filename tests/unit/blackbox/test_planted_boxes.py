"""The boxes of the planted tests: class balance, and how many outputs are flipped."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fute.blackbox.label_plugin_step import loaded_function
from fute.config.plugins import PluginSettings

ROOT = Path(__file__).parents[3]
WORDS = {"low": "negative", "high": "positive"}
N = 97
TEXTS = [(f"text {i}" + " word" * (i % 13), f"more {i * i}") for i in range(N)]
SHARES = np.random.default_rng(0).random(N)
OUTPUTS = [{"prediction": "-", "classes": ["bad", "good"], "probabilities": [1 - p, p]} for p in SHARES]


def box(name: str, **options) -> list[str]:
    folder = str(ROOT / "resources/planted")
    with loaded_function(PluginSettings(callable=f"boxes:{name}", folder=folder)) as function:
        return function(TEXTS, **options)


def flipped(share: float, seed: int = 42) -> list[str]:
    return box("judged", outputs=OUTPUTS, raised="good", flipped=share, seed=seed, **WORDS)


@pytest.mark.parametrize("share", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 1])
def test_a_share_of_each_half_is_flipped_and_the_balance_stays(share):
    whole, labels = flipped(0), flipped(share)
    assert Counter(labels)["positive"] in (N // 2, N // 2 + 1)
    for word in ("negative", "positive"):
        half = [new for old, new in zip(whole, labels, strict=True) if old == word]
        assert sum(new != word for new in half) == round(share * len(half))


def test_the_better_half_by_the_other_box_is_said_to_be_positive():
    assert {said for said, p in zip(flipped(0), SHARES, strict=True) if p > np.median(SHARES)} == {"positive"}


def test_a_larger_share_flips_the_same_texts_and_more():
    whole = flipped(0)
    changed = [{i for i in range(N) if flipped(share)[i] != whole[i]} for share in (0.1, 0.3, 0.5)]
    assert changed[0] < changed[1] < changed[2]
    assert flipped(0.3) != flipped(0.3, seed=1)


@pytest.mark.parametrize("name", ["length", "projection"])
def test_wrong_functions_are_balanced_too(name):
    labels = box(name, **WORDS)
    assert Counter(labels) == {"negative": N // 2 + 1, "positive": N // 2}
    assert labels == box(name, **WORDS), "the same every time"


def test_length_is_the_length():
    long = {i for i, said in enumerate(box("length", **WORDS)) if said == "positive"}
    lengths = [sum(map(len, text)) for text in TEXTS]
    assert min(lengths[i] for i in long) >= max(lengths[i] for i in set(range(N)) - long)


def test_the_constant_says_one_word():
    assert set(box("constant", word="positive")) == {"positive"}
