"""Settings of engines: what a server is sent, and what identifies results."""

import shutil
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from fute.config.engines import EngineSettings
from fute.config.run import parse_run
from fute.config.sections import ConfigError

REGISTRIES = Path(__file__).parents[3] / "config"


@pytest.mark.parametrize("field", ["messages", "model", "logprobs", "top_logprobs", "seed", "max_tokens", "echo", "n"])
def test_extra_fields_do_not_take_the_place_of_the_engines_own(field):
    with pytest.raises(ValidationError, match=f"{field}: set by the engine"):
        EngineSettings(engine="openai", extra_body={"top_k": 1, field: 3})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_extra_fields_are_json(value):
    with pytest.raises(ValidationError, match="cannot be written as JSON"):
        EngineSettings(engine="openai", extra_body={"options": [value]})


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_engines_in_this_process_need_a_seed(engine):
    with pytest.raises(ValidationError, match=f"engine {engine} needs a number"):
        EngineSettings(engine=engine, seed=None)


def test_what_identifies_results_of_a_server_and_of_others():
    requests = {"top_logprobs": 5, "extra_body": {"top_k": 1}}
    reaching = {"longest_wait_s": 7, "max_tokens_field": "max_completion_tokens", "timeout_s": 9}
    plain = EngineSettings(engine="openai")
    assert EngineSettings(engine="openai", **reaching).shaping() == plain.shaping()
    assert EngineSettings(engine="openai", **requests).shaping() == plain.shaping() | requests
    others = {*("engine", "dtype", "max_length", "seed", "score", "reasoning_tokens", "answer_tokens", "chat_template")}
    assert set(EngineSettings(engine="transformers", **requests).shaping()) == others | {"batch_size"}
    assert "top_logprobs" not in EngineSettings(engine="vllm", **requests).shaping()


def test_words_that_an_engine_cannot_tell_apart_are_refused_with_the_run(tmp_path):
    for name in ("models.yaml", "datasets.yaml", "categories.yaml"):
        shutil.copy(REGISTRIES / name, tmp_path)
    (tmp_path / "prompts").mkdir()
    words = {"negative": ["it is bad"], "positive": ["it is good"]}
    prompt = {"id": "shared", "number": 1, "template": "Is it good? {text}", "verbalizers": words}
    (tmp_path / "prompts/sa.yaml").write_text(yaml.safe_dump({"category": "sa", "prompts": [prompt]}))

    def run(**engine: str) -> None:
        llm = {"models": ["smollm2-135m"], "datasets": {"sa": ["mini-films"]}, "engine": engine}
        pool = {"kind": "pool", "path": "pool.jsonl", "limit": 12}
        parse_run({"name": "x", "title": "x", "unsup": {"sa": pool}, "llm": llm}, tmp_path)

    for engine in ("openai", "vllm", "transformers"):
        with pytest.raises(
            ConfigError, match=r"config/prompts/sa\.yaml: prompt shared .* begin with the same word 'it'"
        ):
            run(engine=engine)
    run(engine="transformers", score="sequence")
