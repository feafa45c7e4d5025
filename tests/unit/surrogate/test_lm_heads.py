"""What fine-tuned models of every kind say of U is what a head of the surrogate learns, and gives a vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.small_lms import FAMILIES, SENTIMENT, SIMILAR, WHERE, save_small

from fute.blackbox.heads import Pretrained
from fute.blackbox.predict import predict
from fute.config.methods import TaskEmbSettings, TupateSettings
from fute.config.surrogate import SurrogateSettings
from fute.data.rows import Row
from fute.embeddings import cosine
from fute.embeddings.embedder import Embedder
from fute.embeddings.pairs import model_pairs
from fute.specs.embeddings import Item
from fute.surrogate.forms import load_form
from fute.surrogate.labelled import EndsTarget, Labelled, NumberTarget, SoftTarget

U = [Row(f"u/{i}", (f"text {i} of the mill", *((f"and words, {i * 3} more",) if i % 2 else ())), task="u")
     for i in range(24)]  # fmt: skip
TASKS = {"classes": (SENTIMENT, 1, SoftTarget), "number": (SIMILAR, 2, NumberTarget), "span": (WHERE, 2, EndsTarget)}
METHODS = (
    TupateSettings(epochs=4, batch_size=4, learning_rate=5e-2, length=3, min_relative_distance=0),
    TaskEmbSettings(epochs=2, batch_size=4, learning_rate=1e-3, reduction="square_of_mean"),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {family: save_small(root / family, family) for family in FAMILIES}


def said(folders: dict[str, Path], family: str, kind: str) -> list[Labelled]:
    task, inputs, _ = TASKS[kind]
    box = Pretrained(folders[family]).with_head(task, inputs=inputs, max_tokens=60, seed=3)
    labels = [{"id": row.id} | answer
              for row, answer in zip(U, predict(box, [row.segments for row in U]), strict=True)]  # fmt: skip
    item = Item(key="k" * 64, kind="mte", category="lm", source="m/d", variant=None, pairs=None, target="soft", seed=1,
                classes=task.classes)  # fmt: skip
    return model_pairs(item, U, labels, 42, "heads")


def settings(family: str) -> SurrogateSettings:
    kind = "encoder-decoder" if family == "t5" else "causal"
    return SurrogateSettings(family=kind, form="heads", max_input_tokens=80)


@pytest.mark.parametrize("surrogate", ["t5", "llama"])
@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_become_targets_of_a_head(folders, family, kind, surrogate):
    pairs = said(folders, family, kind)
    answered = [pair for pair in pairs if isinstance(pair.target, TASKS[kind][2])]
    assert [pair.x for pair in pairs] == [row.segments for row in U] and answered
    assert len(answered) == len(pairs) or kind == "span"
    loaded = load_form(folders[surrogate], settings(surrogate))
    loaded.prepare(pairs)
    for pair, example in zip(pairs, loaded.encode(pairs), strict=True):
        if isinstance(pair.target, EndsTarget):
            (s, start), (t, stop) = pair.target
            letters = pair.x[s][start:].lstrip()[0], pair.x[t][: stop + 1].rstrip()[-1]
            # both surrogates are of bytes: a token is a letter
            assert letters == tuple(loaded.tokenizer.decode([example.input_ids[i]]) for i in example.target_ids)
            assert not example.target_cut


@pytest.mark.parametrize("surrogate", ["t5", "llama"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.method)
def test_models_of_every_task_have_comparable_vectors(folders, method, surrogate):
    embedder = Embedder(folders[surrogate], settings(surrogate), method, "sha")
    made = [embedder.embed(said(folders, "bert", kind)) for kind in TASKS]
    assert all(np.isfinite(one.vector).all() for one in made)
    assert all(-1 <= cosine(one, made[0]) < 1 - 1e-6 for one in made[1:])
