"""Requests to a server: retries, waits, failures on one line, and the key."""

import gzip
import json
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.answer_server import Reply, Server

from fute.config.engines import EngineSettings
from fute.llm import server as module
from fute.llm.engine import EngineError, ServerError
from fute.llm.server import RateLimit, Refused, proxy_hint, read_key, retry_after

KEY = "sk-secret-of-the-test"
GOOD = {"choices": [], "usage": None}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(module, "BACKOFF_S", 0.02)
    server = Server()
    yield server
    server.close()


def settings(server: Server, **values: Any) -> EngineSettings:
    return EngineSettings(**{"engine": "openai", "base_url": server.url, "api_model": "m", "max_retries": 3} | values)


def post(server: Server, body: dict | None = None, waits: list[float] | None = None, **values: Any) -> dict:
    client = module.Server(settings(server, **values))
    if waits is not None:
        client.sleep = waits.append
    try:
        return client.post("r0", "chat/completions", body or {}).content
    finally:
        client.close()


def failing_once(failure: Reply) -> Any:
    return lambda n, path, body: failure if n == 0 else (200, {}, GOOD)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
def test_passing_failures_are_retried(server, status):
    server.reply = lambda n, path, body: (status, {}, "busy") if n < 2 else (200, {}, GOOD)
    assert post(server) == GOOD
    assert len(server.bodies) == 3


HALF = json.dumps(GOOD)[:12]


@pytest.mark.parametrize(
    "failure",
    [
        (200, {}, HALF),
        (200, {}, ""),
        (200, {"Content-Length": "99"}, HALF),
        (200, {"Content-Encoding": "gzip"}, json.dumps(GOOD)),
        (200, {"Content-Encoding": "gzip", "Content-Length": "30"}, gzip.compress(json.dumps(GOOD).encode())[:30]),
        (200, {}, {"id": None, "choices": None, "error": {"message": "Provider returned error", "code": 429}}),
        (200, {}, {"error": {"message": "Too Many Requests", "code": "rate_limit_exceeded"}}),
        (200, {}, {"choices": [{"error": {"message": "upstream", "code": 502}}]}),
        (200, {}, {"error": {"message": "busy", "code": "503"}}),
    ],
)
def test_a_broken_answer_and_a_passing_error_inside_a_good_one_are_retried(server, failure):
    server.reply = failing_once(failure)
    assert post(server) == GOOD
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": "no such model"}, "an error inside HTTP 200: no such model"),
        ({"error": {"message": "Bad\n input", "code": 400}}, "an error inside HTTP 200: Bad input"),
        ({"object": "error", "message": "wrong field", "code": 400}, "an error inside HTTP 200: wrong field"),
        ([], "is no JSON object, starting with '\\[\\]'.*base_url"),
        ("<html>welcome</html>", "is not JSON, starting with '<html>.*base_url"),
        ("9" * 5000, "is not JSON, starting with '999"),
    ],
)
def test_an_answer_that_would_not_change_ends_at_once(server, answer, said):
    server.reply = lambda n, path, body: (200, {}, answer)
    with pytest.raises(ServerError, match=f"^request r0: .*{said}[^\n]*$"):
        post(server)
    assert len(server.bodies) == 1


def test_back_off_grows_and_ends_with_an_error_that_names_request_and_status(server, capsys):
    waits: list[float] = []
    server.reply = lambda n, path, body: (503, {"x-request-id": f"id-{n}"}, "down\nfor repair")
    with pytest.raises(ServerError, match=r"^request r0: .* failed 4 times, at last with HTTP 503: down for repair "):
        post(server, waits=waits)
    assert len(waits) == 3
    for attempt, wait in enumerate(waits):
        assert 0.5 * 0.02 * 2**attempt <= wait <= 0.02 * 2**attempt
    said = capsys.readouterr().err.splitlines()
    assert [line.rsplit(",", 1)[0] for line in said] == [
        f"request r0: chat/completions: HTTP 503: down for repair (request id id-{n}), attempt {n + 1} of 4"
        for n in range(3)
    ]


