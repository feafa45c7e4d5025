"""Scores of sources by their models' states of a target's labelled rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from support.small_lms import FAMILIES, SENTIMENT, mood_rows, save_small, similar_rows, where_rows

from fute.artifacts import gzip_bytes, jsonl_bytes, sha256_text
from fute.baselines import score_sources_step as step
from fute.baselines.score_sources_step import SourceScoreSettings, score_sources
from fute.baselines.transferability import gbc, h_score, logme, n_leep, transrate
from fute.blackbox.encoding import collate, encode
from fute.blackbox.heads import Pretrained, load_black_box, save_black_box
from fute.csv_files import read_table
from fute.embeddings.sentence_encoder import SentenceEncoder

METHODS = ("logme", "h-score", "n-leep", "transrate", "gbc")
ROWS = {"mood": mood_rows(24), "similar": similar_rows(24), "where": where_rows(6)}
TASKS = {"mood": "classification", "similar": "regression", "where": "span"}


class Encoder:
    """A stand-in that gives a text numbers drawn by its words and the source's name."""

    read: ClassVar[list[str]] = []

    def __init__(self, folder: Path, *, max_tokens: int, batch_size: int) -> None:
        self.source, self.how = folder.name, (max_tokens, batch_size)

    def encode(self, texts):
        self.read.append(self.source)
        drawn = [np.random.default_rng(int(sha256_text(f"{self.source} {text}")[:8], 16)) for text in texts]
        return np.array([generator.normal(size=3) for generator in drawn], np.float32), 0


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, rows in ROWS.items():
        Path(f"{name}.jsonl.gz").write_bytes(gzip_bytes(jsonl_bytes(row.to_json() for row in rows)))
        Path(f"{name}.lock.json").write_text(f'"{name}"')
    monkeypatch.setattr(step, "SentenceEncoder", Encoder)
    Encoder.read = []
    return tmp_path


def score(sources=("mood", "similar"), targets=TASKS, methods=METHODS, rows=20, **more) -> dict[tuple[str, str], dict]:
    settings = SourceScoreSettings(
        model="m", methods=methods, targets=targets, rows=rows, max_tokens=60, batch_size=4, **more
    )
    locks, files = (
        {n: Path(f"{n}.{end}") for n in names} for names, end in ((sources, "lock.json"), (targets, "jsonl.gz"))
    )
    score_sources(settings, locks=locks, rows=files, output=Path("out.csv"))
    return {(row["source"], row["target"]): row for row in read_table(Path("out.csv")).to_dict("records")}


def test_each_pair_has_the_scores_of_the_functions(project):
    table = score()
    assert list(table) == [(s, t) for s in ("mood", "similar") for t in TASKS if s != t]
    rows = [row for row in ROWS["mood"] if row.id in step_ids("mood", 20)]
    features, _ = Encoder(Path("similar"), max_tokens=60, batch_size=4).encode([row.segments for row in rows])
    labels = [row.label for row in rows]
    expected = {
        name: f(features, labels) for name, f in zip(METHODS, (logme, h_score, n_leep, transrate, gbc), strict=True)
    }
    assert {name: table["similar", "mood"][name] for name in METHODS} == pytest.approx(expected, rel=1e-8)
    numbers = table["mood", "similar"]
    rows = [row for row in ROWS["similar"] if row.id in step_ids("similar", 20)]
    features, _ = Encoder(Path("mood"), max_tokens=60, batch_size=4).encode([row.segments for row in rows])
    assert numbers["logme"] == pytest.approx(logme(features, [row.value for row in rows], regression=True), rel=1e-8)
    assert all(math.isnan(numbers[name]) for name in METHODS[1:])
    assert all(math.isnan(table["mood", "where"][name]) for name in METHODS), "spans have no score"


def step_ids(target: str, count: int) -> set[str]:
    return {row.id for row in step._drawn(Path(f"{target}.jsonl.gz"), count)}


def test_a_killed_step_goes_on_after_the_last_pair(project, monkeypatch):
    whole, read = score(), list(Encoder.read)
    Path("out.csv").unlink()
    Encoder.read = []
    with monkeypatch.context() as patch:
        patch.setitem(step.OF_CLASSES, "gbc", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            score()
    assert Encoder.read == ["mood", "similar"] == read and not Path("out.csv").exists()
    assert score().keys() == whole.keys() and Encoder.read[2:] == ["similar"], "the first pair was finished"
    assert not list(Path().glob("*.partial"))


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_states_of_the_fine_tuned_weights(tmp_path, family):
    """A saved black box, whose head is left out: the states that its own class gives, averaged over tokens."""
    pretrained = Pretrained(save_small(tmp_path / "m", family))
    box = pretrained.with_head(SENTIMENT, inputs=1, max_tokens=60, seed=1)
    with torch.no_grad():
        for parameter in box.model.parameters():
            parameter.mul_(1.5)  # not the pretrained weights
    save_black_box(box, tmp_path / "tuned")
    box = load_black_box(tmp_path / "tuned")
    row = mood_rows(1)[0]
    features, cut = SentenceEncoder(tmp_path / "tuned", max_tokens=60, batch_size=4).encode([row.segments])
    inputs = collate(box, encode(box, [row.segments]))
    encoder = box.model.get_encoder() if box.family == "encoder-decoder" else box.model.base_model
    with torch.no_grad():
        mean = encoder(**inputs).last_hidden_state.mean(1)[0].numpy()
    assert cut == 0 and features[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
