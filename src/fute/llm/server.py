"""Requests to a server of OpenAI's protocol: the key, the rate limit, retries, and failures told on one line."""

import email.utils
import json
import math
import os
import random
import re
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment

import httpx

from fute.config.engines import EngineSettings
from fute.llm.engine import EngineError, ServerError
from fute.scrub import hidden, name_secret

RETRIED = {408, 409, 425, 429}  # and every 5xx but 501
BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 60.0
WORDS = 200  # letters of a server's words in a message
_QUOTA = re.compile(r"insufficient_quota|\bquota\b", re.IGNORECASE)
_PASSING = re.compile(
    r"rate.?limit|too.?many.?requests|overloaded|unavailable|timed?.?out|server.?error|try again", re.IGNORECASE
)
_LENGTH = re.compile(r"context.{0,20}length|context.{0,20}window|too (?:long|large)", re.IGNORECASE)
_REQUEST_ID = ("x-request-id", "request-id", "apim-request-id", "cf-ray")


CONTENT_FILTER = "content_filter"
"""A server's word for what its filter held back: the reason why an answer ended, or the code of an error."""


class RateLimit:
    """Token bucket: at most `per_minute` requests per minute, spread evenly; None: no limit.

    sleep: waits a number of seconds.
    """

    def __init__(
        self,
        per_minute: int | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Any] = time.sleep,
    ):
        self._interval = 60 / per_minute if per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._next = clock()
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait until it is the caller's turn."""
        with self._lock:
            turn = max(self._next, self._clock())
            self._next = turn + self._interval
        delay = turn - self._clock()
        if delay > 0:
            self._sleep(delay)


class Refused(ServerError):
    """An answer that another try would not change.

    words: the server's own. status: of the answer. about_request: True if the server refuses this request's length or
    settings, and not the kind of request. filtered: True if its filter refuses the text.
    """

    def __init__(self, message: str, words: str, status: int, about_request: bool, filtered: bool):
        super().__init__(message)
        self.words, self.status, self.about_request, self.filtered = words, status, about_request, filtered