@pytest.mark.parametrize(
    ("asked", "waited"),
    [("7", 7.0), ("3600", 60.0), ("inf", 60.0), ("9" * 400, 60.0), ("Wed, 01 Jan 2200 00:00:00 GMT", 60.0)],
)
def test_retry_after_is_honoured_up_to_the_longest_wait(server, capsys, asked, waited):
    waits: list[float] = []
    server.reply = failing_once((429, {"Retry-After": asked}, "slow down"))
    post(server, waits=waits)
    assert waits == [waited]
    [line] = capsys.readouterr().err.splitlines()
    assert f"HTTP 429: slow down, attempt 1 of 4, next in {waited:.1f} s" in line
    assert ("longest_wait_s is 60" in line) == (waited == 60)


@pytest.mark.parametrize("asked", ["soon", "nan", "-5", "0", "Thu, 01 Jan 1970 00:00:00 GMT", "", "1970"])
def test_an_unreadable_or_past_retry_after_leaves_the_back_off(server, asked):
    waits: list[float] = []
    server.reply = failing_once((429, {"Retry-After": asked}, ""))
    post(server, waits=waits, longest_wait_s=0.5)
    assert 0 < waits[0] <= 0.5


def test_retry_after_reads_numbers_and_dates():
    assert retry_after("2.5") == 2.5
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert 3500 < retry_after(time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))) < 3601
    assert retry_after("inf") == math.inf and retry_after("-3") == 0
    assert retry_after(None) is None and retry_after("soon") is None and retry_after("nan") is None


@pytest.mark.parametrize(
    "error",
    [
        {"message": "daily quota used up", "type": "insufficient_quota"},
        {"message": "You exceeded your current quota"},
        {"message": "no", "code": "insufficient_quota"},
        {"message": "no", "code": 429, "type": "insufficient_quota"},
    ],
)
@pytest.mark.parametrize("status", [200, 429])
def test_a_used_up_quota_ends_at_once(server, error, status):
    server.reply = lambda n, path, body: (status, {"Retry-After": "3600"}, {"error": {"code": 429} | error})
    with pytest.raises(ServerError, match=r"was refused, .*no quota is left"):
        post(server, waits=[])
    assert len(server.bodies) == 1


def test_a_refusal_is_not_retried_and_tells_the_servers_words_and_request_id(server):
    server.reply = lambda n, path, body: (
        401,
        {"X-Request-Id": "req_7"},
        {"error": {"message": "bad key", "code": "no"}},
    )
    with pytest.raises(ServerError) as info:
        post(server)
    assert str(info.value) == (
        "request r0: chat/completions was refused, HTTP 401: bad key (no) (request id req_7), attempt 1 of 4"
    )
    assert len(server.bodies) == 1


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("before", [0, 60, 75, 190])
def test_long_words_are_cut_and_the_key_is_hidden(server, status, before):
    server.reply = lambda n, path, body: (status, {}, "x" * before + f" {KEY} " + "x" * 10_000)
    with pytest.raises(ServerError) as info:
        post(server)
    assert KEY[:8] not in str(info.value)
    assert len(str(info.value)) < 350


def test_another_address_is_not_followed(server):
    server.reply = lambda n, path, body: (307, {"Location": "http://elsewhere.example/v1"}, "")
    with pytest.raises(
        Refused, match=r"HTTP 307, .*: base_url leads to another address, 'http://elsewhere.example/v1'"
    ):
        post(server)


@pytest.mark.parametrize(
    ("status", "answer", "advice"),
    [
        (
            400,
            {"error": {"message": "Invalid value for 'top_logprobs': must be less than or equal to 5."}},
            "llm.engine.top_logprobs",
        ),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs"}]}, "seed: null"),
        (
            400,
            {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}},
            "max_tokens_field: max_completion_tokens",
        ),
        (400, {"message": "temperature must be 1"}, "extra_body: {temperature: ...}"),
        (400, {"error": "unknown field top_k"}, "change llm.engine.extra_body"),
    ],
)
def test_a_refused_field_names_the_setting(server, status, answer, advice):
    server.reply = lambda n, path, body: (status, {}, answer)
    body = {"top_logprobs": 20, "seed": 42, "max_tokens": 1, "temperature": 0, "top_k": 3}
    with pytest.raises(Refused) as info:
        post(server, body, extra_body={"top_k": 3})
    assert advice in str(info.value)


