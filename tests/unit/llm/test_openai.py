"""The openai engine against a small server on the loopback interface."""

import json
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.answer_server import Reply, Server, chat

from fute.config.engines import EngineSettings
from fute.llm import server as requests_to
from fute.llm.class_scores import decided
from fute.llm.engine import EngineError, ScoreRequest, ServerError, SpellUnavailable, load_engine
from fute.llm.openai import OpenAIEngine

KEY = "sk-secret-of-the-test"
YES_NO = (("no", "No"), ("yes", "Yes"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(requests_to, "BACKOFF_S", 0.02)
    server = Server()
    yield server
    server.close()


def engine(server: Server, **settings: Any) -> OpenAIEngine:
    defaults = {"engine": "openai", "base_url": server.url, "api_model": "tiny", "max_retries": 3}
    return OpenAIEngine(EngineSettings(**defaults | settings))


def request(number: int = 0, **fields: Any) -> ScoreRequest:
    return ScoreRequest(**{"id": f"r{number}", "user": f"text {number}", "system": None, "classes": YES_NO} | fields)


def test_masses_are_summed_over_the_tokens_of_a_class(server):
    top = {"Yes": math.log(0.4), " yes": math.log(0.1), "no": math.log(0.2), "Maybe": math.log(0.05)}
    server.reply = lambda n, path, body: (200, {}, chat(top, "Yes"))
    [result] = engine(server).score([request(system="Judge.")])
    assert [math.exp(s) for s in result.log_scores] == pytest.approx([0.2, 0.5])
    assert result.coverage == pytest.approx(0.7)
    assert (result.text, result.top_is_verbalizer, result.prompt_tokens) == ("Yes", True, 11)
    [body] = server.bodies
    assert body["messages"] == [{"role": "system", "content": "Judge."}, {"role": "user", "content": "text 0"}]
    assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == ("tiny", 0, 42, 1)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)


def test_a_class_that_was_not_returned_is_bounded_by_the_rest(server):
    server.reply = lambda n, path, body: (200, {}, chat({"yes": -0.5, "The": -1.0, "A": -6.0}))
    [result] = engine(server).score([request()])
    rest = 1 - math.exp(-0.5) - math.exp(-1.0) - math.exp(-6.0)
    assert result.log_scores == pytest.approx((math.log(rest), -0.5))
    assert (result.seen, result.first_token) == ((False, True), "yes")
    assert result.coverage == pytest.approx(math.exp(-0.5))


def test_results_keep_the_order_of_the_requests(server):
    def reply(number: int, path: str, body: dict) -> Reply:
        wanted = int(body["messages"][0]["content"].split()[1])
        time.sleep(0.03 if wanted % 3 == 0 else 0)
        return 200, {}, chat({"yes": -float(wanted + 1), "no": -50.0})

    server.reply = reply
    results = engine(server, concurrency=8).score([request(i) for i in range(20)])
    assert [r.id for r in results] == [f"r{i}" for i in range(20)]
    assert [r.log_scores[1] for r in results] == [-float(i + 1) for i in range(20)]


def test_a_chain_of_thought_takes_two_turns(server):
    def reply(number: int, path: str, body: dict) -> Reply:
        return 200, {}, chat({"no": -0.1, "yes": -3.0}, "Because." if number == 0 else "no", "length")

    server.reply = reply
    [result] = engine(server, reasoning_tokens=7).score([request(followup="So?")])
    assert server.bodies[0]["max_tokens"] == 7 and "logprobs" not in server.bodies[0]
    assert [m["content"] for m in server.bodies[1]["messages"]] == ["text 0", "Because.", "So?"]
    assert (result.reasoning, result.reasoning_tokens, result.reasoning_truncated) == ("Because.", 7, True)
    assert result.log_scores == (-0.1, -3.0)


@pytest.mark.parametrize(
    ("content", "logprobs"),
    [("yes", None), ("yes", {"content": []}), ("yes", {"content": [{"top_logprobs": []}]}), ("", None)],
)
def test_a_server_without_logprobs_is_an_error(server, content, logprobs):
    answer = chat({"yes": -0.1}, content, "stop")
    answer["choices"][0]["logprobs"] = logprobs
    server.reply = lambda n, path, body: (200, {}, answer)
    with pytest.raises(RuntimeError, match="request r0: the server returned no top_logprobs"):
        engine(server).score([request()])


@pytest.mark.parametrize(
    ("content", "logprobs", "finish"), [("", {"content": []}, "stop"), (None, None, "content_filter")]
)
def test_an_answer_without_a_token_has_no_label(server, content, logprobs, finish):
    answer = chat({"yes": -0.1}, content, finish)
    answer["choices"][0]["logprobs"] = logprobs
    server.reply = lambda n, path, body: (200, {}, answer if n == 0 else chat({"yes": -0.1, "no": -3.0}))
    assert_silent(*engine(server, concurrency=1).score([request(0), request(1)]))


def test_a_text_that_the_servers_filter_refuses_has_no_label(server):
    """As Azure says it, with status 400."""
    error = {"message": "The response was filtered", "code": "content_filter", "status": 400}
    refusal = 400, {}, {"error": error}
    server.reply = lambda n, path, body: refusal if n == 0 else (200, {}, chat({"yes": -0.1, "no": -3.0}))
    assert_silent(*engine(server, concurrency=1).score([request(0), request(1)]))
    server.reply = lambda n, path, body: refusal
    with pytest.raises(ServerError, match=r"\(content_filter\)"):  # SPELL's perplexity has no text without a value
        engine(server).perplexity([("r0", "text")])


def assert_silent(silent, said):
    """The first of two results has no label, the second has."""
    assert (silent.seen, silent.log_scores) == ((False, False), (0.0, 0.0))  # a bound: the probability is at most 1
    assert decided(silent.log_scores, silent.seen) is None
    assert (silent.text, silent.first_token, silent.coverage, silent.top_is_verbalizer) == ("", "", 0, False)
    assert said.seen == (True, True)


def test_a_server_that_changes_the_model_is_named_once(server, capsys):
    names = ["tiny", "tiny", "tiny-2", "tiny", "tiny-2"]
    server.reply = lambda n, path, body: (200, {}, chat({"yes": -0.1}) | {"model": names[n]})
    engine(server, concurrency=1).score([request(i) for i in range(5)])
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: request r2: the server answers as 'tiny', 'tiny-2'; if these are several models")


def test_the_key_comes_from_the_environment_only(server, monkeypatch):
    e = engine(server)
    e.score([request()])
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in json.dumps(e.identity())
    assert "127.0.0.1" not in json.dumps(e.identity())
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(RuntimeError, match="environment variable OPENAI_API_KEY is not set"):
        engine(server)
    monkeypatch.setenv("MY_KEY", "other")
    engine(server, api_key_env="MY_KEY").score([request()])
    assert server.headers[1]["Authorization"] == "Bearer other"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"base_url": None}, "needs base_url"),
        ({"api_model": None}, "needs api_model"),
        ({"chat_template": "none"}, "chat_template: model"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(server, settings, match):
    with pytest.raises(ValueError, match=match):
        engine(server, **settings)


TOKENS = {"no": [7], "No": [8, 9], "yes": [5], "Yes": [6, 1]}
"""Tokens of each word after the prompt, which has 11 and 12."""
LOGPROBS = {7: -2.0, 8: -1.5, 9: -0.5, 5: -3.0, 6: -2.5, 1: -1.0}


def vllm(body: dict, tokens: dict[str, list[int]] = TOKENS) -> dict:
    """A vLLM server's answer: with the log-probabilities of the prompt, which may end within the model's answer."""
    last = body["messages"][-1]
    is_begun = last["role"] == "assistant"
    begun = tokens[last["content"]] if is_begun else []
    assert (body.get("continue_final_message"), body.get("add_generation_prompt", True)) == (
        is_begun or None,
        not is_begun,
    )
    places = [{str(token): {"logprob": LOGPROBS.get(token, -9.0), "rank": 3}} for token in (12, *begun)]
    answer = chat({"The": -0.5}, "The")
    return answer | {"prompt_logprobs": [None, *places] if body.get("prompt_logprobs") == 0 else None}


def test_a_vllm_server_scores_whole_words(server):
    server.reply = lambda n, path, body: (200, {}, vllm(body))
    [result] = engine(server, score="sequence").score([request()])
    words = [[-2.0, -2.0], [-3.0, -3.5]]  # no, No = 8 and 9, yes, Yes = 6 and 1
    assert result.log_scores == pytest.approx([math.log(sum(map(math.exp, each))) for each in words])
    assert result.seen == (True, True) and result.text == "The"
    assert result.coverage == pytest.approx(sum(math.exp(score) for each in words for score in each))
    assert [body["messages"][-1] for body in server.bodies[1:]] == [
        {"role": "assistant", "content": word} for word in ("no", "No", "yes", "Yes")
    ]


@pytest.mark.parametrize(
    ("reply", "match"),
    [
        (lambda body: vllm(body) | {"prompt_logprobs": None}, "score: sequence needs .* has no prompt_logprobs. Use"),
        (lambda body: vllm(body) | {"prompt_logprobs": [None, {"5": {"logprob": -1}, "6": {"logprob": -2}}]},
         "are not one token and its log-probability per place"),
        (lambda body: vllm(body) | {"prompt_logprobs": [None, {"5": {"logprob": None}}]}, "are not one token and its"),
        (lambda body: vllm(body, TOKENS | {"Yes": [7, 1]}), "'no' and 'Yes' of two classes start with"),
        (lambda body: vllm(body, TOKENS | {"yes": []}), "'yes' does not start a token of its own"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_score_words_is_named(server, reply, match):
    server.reply = lambda n, path, body: (200, {}, reply(body))
    with pytest.raises(EngineError, match=match):
        engine(server, score="sequence").score([request()])


def test_a_server_that_refuses_the_field_is_named(server):
    server.reply = lambda n, path, body: (400, {}, {"error": {"message": "unknown field"}})
    with pytest.raises(EngineError, match=r"which a vLLM server gives, .* it says 'unknown field' \(HTTP 400\)"):
        engine(server, score="sequence").score([request()])


def test_the_rate_limit_holds_for_the_engine(server):
    start = time.monotonic()
    engine(server, requests_per_minute=1200, concurrency=8).score([request(i) for i in range(6)])
    assert time.monotonic() - start >= 5 * 0.05


def test_perplexity_counts_the_echoed_prompt_only(server):
    def reply(number: int, path: str, body: dict) -> Reply:
        assert path == "/v1/completions" and body["echo"] is True
        logprobs = {"token_logprobs": [None, -1.0, -3.0, -0.001]}
        return 200, {}, {"choices": [{"logprobs": logprobs}], "usage": {"prompt_tokens": 3}}

    server.reply = reply
    [p] = engine(server).perplexity([("t", "some text")])
    assert (p.id, p.mean_nll, p.tokens) == ("t", 2.0, 2)


def test_generate_returns_the_greedy_answers(server):
    server.reply = lambda n, path, body: (200, {}, chat({"a": -1}, text=body["messages"][0]["content"][::-1]))
    assert engine(server).generate([("a", "abc"), ("b", "xy")], 5) == ["cba", "yx"]
    assert server.bodies[0]["max_tokens"] == 5


def test_load_engine_starts_it(server):
    settings = EngineSettings(engine="openai", base_url=server.url, api_model="tiny")
    e = load_engine(settings, None)
    assert e.score([request()])[0].id == "r0"
    e.close()


def entries(top: dict[str, float | None], **more: Any) -> list[dict[str, Any]]:
    return [{"token": token, "logprob": logprob} | more for token, logprob in top.items()]


def label(server: Server, top: Any, **settings: Any) -> int | None:
    """Class that follows from the returned tokens: 0 for no, 1 for yes."""
    server.reply = lambda n, path, body: (200, {}, chat(top))
    [result] = engine(server, **settings).score([request()])
    assert all(map(math.isfinite, result.log_scores))
    return decided(result.log_scores, result.seen)


def test_numbers_of_tokens_are_refused_with_the_servers_option(server):
    with pytest.raises(ServerError, match=r"request r0: .*token_id:9820.*--return-tokens-as-token-ids"):
        label(server, {"token_id:9820": -0.2, "token_id:1017": -2.3})


@pytest.mark.parametrize("first", ["<think>", "Ġ<think>", "[THINK]", "<|channel|>", "◁think▷", "<thought>"])
def test_a_reasoning_model_is_refused_by_name(server, first):
    with pytest.raises(EngineError, match=r"request r0: model tiny answers with .*enable_thinking: false"):
        label(server, {first: -0.001, "yes": -9.0})


def test_a_reasoning_in_a_field_of_its_own_is_refused(server):
    answer = chat({"Okay": -0.1})
    answer["choices"][0]["message"] = {"content": None, "reasoning_content": "Okay, the user"}
    server.reply = lambda n, path, body: (200, {}, answer)
    with pytest.raises(EngineError, match="model tiny answers with a reasoning of its own"):
        engine(server).score([request()])


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ({"YES": -0.1, "NO": -2.5, "The": -6.0}, None),
        ({'"': -0.01, "The": -6.0}, None),
        ({"yes": -0.6}, 1),
        ({"yes": -0.7}, None),
        ({"yes": -0.7, "The": -2.0}, 1),
        ({"yes": -1.5, "The": -2.0}, None),
        ({"yes": 0.0, "no": -math.inf, "The": -math.inf}, 1),
        ({"Sure": 0.0, "yes": -math.inf, "no": -math.inf}, None),
        ({"yes": math.log(0.6), "no": math.nan, "The": -9.0}, 1),
        ({"yes": math.log(0.4), "no": None, "The": -9.0}, None),
        ({"yes": math.log(0.4), "no": math.log(0.3), "No": None}, None),
        ({"yes": -0.1, "no": -9999.0}, 1),
        ({"Sure": -0.001, "yes": -9999.0, "no": -9999.0}, None),
    ],
)
def test_a_label_is_right_or_there_is_none(server, top, expected):
    assert label(server, top) == expected


def test_a_chosen_token_that_is_not_listed_counts_once(server):
    answer = chat({"no": math.log(0.3), "The": -6.0})
    first = answer["choices"][0]["logprobs"]["content"][0]
    first |= {"token": "Ġyes", "logprob": math.log(0.6)}
    server.reply = lambda n, path, body: (200, {}, answer)
    for _ in range(2):
        [result] = engine(server).score([request()])
        assert [math.exp(s) for s in result.log_scores] == pytest.approx([0.3, 0.6])
        assert result.first_token in ("Ġyes", "yes")
        first["top_logprobs"] += entries({"yes": math.log(0.6)})


def test_probabilities_that_are_none_are_refused(server):
    with pytest.raises(ServerError, match=r"request r0: .* add up to 3.364.*natural log-probabilities"):
        label(server, {"yes": 0.9, "no": -0.1})
    with pytest.raises(ServerError, match="add up to"):
        label(server, {"yes": math.inf})


def test_words_that_cannot_be_told_apart_are_refused_before_a_request(server):
    with pytest.raises(EngineError, match=r"request r0: .*'not' begins with 'no', a word of another class"):
        engine(server).score([request(classes=(("no",), ("not",)))])
    assert server.bodies == []


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, None),
        ({"total_tokens": 12}, None),
        ({"prompt_tokens": "7"}, None),
        ({"prompt_tokens": None}, None),
        ([], None),
        ({"prompt_tokens": 5}, 5),
    ],
)
def test_a_server_need_not_tell_how_many_tokens_it_read(server, usage, tokens):
    server.reply = lambda n, path, body: (200, {}, chat({"yes": -0.1}) | {"usage": usage})
    [result] = engine(server).score([request(followup="So?")])
    assert (result.prompt_tokens, result.reasoning_tokens) == (tokens, None)


