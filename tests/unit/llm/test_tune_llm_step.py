"""An LLM fine-tuned on labelled rows: a tiny Llama with random weights, which learns which word a text holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support import categories
from support.chat_llm import tiny_llm

from fute.artifacts import InputError, gzip_bytes, jsonl_bytes, sha256_file
from fute.config.engines import EngineSettings
from fute.config.models import TunedSettings
from fute.data.model_folder import model_files
from fute.data.rows import Row
from fute.llm import tune_llm_step
from fute.llm.engine import EngineError, ScoreRequest
from fute.llm.transformers import TransformersEngine
from fute.llm.tune_llm_step import answers_to_learn, tune_llm
from fute.specs.tuning import TuneSpec
from fute.surrogate.checkpoint import Preempted

WORDS = {"negative": ("no", "No"), "positive": ("yes", "Yes")}
PROMPTS = tuple(
    categories.prompt("sa", id=f"p-{i}", number=i, template=template, verbalizers=WORDS)
    for i, template in enumerate(("{text} Was it good?", "Was it good? {text}"), 1)
)
ROWS = [Row(f"r{i}", (f"the {'good' if i % 2 else 'bad'} day {i}",), label=("negative", "positive")[i % 2])
        for i in range(32)]  # fmt: skip


def spec(**changes) -> TuneSpec:
    recipe = {
        "model": "tiny", "prompts": {"sa": [1, 2]}, "datasets": {"sa": ["days"]}, "layers": 1, "steps": 60,
        "batch_size": 8, "learning_rate": 1e-2, **changes,
    }  # fmt: skip
    return TuneSpec(
        model="tuned", recipe=TunedSettings.model_validate(recipe), prompts={"sa": PROMPTS}, chat_template="model",
        system=None, max_text_words=None, seed=42,
    )  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_llm(tmp_path / "base")


def made(spec: TuneSpec, base: Path, rows: list[Row] = ROWS) -> tuple[Path, dict]:
    """The folder of a fine-tuned LLM and its lock."""
    data, lock = base.parent / "train.jsonl.gz", base.parent / "base.lock.json"
    data.write_bytes(gzip_bytes(jsonl_bytes(row.to_json() for row in rows)))
    lock.write_text("{}")
    folder, output = base.parent / "tuned", base.parent / "tuned.lock.json"
    tune_llm(spec, model=base, lock=lock, files={"train:days": data}, folder=folder, output=output)
    return folder, json.loads(output.read_text())


def right(folder: Path) -> float:
    """Share of rows that an LLM is right on, under both prompts."""
    engine = TransformersEngine(EngineSettings(engine="transformers", dtype="float32"), folder)
    asked = [(row, p) for row in ROWS for p in PROMPTS]
    texts = [tune_llm_step.user_message(p, row.segments) for row, p in asked]
    found = engine.score([ScoreRequest(str(i), text, None, tuple(WORDS.values())) for i, text in enumerate(texts)])
    hits = [(result.log_scores[1] > result.log_scores[0]) == (row.label == "positive")
            for result, (row, _) in zip(found, asked, strict=True)]  # fmt: skip
    return sum(hits) / len(hits)


def test_it_answers_as_the_rows_are_labelled(base):
    folder, lock = made(spec(), base)
    assert right(base) < 0.8 and right(folder) > 0.95
    assert lock["source"] == {"tuned": "tiny"} and lock["training"]["steps"] == 60
    assert lock["training"]["loss_end"] < lock["training"]["loss_start"] / 2
    files = {path.name: path for path in folder.iterdir()}
    assert {name: sha256_file(path) for name, path in files.items()} == {
        n: f["sha256"] for n, f in lock["files"].items()
    }
    assert files.keys() == model_files(base).keys(), "a fetched model has no other files, and no state is left"
    assert not list(base.parent.glob(".*partial"))


def test_a_generation_config_that_transformers_would_not_write_is_copied(base):
    """As some published chat models have it; the training was over when it failed."""
    (base / "generation_config.json").write_text('{"do_sample": false, "temperature": 0.6, "top_p": 0.9}')
    folder, _ = made(spec(steps=12), base)
    assert (folder / "generation_config.json").read_bytes() == (base / "generation_config.json").read_bytes()


def test_what_lies_below_the_trained_layers_stays(base):
    from safetensors.torch import load_file

    folder, _ = made(spec(), base)
    before, after = load_file(base / "model.safetensors"), load_file(folder / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name].bfloat16(), after[name])}
    assert moved and all(name.startswith(("model.layers.1.", "model.norm.")) for name in moved)
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}


def test_all_layers_are_trained_where_none_are_named(base):
    from safetensors.torch import load_file

    folder, _ = made(spec(layers=None, learning_rate=1e-3), base)
    before, after = load_file(base / "model.safetensors"), load_file(folder / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name].bfloat16(), after[name])}
    assert any(name.startswith("model.layers.0.") for name in moved) and "model.embed_tokens.weight" not in moved


def test_a_killed_training_ends_in_the_same_bytes(base, monkeypatch):
    folder, whole = made(spec(), base)
    bytes_of = {path.name: path.read_bytes() for path in folder.iterdir()}
    train, stopped = tune_llm_step.train, []

    def killed_after_20(losses, *arguments, checkpoint, **options):
        def progress(step, *_):
            if step == 20 and not stopped:
                stopped.append(checkpoint)
                monkeypatch.setattr("fute.surrogate.checkpoint._came", True)

        return train(losses, *arguments, checkpoint=checkpoint, **options | {"progress": progress})

    monkeypatch.setattr(tune_llm_step, "train", killed_after_20)
    other = base.parent / f".tuned.{'0a' * 20}.partial"
    other.mkdir()
    with pytest.raises(Preempted):
        made(spec(), base)
    assert stopped[0].path.is_file() and not other.exists(), "the state is kept, that of another training is not"
    monkeypatch.setattr("fute.surrogate.checkpoint._came", False)
    folder, again = made(spec(), base)
    assert again == whole and {path.name: path.read_bytes() for path in folder.iterdir()} == bytes_of


def test_a_training_is_kept_until_the_lock_of_its_model_is_written(base, monkeypatch):
    """An input was damaged meanwhile, so nothing is published; made again, it costs no second training."""
    monkeypatch.setattr("fute.surrogate.checkpoint.Checkpoint.worth_keeping", lambda *_: True)
    record = base.parent / "train.jsonl.gz.prov.json"
    record.write_text("{")
    with pytest.raises(InputError):
        made(spec(steps=12), base)
    record.unlink()
    steps = []
    monkeypatch.setattr(tune_llm_step.TrainingProgress, "__call__", lambda _, done, *more: steps.append(done))
    folder, lock = made(spec(steps=12), base)
    assert not steps and lock["training"]["steps"] == 12
    assert {path.name: sha256_file(path) for path in folder.iterdir()} == {
        name: facts["sha256"] for name, facts in lock["files"].items()
    }
    assert not list(base.parent.glob(".*partial"))


def test_prompts_are_asked_in_turns_and_answered_with_the_first_word(base):
    engine = TransformersEngine(EngineSettings(engine="transformers", dtype="float32"), base)
    prompts, tokenizer = engine.prompts, engine.prompts.tokenizer
    examples = answers_to_learn(spec(steps=None, epochs=3), prompts, {"sa": ROWS})
    assert len(examples) == len(ROWS)
    asked = [tokenizer.decode(example.input_ids) for example in examples]
    assert sum("Was it good? the" in text for text in asked) == sum("Was it good?\n" in text for text in asked) == 16
    for text, example in zip(asked, examples, strict=True):
        *answer, end = example.target_ids
        assert tokenizer.decode(answer) == ("yes" if "good day" in text else "no") and end == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("changes", "rows", "words"),
    [
        ({}, [Row("r9", ("a day",), label="neutral")], "row r9: its label 'neutral' is none of negative, positive"),
        ({}, [Row("r9", ("a day " * 99,), label="negative")], r"request p-1 on r9: a prompt of \d+ tokens .* 256 pos"),
        ({"steps": None, "epochs": 1}, ROWS[:8], "8 rows are 1 steps, fewer than min_steps=10; use more epochs"),
    ],
)
def test_what_cannot_be_learned_is_refused(base, changes, rows, words):
    with pytest.raises(EngineError, match=words):
        made(spec(**changes), base, rows)