class _MayPass(Exception):
    """What went wrong at one attempt. asked: seconds that the server asks to wait; None: it does not say."""

    def __init__(self, problem: str, asked: float | None):
        super().__init__(problem)
        self.asked = asked


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer, JSON. about: the name that the server gave to the request, and the attempt."""

    request_id: str
    content: dict[str, Any]
    about: str

    def error(self, problem: str, advice: str) -> ServerError:
        """The error that this answer cannot be used."""
        return ServerError(f"request {self.request_id}: {problem}{self.about}: {advice}")


class Server:
    """Sends requests to `base_url` with the key from the environment variable `api_key_env`, which is in no message.

    sleep: waits a number of seconds, or until `stop`.

    Raises:
        ServerError: the variable with the key is not set.
        EngineError: the key, the address or a proxy variable cannot be used.
    """

    def __init__(self, settings: EngineSettings):
        name_secret(settings.api_key_env)
        self.settings = settings
        self._stop = threading.Event()
        self.sleep: Callable[[float], Any] = self._stop.wait
        self._limit = RateLimit(settings.requests_per_minute, sleep=lambda seconds: self.sleep(seconds))
        self._proxy = proxy_hint(settings.base_url, os.environ)
        headers = {"Authorization": f"Bearer {read_key(settings.api_key_env, os.environ)}"}
        address = settings.base_url.strip().rstrip("/") + "/"
        try:
            usable = httpx.URL(address).scheme in ("http", "https") and httpx.URL(address).host
        except httpx.InvalidURL:
            usable = False
        if not usable:
            raise EngineError(f"base_url {shown(address, 80)!r} is no address: write it as http://HOST:PORT/v1")
        try:
            self._client = httpx.Client(
                base_url=address, headers=headers, timeout=settings.timeout_s, verify=_certificates()
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise EngineError(
                f"the connection to the server cannot be set up: {shown(str(error))}: check the proxy "
                f"variables ({', '.join(proxy_variables(os.environ)) or 'none is set'})"
            ) from None

    def resume(self) -> None:
        """Let requests go out again after `stop`."""
        self._stop.clear()

    def stop(self) -> None:
        """End the requests that wait for their next attempt: one has failed, so that the others are of no use."""
        self._stop.set()

    def close(self) -> None:
        self._client.close()

    def post(self, request_id: str, path: str, body: dict[str, Any]) -> Answer:
        """The server's answer. Retries what may pass, after Retry-After or a back-off with jitter, and says so.

        Raises:
            Refused: the server will not answer such a request.
            ServerError: it failed at every attempt, or its answer is none of this protocol.
        """
        attempts = self.settings.max_retries + 1
        for attempt in range(1, attempts + 1):
            self._limit.wait()
            if self._stop.is_set():
                raise ServerError(f"request {request_id}: not sent, because another one failed")
            tried = f"attempt {attempt} of {attempts}"
            try:
                return self._answer(request_id, path, body, tried)
            except _MayPass as failure:
                problem = str(failure)
                if attempt < attempts:
                    self._wait(f"request {request_id}: {path}: {problem}, {tried}", failure.asked, attempt)
        times = "1 time" if attempts == 1 else f"{attempts} times"
        raise ServerError(f"request {request_id}: {path} failed {times}, at last with {problem}{self._proxy}")

    def _answer(self, request_id: str, path: str, body: dict[str, Any], tried: str) -> Answer:
        """The server's answer to one attempt.

        Raises:
            _MayPass: another attempt may succeed.
            Refused, ServerError: as `post`; another attempt would fail, too.
        """
        try:
            response = self._client.post(path, json=body)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _MayPass(shown(f"{type(error).__name__}: {error}"), None) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            problem = shown(f"{type(error).__name__}: {error}")
            raise ServerError(f"request {request_id}: {path} cannot be asked, {problem}: check base_url") from None
        asked = retry_after(response.headers.get("Retry-After"))
        content = read_json(response)
        named = request_id_of(response.headers)
        status = status_inside(content) if response.is_success else response.status_code
        if status is not None:
            said = server_words(response.text if content is None else content)
            words = shown(said).rstrip(".")
            problem = "an error inside HTTP 200" if response.is_success else f"HTTP {status}"
            problem += (f": {words}" if words else "") + named
            no_quota = _QUOTA.search(said) is not None
            if (status in RETRIED or (status >= 500 and status != 501)) and not no_quota:
                raise _MayPass(problem, asked)
            advice = setting_advice(said, body, self.settings) if status in (400, 422) else ""
            if no_quota:
                advice = ": no quota is left, which another try would not change"
            if 300 <= status < 400:
                advice = f": base_url leads to another address, {shown(response.headers.get('Location', ''), 80)!r}"
            about_request = bool(advice or _LENGTH.search(said))
            if status == 404 and not advice:
                advice = ": check llm.engine.base_url, which ends in /v1 at most servers, and llm.engine.api_model"
            raise Refused(
                f"request {request_id}: {path} was refused, {problem}, {tried}{advice}{self._proxy}",
                words=words,
                status=status,
                about_request=about_request,
                filtered=_is_filtered(content),
            )
        about = f"{named}, {tried}"
        if isinstance(content, dict):
            return Answer(request_id, content, about)
        text = response.text.lstrip()
        start = f"starting with {shown(text, 80)!r}"
        if content is None and (not text or text[0] in "{["):
            raise _MayPass(f"an answer that was cut off, {start}{named}", asked)
        kind = "not JSON" if content is None else "no JSON object"
        advice = f"check base_url (it ends in /v1){self._proxy}"
        raise ServerError(f"request {request_id}: the answer of {path} is {kind}, {start}{about}: {advice}")

    def _wait(self, failure: str, asked: float | None, attempt: int) -> None:
        longest = self.settings.longest_wait_s
        backoff = min(LONGEST_BACKOFF_S, BACKOFF_S * 2 ** min(attempt - 1, 30)) * random.uniform(0.5, 1)
        wait = min(asked or backoff, longest)
        asks = f" (the server asks for {asked:.0f} s, longest_wait_s is {longest:g})" if (asked or 0) > longest else ""
        # in one write, so that lines of several requests do not mix
        print(f"{failure}, next in {wait:.1f} s{asks}\n", end="", file=sys.stderr, flush=True)
        self.sleep(wait)


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust, read once, because that takes longer than a request."""
    return httpx.create_ssl_context()


def read_key(variable: str, environment: Mapping[str, str]) -> str:
    """The server's key, without blanks and line ends around it.

    Raises:
        ServerError: the variable is not set, or empty.
        EngineError: the key has a character that no HTTP header can hold. The message does not show the key.
    """
    key = environment.get(variable, "").strip()
    if not key:
        raise ServerError(
            f"environment variable {variable} is not set: put the API key there "
            "(any word for a server that asks for none)"
        )
    if wrong := [position for position, letter in enumerate(key, start=1) if not " " <= letter <= "~"]:
        raise EngineError(
            f"environment variable {variable}: character {wrong[0]} of {len(key)} is a control character or not ASCII, "
            "which no HTTP header can hold: copy the key again"
        )
    return key