def test_null_as_content_is_no_text(server):
    answer = chat({"yes": -0.1, "no": -3.0})
    answer["choices"][0]["message"]["content"] = None
    server.reply = lambda n, path, body: (200, {}, answer)
    assert engine(server).score([request()])[0].text == ""
    assert engine(server).generate([("a", "x")], 3) == [""]


def test_halves_of_surrogate_pairs_can_be_written(server):
    server.reply = lambda n, path, body: (200, {}, chat({"\ud83d": -0.1, "no": -3.0}, text="\ud83d"))
    [result] = engine(server).score([request()])
    assert (result.text + result.first_token).encode() == b"??"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"choices": []}, "the server's answer has no 'choices'"),
        ({"choices": None}, "the server's answer has no 'choices'"),
        ({"choices": [None]}, "the server's answer has no 'choices'"),
        ({"choices": [{"message": None}]}, "has no 'message' in its choice"),
        ({"choices": [{"message": {"content": ["a"]}}]}, "content is a list, no text"),
    ],
)
def test_an_answer_of_another_shape_is_one_line(server, change, match):
    server.reply = lambda n, path, body: (200, {}, chat({"yes": -0.1}) | change)
    with pytest.raises(ServerError, match=f"^request r0: .*{match}[^\n]*$"):
        engine(server).score([request()])


