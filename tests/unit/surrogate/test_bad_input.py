"""What a user may well pass in, and what is promised then: a clear error, or a stated behaviour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.stand_ins import FAMILIES, pairs, save_stand_in

from fute.config.methods import (
    BiasSettings,
    LoraSettings,
    MethodSettings,
    TaskEmbSettings,
    TextEmbSettings,
    TupateSettings,
)
from fute.config.surrogate import SurrogateSettings
from fute.embeddings import EmbeddingError, cosine
from fute.embeddings.embedder import Embedder
from fute.surrogate.text2text import Pair, PairError
from fute.surrogate.unknown import UnknownTokens

TRAINED = {
    "taskemb": TaskEmbSettings(epochs=4, batch_size=4, learning_rate=1e-3),
    "tupate": TupateSettings(epochs=4, batch_size=4, learning_rate=5e-2, length=3, min_relative_distance=0.01),
    "tupate-lora": LoraSettings(epochs=4, batch_size=4, learning_rate=1e-2, rank=2),
    "tupate-bias": BiasSettings(epochs=4, batch_size=4, learning_rate=1e-2),
}
ALL: dict[str, MethodSettings] = TRAINED | {"textemb": TextEmbSettings()}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("surrogates")
    return {family: save_stand_in(root / family, family) for family in FAMILIES}


def embedder(snapshots, family: str, method: MethodSettings) -> Embedder:
    settings = SurrogateSettings(family=family, max_input_tokens=12, max_target_tokens=4)
    return Embedder(snapshots[family], settings, method, "sha")


@pytest.mark.parametrize("method", TRAINED)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_loss_that_is_nan_names_step_and_pairs(snapshots, family, method):
    made = embedder(snapshots, family, TRAINED[method].model_copy(update={"bucket_batches": 1}))
    with torch.no_grad():
        word = made.surrogate.tokenizer.convert_tokens_to_ids("answer")
        made.surrogate.model.get_input_embeddings().weight[word] = float("nan")
    if method == "taskemb":
        made._method._start = {name: p.detach().clone() for name, p in made.surrogate.model.named_parameters()}
    given = [Pair(("the film was",), "good") for _ in range(12)]
    given[7] = Pair(("the answer was",), "good")
    with pytest.raises(FloatingPointError, match=r"loss is nan at step [123] of 12 \(epoch 1, pairs [\d, ]*\b7\b"):
        made.embed(given)


@pytest.mark.parametrize("held_out", [0, 16])
@pytest.mark.parametrize(("method", "family"), [("taskemb", "causal"), *((name, FAMILIES[0]) for name in TRAINED)])
def test_a_rate_at_which_the_only_step_breaks_the_surrogate_gives_no_vector(snapshots, method, family, held_out):
    """The one loss, before that step, is finite: with or without held-out pairs, no vector is made."""
    recipe = {"epochs": 1, "batch_size": 24, "min_steps": 1, "learning_rate": 3e38}
    made = embedder(snapshots, family, TRAINED[method].model_copy(update=recipe))
    with pytest.raises(FloatingPointError, match=r"not finite|held-out pair 0 is nan"):
        made.embed(pairs(1), held_out=pairs(2)[:held_out])


def test_a_surrogate_without_any_gradient_gives_no_vector(snapshots):
    made = embedder(snapshots, "encoder-decoder", TRAINED["taskemb"])
    made._method._start = {name: torch.zeros_like(start) for name, start in made._method._start.items()}
    with pytest.raises(EmbeddingError, match="Fisher information is 0 everywhere"):
        made.embed(pairs(1))


def test_the_pairs_that_cannot_be_read_are_gone_through_once(snapshots, monkeypatch):
    """Of 100,000 pairs there may be many: once for every pair would take minutes."""
    passes = []

    class Places(tuple):
        def __iter__(self):
            passes.append(1)
            return super().__iter__()

    unknown = UnknownTokens(0.0, Places(range(0, 24, 2)))
    monkeypatch.setattr("fute.embeddings.embedder.unknown_tokens", lambda *_: unknown)
    kept, facts = embedder(snapshots, "causal", ALL["textemb"])._usable(pairs(1))
    assert (kept, facts["unusable_pairs"], len(passes)) == (pairs(1)[1::2], 12, 1)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Pair(("the film",), ""), r"pair 5: y is empty; give empty answers a name"),
        (Pair(("the film",), " \n"), r"pair 5: y is empty"),
        (Pair((" ",), "good"), r"pair 5: x is empty"),
        (Pair((), "good"), r"pair 5: x has 0 segments"),
        (Pair(("a", "b", "c"), "good"), r"pair 5: x has 3 segments"),
    ],
)
def test_a_pair_that_says_nothing_is_named(snapshots, method, bad, message):
    given = pairs(1, n=12)
    given[5] = bad
    with pytest.raises(PairError, match=message):
        embedder(snapshots, "causal", ALL[method]).embed(given)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_target_longer_than_the_limit_is_cut_and_counted(snapshots, family):
    """Four tokens of it and the end mark are learned: a longer target gives the vector of its cut form."""
    method = TRAINED["tupate"]
    long, cut = (
        [*pairs(1, n=11), Pair(("the film",), " ".join(["good"] * words))] for words in (500, 4)
    )  # fmt: skip
    one, other = (embedder(snapshots, family, method).embed(given) for given in (long, cut))
    assert (one.meta["targets_cut"], other.meta["targets_cut"]) == (1, 0)
    assert np.array_equal(one.vector, other.vector)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_of_100_000_characters_is_cut_and_counted(snapshots, family, method):
    given = [*pairs(1, n=11), Pair(("the film was long " * 5556,), "bad")]
    assert len(given[-1].x[0]) > 100_000
    found = embedder(snapshots, family, ALL[method]).embed(given)
    assert found.meta["inputs_cut"] >= 1 and np.isfinite(found.vector).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_the_tokenizer_does_not_know(snapshots, family, capsys):
    """A word-level tokenizer without a byte fallback, as T5's is for Chinese."""
    which = embedder(snapshots, family, TRAINED["tupate"])
    known = pairs(1, n=19)
    learned = which.embed(known)
    assert learned.meta["unknown_tokens"] == learned.meta["unusable_pairs"] == 0
    unreadable = which.embed([known[0], Pair(("这部电影 很差",), "good"), *known[1:]])
    assert unreadable.meta["unusable_pairs"] == 1 and 0 < unreadable.meta["unknown_tokens"] < 0.05
    assert np.array_equal(unreadable.vector, learned.vector)
    assert "warning" not in capsys.readouterr().out
    half = which.embed([Pair((f"{pair.x[0]} 这部 电影",), pair.y) for pair in known])
    assert half.meta["unusable_pairs"] == 0 and half.meta["unknown_tokens"] > 0.05
    assert "warning: the surrogate does not know" in capsys.readouterr().out