def one_line(text: str, letters: int = WORDS) -> str:
    """The text on one line, without control characters, cut to a number of letters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= letters else f"{line[:letters]}..."


def shown(text: str, letters: int = WORDS) -> str:
    """The text as a message may show it: without secrets, on one line, cut to a number of letters."""
    return one_line(hidden(text), letters)


def read_json(response: httpx.Response) -> Any:
    """The JSON value of an answer; None if it holds none."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def server_words(content: Any) -> str:
    """What a server says in an answer that is an error: its message and code, or the text as it is."""
    if not isinstance(content, dict):
        return content if isinstance(content, str) else json.dumps(content)
    error = _error_of(content) or content.get("detail") or content.get("message") or content
    if not isinstance(error, dict):
        return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
    message = error.get("message")
    if not isinstance(message, str) or not message:
        return json.dumps(error, ensure_ascii=False)
    codes = dict.fromkeys(c for c in (error.get("code"), error.get("type")) if isinstance(c, str) and c not in message)
    return f"{message} ({', '.join(codes)})" if codes else message


def _error_of(content: Mapping[str, Any]) -> Any:
    """The error that an answer carries, in itself or in its first choice; None without one."""
    if error := content.get("error"):
        return error
    if content.get("object") == "error":
        return dict(content)
    choices = content.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return (first.get("error") or None) if isinstance(first, dict) else None


def _is_filtered(content: Any) -> bool:
    """True for the error by which Azure's servers say that their filter holds back what was asked."""
    error = _error_of(content) if isinstance(content, dict) else None
    return isinstance(error, dict) and error.get("code") == CONTENT_FILTER


def status_inside(content: Any) -> int | None:
    """Status of the error that an answer carries: its own code, else 503 if its words are of what may pass, else 400.

    None without an error.
    """
    if not isinstance(content, dict) or not (error := _error_of(content)):
        return None
    codes = [error.get(name) for name in ("code", "status", "status_code")] if isinstance(error, dict) else []
    for code in codes:
        if not isinstance(code, bool) and re.fullmatch(r"[1-5]\d\d", str(code)):
            return int(code)
    return 503 if _PASSING.search(json.dumps(error)) else 400


def request_id_of(headers: Mapping[str, str]) -> str:
    """The name that the server gave to the request, for its operators; empty without one."""
    name = next((headers[name] for name in _REQUEST_ID if headers.get(name)), "")
    return f" (request id {shown(name, 80)})" if name else ""


def setting_advice(words: str, body: Mapping[str, Any], settings: EngineSettings) -> str:
    """Which setting changes the field of the request that a refusal names; empty if it names none."""
    if _LENGTH.search(words):  # such a message names the fields with limits
        return ""
    field = settings.max_tokens_field
    other = "max_completion_tokens" if field == "max_tokens" else "max_tokens"  # often named as what to send instead
    advice = {
        "top_logprobs": "set llm.engine.top_logprobs to what the server allows",
        "seed": "set llm.engine.seed: null, which sends none",
        field: f"set llm.engine.max_tokens_field: {other}",
        "temperature": "set llm.engine.extra_body: {temperature: ...} to what the server allows",
        **dict.fromkeys(settings.extra_body, "change llm.engine.extra_body"),
    }
    named = [name for name in advice if name in body and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words)]
    return f": {advice[named[0]]}" if named else ""


def retry_after(header: str | None) -> float | None:
    """Seconds to wait by a Retry-After header (a number or a date), up to inf; None if it asks for no readable wait."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError, IndexError, OverflowError, OSError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)


def proxy_variables(environment: Mapping[str, str], schemes: tuple[str, ...] = ("http", "https", "all")) -> list[str]:
    """Environment variables that name a proxy for these schemes."""
    return [
        name for scheme in schemes for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()) if environment.get(name)
    ]


def proxy_hint(address: str, environment: Mapping[str, str]) -> str:
    """What to add to a failure if a proxy variable catches this machine's own address; empty otherwise."""
    try:
        parts = urlsplit(address.strip())
        host = parts.hostname or ""
    except ValueError:
        return ""
    loopback = host in ("localhost", "::1", "0.0.0.0") or host.endswith(".localhost") or re.match(r"127\.", host)
    names = proxy_variables(environment, (parts.scheme, "all"))
    excluded = {"no": environment.get("no_proxy") or environment.get("NO_PROXY") or ""}
    if not loopback or not names or proxy_bypass_environment(host, excluded):
        return ""
    return f"; {names[0]} sends requests to {host} to a proxy: unset it, or set NO_PROXY={host}"