def test_fields_of_a_request_are_settings(server):
    own = {"top_logprobs": 5, "seed": None, "max_tokens_field": "max_completion_tokens", "answer_tokens": 2}
    engine(server, **own, extra_body={"chat_template_kwargs": {"enable_thinking": False}}).score([request()])
    [body] = server.bodies
    assert body == {
        "messages": [{"role": "user", "content": "text 0"}],
        "model": "tiny",
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 5,
        "max_completion_tokens": 2,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def echo(values: Any, **usage: Any) -> Reply:
    return 200, {}, {"choices": [{"text": "x", "logprobs": {"token_logprobs": values}}], "usage": usage}


NEW_SHAPE = {"choices": [{"text": " yes", "logprobs": {"content": [{"token": " yes", "logprob": -0.7}]}}]}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((404, {}, {"error": {"message": "Not Found"}}), r"it says 'Not Found' \(HTTP 404\)"),
        ((400, {}, {"error": {"message": "Only no echo is supported"}}), "it says 'Only no echo is supported'"),
        ((422, {}, {"detail": [{"loc": ["body", "echo"], "msg": "Extra inputs"}]}), "HTTP 422"),
        ((200, {}, NEW_SHAPE), "no logprobs.token_logprobs"),
        ((200, {}, {"choices": [{"logprobs": None}]}), "no logprobs.token_logprobs"),
        (echo([-0.7], prompt_tokens=30), "returned 1 of them for a prompt of 30 tokens"),
        (echo([-0.7], prompt_tokens=1), "the first one, which no token precedes, is a number"),
        (echo([None, -1.0, -0.7]), "how many tokens the prompt has"),
        (echo([None] + [-1.0] * 9, prompt_tokens=4), "returned 10 of them for a prompt of 4"),
        (echo([None, -1.0, None, -1.0], prompt_tokens=4), "no finite number"),
        (echo([None, -math.inf, -1.0], prompt_tokens=3), "no finite number"),
    ],
)
def test_a_server_without_log_probabilities_of_a_prompt_cannot_do_spell(server, reply, reason):
    server.reply = lambda n, path, body: reply
    with pytest.raises(SpellUnavailable, match=f"^text t: SPELL needs /completions with echo.*{reason}[^\n]*$"):
        engine(server).perplexity([("t", "some text")])


