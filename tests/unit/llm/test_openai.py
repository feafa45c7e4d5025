"""The openai engine against a small server on the loopback interface."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fute.config.engines import EngineSettings
from fute.llm import openai
from fute.llm.engine import ScoreRequest, load_engine
from fute.llm.openai import OpenAIEngine, RateLimit, class_log_scores, retry_after, token_class

KEY = "sk-secret-of-the-test"
YES_NO = (("no", "No"), ("yes", "Yes"))
Reply = tuple[int, dict[str, str], Any]


class Server:
    """Answers each POST by `reply(number of the request, path, body)`."""

    def __init__(self) -> None:
        self.reply: Callable[[int, str, dict], Reply] = lambda n, path, body: (200, {}, chat({"yes": -0.1}))
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(outer.bodies)
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                status, headers, answer = outer.reply(number, self.path, body)
                data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(data))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


def chat(top: dict[str, float], text: str = "yes", finish: str = "length") -> dict:
    content = [{"token": text, "top_logprobs": [{"token": t, "logprob": p} for t, p in top.items()]}]
    choice = {"message": {"content": text}, "logprobs": {"content": content}, "finish_reason": finish}
    return {"choices": [choice], "usage": {"prompt_tokens": 11, "completion_tokens": 7}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(openai, "BACKOFF_S", 0.02)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


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
    assert body["messages"] == [
        {"role": "system", "content": "Judge."},
        {"role": "user", "content": "text 0"},
    ]
    assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == ("tiny", 0, 42, 1)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)


def test_a_class_that_was_not_returned_is_bounded_by_the_rest_and_counted(server):
    server.reply = lambda n, path, body: (200, {}, chat({"yes": -0.5, "The": -1.0, "A": -6.0}))
    e = engine(server)
    [result] = e.score([request()])
    rest = 1 - math.exp(-0.5) - math.exp(-1.0) - math.exp(-6.0)
    assert result.log_scores == pytest.approx((math.log(rest), -0.5))
    assert (result.seen, result.first_token) == ((False, True), "yes")
    assert result.coverage == pytest.approx(math.exp(-0.5))
    assert e.bounded_classes == 1


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


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_passing_failures_are_retried(server, status):
    server.reply = lambda n, path, body: (status, {}, "busy") if n < 2 else (200, {}, chat({"yes": -0.1}))
    assert len(engine(server).score([request()])) == 1
    assert len(server.bodies) == 3


def test_back_off_grows_and_ends_with_an_error_that_names_request_and_status(server, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(openai.time, "sleep", waits.append)
    server.reply = lambda n, path, body: (503, {}, "down for repair")
    with pytest.raises(RuntimeError, match=r"request r0: .* failed 4 times, at last with HTTP 503: down") as info:
        engine(server).score([request()])
    assert len(waits) == 3
    for attempt, wait in enumerate(waits):
        assert 0.5 * 0.02 * 2**attempt <= wait <= 0.02 * 2**attempt
    assert KEY not in str(info.value)


def test_retry_after_is_honoured(server, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(openai.time, "sleep", waits.append)
    server.reply = lambda n, path, body: (429, {"Retry-After": "7"}, "") if n == 0 else (200, {}, chat({"a": -1}))
    engine(server).score([request()])
    assert waits == [7.0]


def test_retry_after_reads_numbers_and_dates():
    assert retry_after("2.5") == 2.5
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert 3500 < retry_after(time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))) < 3601
    assert retry_after(None) is None and retry_after("soon") is None


def test_a_refusal_is_not_retried(server):
    server.reply = lambda n, path, body: (401, {}, "bad key")
    with pytest.raises(RuntimeError, match="request r0: chat/completions was refused, HTTP 401: bad key") as info:
        engine(server).score([request()])
    assert len(server.bodies) == 1
    assert KEY not in str(info.value)


def test_a_dead_server_is_retried_and_named(server):
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(RuntimeError, match="failed 3 times, at last with ConnectError"):
        engine(server, max_retries=2).score([request()])


def test_an_answer_that_is_not_json_says_what_to_check(server):
    server.reply = lambda n, path, body: (200, {}, "<html>welcome</html>")
    with pytest.raises(RuntimeError, match=r"not JSON, starting with '<html>.*base_url"):
        engine(server).score([request()])


@pytest.mark.parametrize("logprobs", [None, {"content": []}, {"content": [{"top_logprobs": []}]}])
def test_a_server_without_logprobs_is_an_error(server, logprobs):
    answer = chat({"yes": -0.1})
    answer["choices"][0]["logprobs"] = logprobs
    server.reply = lambda n, path, body: (200, {}, answer)
    with pytest.raises(RuntimeError, match="request r0: the server returned no top_logprobs"):
        engine(server).score([request()])


def test_an_answer_without_choices_is_an_error(server):
    server.reply = lambda n, path, body: (200, {}, {"error": "x"})
    with pytest.raises(RuntimeError, match="request r0: the server's answer has no 'choices'"):
        engine(server).score([request()])


def test_the_key_comes_from_the_environment_only(server, monkeypatch):
    e = engine(server)
    e.score([request()])
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in json.dumps(e.identity())
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
        ({"score": "sequence"}, "single tokens only"),
        ({"chat_template": "none"}, "chat_template: model"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(server, settings, match):
    with pytest.raises(ValueError, match=match):
        engine(server, **settings)


def test_the_rate_limit_spaces_requests_evenly():
    now, waits = [100.0], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    limit = RateLimit(30, clock=lambda: now[0], sleep=sleep)
    for _ in range(4):
        limit.wait()
    assert waits == pytest.approx([2.0, 2.0, 2.0])
    now[0] += 60
    limit.wait()
    assert len(waits) == 3, "a pause uses the waiting time up"


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


@pytest.mark.parametrize("reply", [(404, {}, "no such path"), (200, {}, {"choices": [{"logprobs": None}]})])
def test_perplexity_without_echo_is_a_clear_error(server, reply):
    server.reply = lambda n, path, body: reply
    with pytest.raises(RuntimeError, match="text t: SPELL needs /completions with echo and logprobs"):
        engine(server).perplexity([("t", "some text")])


def test_generate_returns_the_greedy_answers(server):
    server.reply = lambda n, path, body: (200, {}, chat({"a": -1}, text=body["messages"][0]["content"][::-1]))
    assert engine(server).generate([("a", "abc"), ("b", "xy")], 5) == ["cba", "yx"]
    assert server.bodies[0]["max_tokens"] == 5


def test_tokens_speak_for_a_class_by_word_or_by_a_beginning_of_one_class_only():
    classes = (("correct",), ("uncertain",), ("incorrect", "invalid"))
    assert token_class(" correct", classes) == 0
    assert token_class("in", classes) == 2
    assert token_class("Correct", classes) is None
    assert token_class(" ", classes) is None
    assert token_class("n", (("no",), ("never",))) is None
    assert token_class("no", (("no",), ("not",))) == 0, "a whole word beats a beginning"


def test_class_scores_of_returned_tokens():
    got, seen = class_log_scores({"yes": math.log(0.25), "y": math.log(0.25), "x": -9.0}, YES_NO)
    assert got == pytest.approx([math.log(0.5 - math.exp(-9.0)), math.log(0.5)])
    assert seen == [False, True]


def test_load_engine_starts_it(server):
    settings = EngineSettings(engine="openai", base_url=server.url, api_model="tiny")
    e = load_engine(settings, None)
    assert e.score([request()])[0].id == "r0"
    e.close()
