"""The openai engine: any OpenAI-compatible server that returns log-probabilities, over plain HTTP.

A server returns the 20 likeliest tokens and has no tokenizer to use, so probabilities of classes come from the texts of
tokens. They can miss tokens that the other engines see, and can count spellings (a leading blank, a first piece) that
the other engines do not count.
"""

import email.utils
import math
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import numpy as np

from fute.config.engines import EngineSettings
from fute.llm.engine import Perplexity, ScoreRequest, ScoreResult

TOP_LOGPROBS = 20  # the protocol's limit
RETRIED = {408, 409, 429}  # and every 5xx
LEAST_BOUND = 1e-9  # of a class's probability: sums of rounded probabilities are no more exact
BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 60.0

T, R = TypeVar("T"), TypeVar("R")


class RateLimit:
    """Token bucket: at most `per_minute` requests per minute, spread evenly; None: no limit."""

    def __init__(
        self,
        per_minute: int | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
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


class OpenAIEngine:
    """Chat completions with `top_logprobs` at `base_url`.

    `bounded_classes` counts class scores that are only upper bounds, because the server returned no token of the class;
    such a class adds nothing to `coverage`. The key comes from the environment variable `api_key_env` and is in no
    message.

    Raises:
        ValueError: settings are missing, or need something that such a server cannot do.
        RuntimeError: the variable with the key is not set.
    """

    chunk_size = 64
    prefers_shared_prefix = False

    def __init__(self, settings: EngineSettings, model_path: Path | None = None):
        for name in ("base_url", "api_model"):
            if not getattr(settings, name):
                raise ValueError(f"engine openai needs {name}: set it in the model's engine settings")
        if settings.score != "first_token":
            raise ValueError("engine openai sees single tokens only: set score: first_token")
        if settings.chat_template != "model":
            raise ValueError("engine openai uses the server's chat template: set chat_template: model")
        key = os.environ.get(settings.api_key_env)
        if not key:
            raise RuntimeError(
                f"environment variable {settings.api_key_env} is not set: put the API key there "
                "(any word for a server that asks for none)"
            )
        self.settings = settings
        self.bounded_classes = 0
        self._count = threading.Lock()
        self._limit = RateLimit(settings.requests_per_minute)
        self._client = httpx.Client(
            base_url=settings.base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {key}"},
            timeout=settings.timeout_s,
        )

    def identity(self) -> dict[str, Any]:
        return {
            "engine": "openai",
            "class": type(self).__name__,
            "server": urlsplit(self.settings.base_url).hostname,
            "model": self.settings.api_model,
            "top_logprobs": TOP_LOGPROBS,
            "seed": self.settings.seed,
            "chat_template_sha256": None,
            "bos": "server",
        }

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        return self._map(self._score, requests)

    def perplexity(self, texts: Sequence[tuple[str, str]]) -> list[Perplexity]:
        return self._map(self._perplexity, texts)

    def generate(self, prompts: Sequence[tuple[str, str]], max_tokens: int) -> list[str]:
        def answer(prompt: tuple[str, str]) -> str:
            prompt_id, user = prompt
            choice, _ = self._chat(prompt_id, [{"role": "user", "content": user}], max_tokens=max_tokens)
            return choice["message"]["content"] or ""

        return self._map(answer, prompts)

    def close(self) -> None:
        self._client.close()

    def _map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                # One failed request fails the call, so requests that have not started must not cost money.
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _score(self, request: ScoreRequest) -> ScoreResult:
        messages = [{"role": "system", "content": request.system}] if request.system is not None else []
        messages.append({"role": "user", "content": request.user})
        reasoning = reasoning_tokens = truncated = None
        if request.followup is not None:
            choice, usage = self._chat(request.id, messages, max_tokens=self.settings.reasoning_tokens)
            reasoning = choice["message"]["content"] or ""
            reasoning_tokens, truncated = usage["completion_tokens"], choice["finish_reason"] == "length"
            messages.append({"role": "assistant", "content": reasoning})
            messages.append({"role": "user", "content": request.followup})
        choice, usage = self._chat(
            request.id,
            messages,
            max_tokens=self.settings.answer_tokens,
            logprobs=True,
            top_logprobs=TOP_LOGPROBS,
        )
        try:
            top = {t["token"]: float(t["logprob"]) for t in choice["logprobs"]["content"][0]["top_logprobs"]}
        except (KeyError, IndexError, TypeError):
            top = {}
        if not top:
            raise RuntimeError(
                f"request {request.id}: the server returned no top_logprobs: use a model and a server that return them"
            )
        log_scores, seen = class_log_scores(top, request.classes)
        with self._count:
            self.bounded_classes += seen.count(False)
        best = max(top, key=top.__getitem__)
        return ScoreResult(
            id=request.id,
            log_scores=tuple(log_scores),
            coverage=sum(math.exp(s) for s, was_seen in zip(log_scores, seen, strict=True) if was_seen),
            text=choice["message"]["content"] or "",
            top_is_verbalizer=token_class(best, request.classes) is not None,
            prompt_tokens=usage["prompt_tokens"],
            seen=tuple(seen),
            first_token=best,
            reasoning=reasoning,
            reasoning_tokens=reasoning_tokens,
            reasoning_truncated=truncated,
        )

    def _chat(self, request_id: str, messages: list[dict], **options: Any) -> tuple[dict, dict]:
        body = {"messages": messages, **options}
        answer = self._post(request_id, "chat/completions", body)
        try:
            return answer["choices"][0], answer["usage"]
        except (KeyError, IndexError) as error:
            raise RuntimeError(f"request {request_id}: the server's answer has no {error}: check base_url") from error

    def _perplexity(self, text: tuple[str, str]) -> Perplexity:
        text_id, prompt = text
        body = {"prompt": prompt, "max_tokens": 1, "echo": True, "logprobs": 1}
        try:
            answer = self._post(text_id, "completions", body)
            logprobs = answer["choices"][0]["logprobs"]["token_logprobs"][: answer["usage"]["prompt_tokens"]]
        except (RuntimeError, KeyError, IndexError, TypeError) as error:
            raise RuntimeError(
                f"text {text_id}: SPELL needs /completions with echo and logprobs, and this server did not "
                f"answer such a request ({error}): take it from the prompt methods, or use engine vllm"
            ) from error
        predicted = [value for value in logprobs if value is not None]
        if not predicted:
            raise ValueError(f"text {text_id} has {len(logprobs)} token(s): nothing is predicted in it")
        return Perplexity(text_id, -sum(predicted) / len(predicted), len(predicted))

    def _post(self, request_id: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The server's answer. Retries errors that may pass, after Retry-After or a back-off with jitter."""
        body |= {"model": self.settings.api_model, "temperature": 0, "seed": self.settings.seed}
        for attempt in range(self.settings.max_retries + 1):
            self._limit.wait()
            wait = min(LONGEST_BACKOFF_S, BACKOFF_S * 2**attempt) * random.uniform(0.5, 1)
            try:
                response = self._client.post(path, json=body)
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    try:
                        return response.json()
                    except ValueError:
                        raise RuntimeError(
                            f"request {request_id}: the answer of {path} is not JSON, "
                            f"starting with {response.text[:80]!r}: check base_url (it ends in /v1)"
                        ) from None
                problem = f"HTTP {response.status_code}: {response.text[:300]}"
                if response.status_code not in RETRIED and response.status_code < 500:
                    raise RuntimeError(f"request {request_id}: {path} was refused, {problem}")
                asked = retry_after(response.headers.get("Retry-After"))
                wait = wait if asked is None else asked
            if attempt < self.settings.max_retries:
                time.sleep(wait)
        raise RuntimeError(f"request {request_id}: {path} failed {attempt + 1} times, at last with {problem}")


def retry_after(header: str | None) -> float | None:
    """Seconds to wait by a Retry-After header (a number or a date); None without a readable header."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
        except ValueError:
            return None


def token_class(token: str, classes: Sequence[Sequence[str]]) -> int | None:
    """Class of a returned token, or None.

    Without blanks around it, the token is one of the class's verbalizers, or the beginning of verbalizers of this class
    only.
    """
    word = token.strip()
    if not word:
        return None
    for match in (str.__eq__, str.startswith):
        owners = [i for i, words in enumerate(classes) if any(match(v, word) for v in words)]
        if owners:
            return owners[0] if len(owners) == 1 else None
    return None


def class_log_scores(top: dict[str, float], classes: Sequence[Sequence[str]]) -> tuple[list[float], list[bool]]:
    """Class log-scores from the likeliest tokens with their log-probabilities; and True per class with a token.

    A class without a token gets the log of the probability that was not returned: it has at most this.
    """
    by_class: list[list[float]] = [[] for _ in classes]
    for token, logprob in top.items():
        owner = token_class(token, classes)
        if owner is not None:
            by_class[owner].append(logprob)
    bound = math.log(max(1 - sum(map(math.exp, top.values())), LEAST_BOUND))
    scores = [float(np.logaddexp.reduce(logprobs)) if logprobs else bound for logprobs in by_class]
    return scores, [bool(logprobs) for logprobs in by_class]
