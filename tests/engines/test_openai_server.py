"""The openai engine against a real vLLM server on the loopback interface."""

import dataclasses
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.engine_answers import Answers

from fute.config.engines import EngineSettings
from fute.llm.class_scores import decided, normalise
from fute.llm.engine import Perplexity, ScoreRequest, ScoreResult, load_engine
from fute.llm.openai import OpenAIEngine

pytestmark = pytest.mark.engine

START_S = 300


@pytest.fixture(scope="module")
def requests(real_requests: Callable[[int], list[ScoreRequest]]) -> list[ScoreRequest]:
    return real_requests(6)


@pytest.fixture(scope="module")
def reference(by_transformers: Answers, requests: list[ScoreRequest]) -> tuple[list[ScoreResult], list[Perplexity]]:
    """What the reference engine said to these requests, which are the first of those it was asked."""
    scores = by_transformers.plain[: len(requests)]
    assert [score.id for score in scores] == [request.id for request in requests]
    return scores, by_transformers.perplexity


@pytest.fixture(scope="module")
def engine(reference: tuple, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIEngine]:
    """Started after the reference is done: two torch processes at work starve each other."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "vllm.log"
    # The CPU build's `vllm` command does not start; its module does.
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model_folder),
        "--served-model-name", "served", "--host", "127.0.0.1", "--port", str(port),
        "--dtype", "float32", "--enforce-eager", "--max-model-len", "1024",
    ]  # fmt: skip
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    with log.open("wb") as output, pytest.MonkeyPatch.context() as patch:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until_ready(server, port, log)
            patch.setenv("FUTE_TEST_KEY", "any")
            settings = EngineSettings(
                engine="openai",
                base_url=f"http://127.0.0.1:{port}/v1",
                api_model="served",
                api_key_env="FUTE_TEST_KEY",
                reasoning_tokens=16,
                timeout_s=120,
            )
            engine = load_engine(settings, None)
            yield engine
            engine.close()
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_until_ready(server: subprocess.Popen, port: int, log: Path) -> None:
    start = time.monotonic()
    while time.monotonic() - start < START_S:
        if server.poll() is not None:
            pytest.fail(f"the server ended with {server.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).is_success:
                print(f"\nvLLM server ready after {time.monotonic() - start:.0f} s")
                return
        except httpx.TransportError:
            print(f"\nwaiting for the vLLM server, {time.monotonic() - start:.0f} s", end="", flush=True)
        time.sleep(5)
    pytest.fail(f"the server was not ready in {START_S} s:\n{log.read_text(errors='replace')[-3000:]}")


def test_predictions_agree_where_the_margin_is_clear(engine, reference, requests):
    clear = same = unlabelled = 0
    results = engine.score(requests)
    assert [r.id for r in results] == [r.id for r in requests]
    for mine, other in zip(results, reference[0], strict=True):
        second, best = np.sort(normalise(other.log_scores))[-2:]
        if best - second > 0.2:
            clear += 1
            label = decided(mine.log_scores, mine.seen)
            unlabelled += label is None
            same += label == np.argmax(other.log_scores)
    bounded = sum(result.seen.count(False) for result in results)
    print(f"\nclear rows: {clear}, same class on {same}, none on {unlabelled}; bounded: {bounded}")
    assert same >= 6, "too few clear rows for the comparison to mean anything"
    assert same + unlabelled == clear


def test_whole_words_have_the_reference_s_scores(engine, requests, model_folder):
    """Every class has a score, also those whose words are not among the returned tokens."""
    whole = engine.settings.model_copy(update={"score": "sequence"})
    words = (("very bad", "not good"), ("quite good", "fine"))
    asked = [dataclasses.replace(request, classes=words) for request in requests[:8]]
    server = load_engine(whole, None)
    results = server.score(asked)
    server.close()
    settings = EngineSettings(engine="transformers", dtype="float32", score="sequence")
    reference = load_engine(settings, model_folder)
    expected = reference.score(asked)
    reference.close()
    for mine, other in zip(results, expected, strict=True):
        assert mine.seen == (True, True)
        np.testing.assert_allclose(mine.log_scores, other.log_scores, atol=0.3)


def test_the_server_renders_the_same_prompt(engine, reference, requests):
    assert [r.prompt_tokens for r in engine.score(requests)] == [r.prompt_tokens for r in reference[0]]


def test_perplexities_agree(engine, reference, plain_texts):
    mine = engine.perplexity(plain_texts)
    assert [p.tokens for p in mine] == [p.tokens for p in reference[1]]
    np.testing.assert_allclose([p.mean_nll for p in mine], [p.mean_nll for p in reference[1]], atol=0.05)


def test_a_chain_of_thought_and_an_answer(engine, requests):
    thinking = dataclasses.replace(requests[0], system="You judge reviews.", followup="Yes or no?")
    [result] = engine.score([thinking])
    assert result.reasoning and result.reasoning_tokens <= 16
    assert engine.generate([("a", "Name three colours.")], 8)[0].strip()
    assert np.isfinite(result.log_scores).all()
