"""Scores of sources' models: by their states of a target's labelled rows, and against the target's own model."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.small_lms import FAMILIES, SENTIMENT, SIMILAR, WHERE, mood_rows, save_small, similar_rows, where_rows

from fute.artifacts import gzip_bytes, jsonl_bytes, read_jsonl, sha256_file, sha256_text, sidecar_path
from fute.baselines import score_sources_step as step
from fute.baselines.score_sources_step import FinetunedModels, score_sources
from fute.baselines.transferability import gbc, h_score, logme, n_leep, transrate
from fute.batching import finished_batches, tidy
from fute.blackbox.encoding import collate, encode
from fute.blackbox.heads import Pretrained, load_black_box, load_finetuned, save_black_box
from fute.data.rows import read_rows
from fute.llm.labelled_rows import drawn_rows
from fute.specs.finetuning import TaskSettings
from fute.specs.source_scores import SourcePair, SourceScoreSpec, methods_of
from fute.surrogate.checkpoint import Preempted

METHODS = ("logme", "h-score", "n-leep", "transrate", "gbc")
ROWS = {"mood": mood_rows(24), "similar": similar_rows(24), "where": where_rows(6)}
TASKS = {"mood": "classification", "similar": "regression", "where": "span"}


class Encoder:
    """A stand-in that gives a text numbers drawn by its words and the source's name."""

    read: ClassVar[list[str]] = []

    def __init__(self, folder: Path, *, max_tokens: int, batch_size: int, model=None) -> None:
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
    nothing = SimpleNamespace(model=SimpleNamespace(base_model=None))
    monkeypatch.setattr(step, "load_finetuned", lambda lock, dataset: nothing)
    Encoder.read = []
    return tmp_path


OUTPUT = Path("sources/m/batches/b.jsonl.gz")


def score(sources=("mood", "similar"), targets=TASKS, methods=METHODS, rows=20, skip=()) -> dict[str, dict]:
    """Score all pairs but some in one batch; line by cell."""
    pairs = [
        SourcePair(key=sha256_text(f"{source} {target}"), source=source, target=target)
        for source in sources
        for target, task in targets.items()
        if source != target and methods_of(task, methods) and f"{source}>{target}" not in skip
    ]
    spec = SourceScoreSpec(
        model="m", methods=methods, targets={pair.target: targets[pair.target] for pair in pairs}, rows=rows,
        max_tokens=60, batch_size=4, pairs=pairs,
    )  # fmt: skip
    files = {f"finetuned:{pair.source}": Path(f"{pair.source}.lock.json") for pair in pairs}
    files |= {f"train:{pair.target}": Path(f"{pair.target}.jsonl.gz") for pair in pairs}
    if "task-vector" in methods:
        files |= {f"finetuned:{pair.target}": Path(f"{pair.target}.lock.json") for pair in pairs}
        files["model"] = Path("m.lock.json")
    score_sources(spec, files=files, output=OUTPUT)
    return {f"{line['source']}>{line['target']}": line for line in read_jsonl(OUTPUT)}


def test_each_pair_has_the_scores_of_the_functions(project):
    lines = score()
    assert set(lines) == {"mood>similar", "similar>mood"}, "spans have no score"
    rows = [row for row in ROWS["mood"] if row.id in step_ids("mood", 20)]
    features, _ = Encoder(Path("similar"), max_tokens=60, batch_size=4).encode([row.segments for row in rows])
    labels = [row.label for row in rows]
    expected = {
        name: f(features, labels) for name, f in zip(METHODS, (logme, h_score, n_leep, transrate, gbc), strict=True)
    }
    assert lines["similar>mood"]["scores"] == expected
    rows = [row for row in ROWS["similar"] if row.id in step_ids("similar", 20)]
    features, _ = Encoder(Path("mood"), max_tokens=60, batch_size=4).encode([row.segments for row in rows])
    numbers = {"logme": logme(features, [row.value for row in rows], regression=True)}
    assert lines["mood>similar"]["scores"] == numbers


def step_ids(target: str, count: int) -> set[str]:
    return {row.id for row in drawn_rows(read_rows(Path(f"{target}.jsonl.gz")), count)}


def test_a_line_names_its_key_and_what_it_was_made_from(project):
    line = score()["mood>similar"]
    assert line["key"] == sha256_text("mood similar")
    assert line["from"] == {
        "source": sha256_file(Path("mood.lock.json")), "train": sha256_file(Path("similar.jsonl.gz"))
    }  # fmt: skip
    assert f"{line['key']}\tmood>similar\n" in OUTPUT.with_name("b.keys").read_text()
    assert finished_batches(OUTPUT.parent, step.SUFFIX) == dict.fromkeys(
        (sha256_text("mood similar"), sha256_text("similar mood")), "b"
    )


def test_a_pair_has_the_same_scores_alone_and_among_others(project):
    whole = score()
    assert score(skip=["mood>similar"]) == {"similar>mood": whole["similar>mood"]}