@pytest.mark.parametrize("values", [[None, -1.0, -3.0], [None, -1.0, -3.0, -0.7]])
def test_an_echoed_prompt_with_or_without_the_generated_token(server, values):
    server.reply = lambda n, path, body: echo(values, prompt_tokens=3)
    [p] = engine(server).perplexity([("t", "some text")])
    assert (p.mean_nll, p.tokens) == (2.0, 2)


@pytest.mark.parametrize(
    "reply",
    [
        (401, {}, "bad key"),
        (500, {}, "CUDA out of memory"),
        (400, {}, {"error": {"message": "maximum context length is 10"}}),
        (400, {}, {"error": {"message": "unknown field seed"}}),
    ],
)
def test_other_failures_do_not_say_that_spell_is_missing(server, reply):
    server.reply = lambda n, path, body: reply
    with pytest.raises(ServerError) as info:
        engine(server, max_retries=0).perplexity([("t", "some text")])
    assert not isinstance(info.value, SpellUnavailable)


def test_the_reason_of_a_failure_is_told_and_not_that_others_were_stopped(server):
    def reply(number: int, path: str, body: dict) -> Reply:
        if "text 5" in str(body):
            return 401, {}, "bad key"
        return 503, {"Retry-After": "30"}, "busy"

    server.reply = reply
    start = time.monotonic()
    with pytest.raises(ServerError, match=r"request r5: .*bad key"):
        engine(server, concurrency=8, max_retries=3).score([request(i) for i in range(8)])
    assert time.monotonic() - start < 10, "the requests that wait are stopped"


def test_an_address_that_is_not_there_names_the_settings(server):
    server.reply = lambda n, path, body: (404, {}, {"detail": "Not Found"})
    with pytest.raises(ServerError, match=r"HTTP 404: Not Found, .*: check llm.engine.base_url, which ends in /v1"):
        engine(server).score([request()])


def test_an_engine_goes_on_after_a_failed_call(server):
    e = engine(server)
    server.reply = lambda n, path, body: (404, {}, "no")
    with pytest.raises(SpellUnavailable):
        e.perplexity([("t", "some text")])
    server.reply = lambda n, path, body: (200, {}, chat({"yes": -0.1}))
    assert e.score([request()])[0].seen == (False, True)