def test_a_refused_long_text_names_no_setting_of_a_field(server):
    words = "This model's maximum context length is 4096 tokens, and max_tokens is 1"
    server.reply = lambda n, path, body: (400, {}, {"error": {"message": words}})
    with pytest.raises(Refused, match=r"and max_tokens is 1, attempt 1 of 4$") as info:
        post(server, {"max_tokens": 1})
    assert info.value.about_request


def test_a_dead_server_is_retried_and_named(server):
    server.close()
    with pytest.raises(ServerError, match="failed 3 times, at last with ConnectError"):
        post(server, max_retries=2)


@pytest.mark.parametrize("address", ["localhost:8000/v1", "ftp://host/v1", "http://", "http://host:port/v1", "x"])
def test_an_address_that_is_none_is_refused(server, address):
    with pytest.raises(EngineError, match=r"base_url .* is no address"):
        module.Server(settings(server, base_url=address))


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_that_catches_the_own_machine_is_named(server, monkeypatch, name):
    monkeypatch.setenv(name, "http://user:password@127.0.0.1:9")
    with pytest.raises(ServerError, match=f"ConnectError.*; {name} sends requests to 127.0.0.1 to a proxy") as info:
        post(server, max_retries=0)
    assert "password" not in str(info.value)
    monkeypatch.setenv("NO_PROXY", "example.org, 127.0.0.1")
    assert post(server) == {
        "choices": server.reply(0, "", {})[2]["choices"],
        "usage": server.reply(0, "", {})[2]["usage"],
    }


@pytest.mark.parametrize(
    ("address", "environment", "named"),
    [
        ("http://localhost:1/v1", {"http_proxy": "http://p:1"}, "http_proxy"),
        ("http://[::1]:1/v1", {"ALL_PROXY": "http://p:1"}, "ALL_PROXY"),
        ("https://127.0.0.1/v1", {"HTTPS_PROXY": "http://p:1"}, "HTTPS_PROXY"),
        ("https://127.0.0.1/v1", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://127.0.0.1/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("http://127.0.0.1/v1", {"HTTP_PROXY": ""}, None),
        ("http://api.example.org/v1", {"HTTP_PROXY": "http://p:1"}, None),
    ],
)
def test_which_proxy_variable_catches_an_address(address, environment, named):
    hint = proxy_hint(address, environment)
    assert (named is None) == (hint == "")
    assert named is None or hint.startswith(f"; {named} ")


def test_a_proxy_that_cannot_be_used_is_one_line(server, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "what://user:password@host")
    with pytest.raises(EngineError, match=r"check the proxy variables .ALL_PROXY") as info:
        module.Server(settings(server))
    assert "password" not in str(info.value)


@pytest.mark.parametrize("blanks", ["{}\r\n", " {}\t", "\n{}", "\u00a0{}"])
def test_a_key_is_stripped(blanks):
    assert read_key("MY_KEY", {"MY_KEY": blanks.format(KEY)}) == KEY


@pytest.mark.parametrize(
    "wrong", ["sk-\u00e9-secret", "sk-\u200b-secret", "\ufeffsk-secret", "sk-a\rb-secret", "sk-\udcff"]
)
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(wrong):
    with pytest.raises(EngineError, match="environment variable MY_KEY: character") as info:
        read_key("MY_KEY", {"MY_KEY": wrong})
    assert "secret" not in str(info.value)


@pytest.mark.parametrize("empty", [{}, {"MY_KEY": ""}, {"MY_KEY": " \r\n"}])
def test_a_missing_key_is_named(empty):
    with pytest.raises(ServerError, match="environment variable MY_KEY is not set"):
        read_key("MY_KEY", empty)


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