def test_a_killed_step_goes_on_after_the_last_pair(project, monkeypatch, capsys):
    whole, read, index = score(), list(Encoder.read), sidecar_path(OUTPUT.with_name("b.keys"))
    assert "resumed" not in json.loads(index.read_text())["run"]
    shutil.rmtree("sources")
    Encoder.read = []
    with monkeypatch.context() as patch:
        patch.setitem(step.OF_CLASSES, "gbc", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            score()
    assert Encoder.read == ["mood", "similar"] == read and not OUTPUT.exists()
    capsys.readouterr()
    assert score() == whole and Encoder.read[2:] == ["similar"], "the first pair was finished"
    said = capsys.readouterr()
    assert json.loads(index.read_text())["run"]["resumed"], "its time is not that of all pairs"
    assert "2 pairs, 1 already finished" in said.out and ": 1 pairs in " in said.err
    assert tidy(Path("sources")) == 1 and not list(Path().rglob("*.partial"))


def test_a_stopped_step_keeps_the_pair_that_it_scored(project, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(step, "heed_sigterm", lambda: contextlib.nullcontext(lambda: True))
        with pytest.raises(Preempted, match=r"stopped by SIGTERM; pairs up to mood>similar are kept; run again"):
            score()
    score()
    assert Encoder.read == ["mood", "similar"]


def test_a_score_that_is_not_finite_is_kept_as_text(project, monkeypatch):
    for name, value in (("gbc", math.nan), ("logme", -math.inf)):
        monkeypatch.setitem(step.OF_CLASSES, name, lambda *_, value=value: value)
    scores = score()["similar>mood"]["scores"]
    assert (scores["gbc"], scores["logme"]) == ("nan", "-inf") and isinstance(scores["h-score"], float)


def fine_tune(pretrained: Pretrained, task: TaskSettings, seed: int) -> None:
    """A stand-in for fine-tuning: every weight is moved by random numbers, and the model is saved with its lock."""
    box = pretrained.with_head(task, inputs=2, max_tokens=60, seed=seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in box.model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    save_black_box(box, Path(task.dataset))


def saved_weights(folder: Path) -> dict[str, torch.Tensor]:
    """What is in a model's file, where each weight is once; names without the prefix of the model's class."""
    weights = load_file(folder / "model.safetensors")
    return {re.sub(r"^(bert|transformer|model)\.", "", name): tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_task_vectors_are_compared_below_the_head_for_every_task(project, family, monkeypatch):
    """As cosines computed from the files of weights. A model for spans has no pooler, so poolers are left out."""
    monkeypatch.setattr(step, "load_finetuned", load_finetuned)
    pretrained = Pretrained(save_small(project / "m", family))
    for seed, task in enumerate((SENTIMENT, SIMILAR, WHERE)):
        fine_tune(pretrained, task, seed)
    Path("m.lock.json").write_text("{}")
    monkeypatch.setattr(step, "read_rows", lambda path: pytest.fail(f"{path} was read"))
    lines = score(sources=TASKS, methods=("task-vector",))
    assert len(lines) == 6 and Encoder.read == [], "no text is read"
    of_heads = ("pooler", "final_logits_bias")
    start = {name: t for name, t in saved_weights(Path("m")).items() if not any(part in name for part in of_heads)}

    def changes(dataset: str) -> np.ndarray:
        tuned = saved_weights(Path(dataset))
        return np.concatenate(
            [(tuned[name].double() - start[name].double()).flatten().numpy() for name in sorted(start)]
        )

    for line in lines.values():
        a, b = changes(line["source"]), changes(line["target"])
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert line["scores"] == {"task-vector": pytest.approx(cosine)}
        assert set(line["from"]) == {"source", "train", "target", "model"}


@pytest.mark.parametrize(
    ("task", "row"), [(SENTIMENT, mood_rows(1)[0]), (SIMILAR, similar_rows(1)[0]), (WHERE, where_rows(1)[0])]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_states_of_the_fine_tuned_weights(tmp_path, family, task, row):
    """A saved black box, whose head is left out: the states that its own class gives, averaged over tokens; of a pair
    those that it was fine-tuned on, with its mark or break between the segments."""
    pretrained = Pretrained(save_small(tmp_path / "m", family))
    box = pretrained.with_head(task, inputs=len(row.segments), max_tokens=60, seed=1)
    with torch.no_grad():
        for parameter in box.model.parameters():
            parameter.mul_(1.5)  # not the pretrained weights
    save_black_box(box, tmp_path / "tuned")
    box = load_black_box(tmp_path / "tuned")
    spec = SourceScoreSpec(model="m", methods=METHODS, targets={}, rows=1, max_tokens=60, batch_size=4, pairs=[])
    models = FinetunedModels(spec, {f"finetuned:{task.dataset}": tmp_path / "tuned.lock.json"})
    features, cut = models.encoder(task.dataset).encode([row.segments])
    inputs = collate(box, encode(box, [row.segments]))
    encoder = box.model.get_encoder() if box.family == "encoder-decoder" else box.model.base_model
    with torch.no_grad():
        mean = encoder(**inputs).last_hidden_state.mean(1)[0].numpy()
    assert cut == 0 and features[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