@pytest.mark.parametrize(
    "pair",
    [Pair(("这部电影很差",), "good"), Pair(("the film",), "负面"), Pair(("电影", "很差"), "good")],
    ids=["x", "y", "two segments"],
)
def test_no_vector_from_texts_that_are_all_unknown(snapshots, pair):
    with pytest.raises(EmbeddingError, match=r"knows no token of x or of y in 20 of 39 pairs, first in pair 0 \(x "):
        embedder(snapshots, "encoder-decoder", TRAINED["tupate"]).embed([pair] * 20 + pairs(1, n=19))


@pytest.mark.parametrize("method", TRAINED)
def test_one_pair_only(snapshots, method):
    """Too few steps by the recipe, and the error says so; with enough epochs it is learned."""
    given = [Pair(("the film was great",), "good")]
    with pytest.raises(EmbeddingError, match=r"1 pairs in 4 epoch\(s\) of batches of 4 are 4 optimiser steps, fewer"):
        embedder(snapshots, "causal", TRAINED[method]).embed(given)
    enough = TRAINED[method].model_copy(update={"epochs": 20})
    found = embedder(snapshots, "causal", enough).embed(given)
    assert found.meta["steps"] == 20 and np.linalg.norm(found.vector) > 0
    with pytest.raises(EmbeddingError, match="no pairs"):
        embedder(snapshots, "causal", enough).embed([])


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("family", FAMILIES)
def test_targets_that_are_all_equal_give_a_vector_of_their_own(snapshots, family, method):
    """A model that always says the same is a model; its vector is not that of one that tells texts apart."""
    made = embedder(snapshots, family, ALL[method])
    same = made.embed([Pair(pair.x, "positive") for pair in pairs(1)])
    apart = made.embed(pairs(1))
    assert np.isfinite(same.vector).all() and np.linalg.norm(same.vector) > 0
    assert cosine(same, apart) < 1 - 1e-4
