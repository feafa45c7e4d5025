"""The openai engine: any OpenAI-compatible server that returns log-probabilities, over plain HTTP.

A server returns the likeliest tokens only and has no tokenizer to use, so probabilities of classes come from the texts
of tokens. They can miss tokens that the other engines see, and can count spellings (a leading blank, a first piece)
that the other engines do not count. With `score: sequence` a vLLM server says how likely each word is as the beginning
of the answer, for one request per word more.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from fute.config.engines import EngineSettings
from fute.llm.engine import (
    EngineError,
    Perplexity,
    ScoreRequest,
    ScoreResult,
    SpellUnavailable,
    check_words,
    starts_reasoning,
)
from fute.llm.scoring import verbalizer_ids
from fute.llm.server import CONTENT_FILTER, Answer, Refused, Server, shown
from fute.llm.token_words import MOST_TOTAL, Token, class_log_scores, returned_probability, token_classes

# Statuses of a server that has no /completions, or not with these fields.
NO_ECHO = {400, 404, 405, 410, 415, 422, 501}

# Fields of vLLM: how likely each token of the prompt was, and a prompt that ends within the model's answer.
PROMPT_LOGPROBS = {"prompt_logprobs": 0}
CONTINUED = {"add_generation_prompt": False, "continue_final_message": True}

T, R = TypeVar("T"), TypeVar("R")


class OpenAIEngine:
    """Chat completions with `top_logprobs` at `base_url`.

    A class of which the server returned no token has an upper bound in place of its score and adds nothing to
    `coverage`. The key comes from the environment variable `api_key_env` and is in no message.

    Raises:
        EngineError: settings are missing, or need something that such a server cannot do.
        ServerError: the variable with the key is not set.
    """

    chunk_size = 64
    prefers_shared_prefix = False

    def __init__(self, settings: EngineSettings, model_path: Path | None = None):
        for name in ("base_url", "api_model"):
            if not getattr(settings, name):
                raise EngineError(f"engine openai needs {name}: set it in the model's engine settings")
        if settings.chat_template != "model":
            raise EngineError("engine openai uses the server's chat template: set chat_template: model")
        self.settings = settings
        self.server = Server(settings)
        self._answered_as: dict[str, None] = {}  # names of models in the answers, in the order in which they came

    def identity(self) -> dict[str, Any]:
        return {
            "engine": "openai",
            "class": type(self).__name__,
            "model": self.settings.api_model,
            "top_logprobs": self.settings.top_logprobs,
            "seed": self.settings.seed,
            "extra_body": self.settings.extra_body,
            "chat_template_sha256": None,
            "bos": "server",
        }

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        check_words(requests, self.settings)
        return self._map(self._score, requests)

    def perplexity(self, texts: Sequence[tuple[str, str]]) -> list[Perplexity]:
        return self._map(self._perplexity, texts)

    def generate(self, prompts: Sequence[tuple[str, str]], max_tokens: int) -> list[str]:
        def ask(prompt: tuple[str, str]) -> str:
            prompt_id, user = prompt
            answer, choice = self._chat(prompt_id, [{"role": "user", "content": user}], max_tokens)
            return content_of(answer, choice)

        return self._map(ask, prompts)

    def close(self) -> None:
        self.server.close()

    def _map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Results in the order of the items. One failed request fails the call, so that no others cost money."""
        self.server.resume()
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                # Until here no request was stopped, so an error is a reason.
                for future in futures:
                    if future in done and future.exception() is not None:
                        raise future.exception()
                return [future.result() for future in futures]
            except BaseException:
                self.server.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _score(self, request: ScoreRequest) -> ScoreResult:
        messages = [{"role": "system", "content": request.system}] if request.system is not None else []
        messages.append({"role": "user", "content": request.user})
        reasoning = reasoning_tokens = truncated = None
        if request.followup is not None:
            answer, choice = self._chat(request.id, messages, self.settings.reasoning_tokens)
            reasoning = content_of(answer, choice)
            self._refuse_reasoning(request.id, reasoning, choice)
            reasoning_tokens = tokens_used(answer, "completion_tokens")
            truncated = choice.get("finish_reason") == "length"
            messages.append({"role": "assistant", "content": reasoning})
            messages.append({"role": "user", "content": request.followup})
        answer, choice = self._chat(
            request.id,
            messages,
            self.settings.answer_tokens,
            logprobs=True,
            top_logprobs=self.settings.top_logprobs,
            **(PROMPT_LOGPROBS if self.settings.score == "sequence" else {}),
        )
        text = content_of(answer, choice)
        tokens = [] if says_nothing(choice) else returned_tokens(answer, choice)
        best = max(
            tokens,
            key=lambda token: -math.inf if token.logprob is None else token.logprob,
            default=Token("", b"", None),
        )
        self._refuse_reasoning(request.id, best.text, choice)
        if self.settings.score == "sequence":
            log_scores, seen = self._whole_words(request, messages, answer), (True,) * len(request.classes)
        else:
            log_scores, seen = class_log_scores(tokens, request.classes)
        return ScoreResult(
            id=request.id,
            log_scores=log_scores,
            coverage=sum(math.exp(s) for s, was_seen in zip(log_scores, seen, strict=True) if was_seen),
            text=text,
            top_is_verbalizer=len(token_classes(best, request.classes)) == 1,
            prompt_tokens=tokens_used(answer, "prompt_tokens"),
            seen=seen,
            first_token=writable(best.text),
            reasoning=reasoning,
            reasoning_tokens=reasoning_tokens,
            reasoning_truncated=truncated,
        )

    def _whole_words(self, request: ScoreRequest, messages: list[dict], asked: Answer) -> tuple[float, ...]:
        """Log of the summed probability of each class's words, over all tokens of a word.

        Each word is sent as the beginning of the model's answer, and the server says how likely its tokens were.
        asked: the answer to the messages alone.
        """
        start = prompt_tokens(request.id, asked)
        ids, sums = {"": [token for token, _ in start]}, {}
        for word in (word for words in request.classes for word in words):
            begun = [*messages, {"role": "assistant", "content": word}]
            answer, _ = self._chat(request.id, begun, 1, **PROMPT_LOGPROBS, **CONTINUED)
            tokens = prompt_tokens(request.id, answer)
            ids[word] = [token for token, _ in tokens]
            path = tokens[len(start) :]
            sums[tuple(token for token, _ in path)] = sum(logprob for _, logprob in path)
        try:
            classes = verbalizer_ids(ids.__getitem__, "", request.classes, "sequence")
        except EngineError as error:
            raise EngineError(f"request {request.id}: {error}") from None
        return tuple(float(np.logaddexp.reduce([sums[tuple(path)] for path in paths])) for paths in classes)

    def _refuse_reasoning(self, request_id: str, text: str, choice: Mapping[str, Any]) -> None:
        """Raise EngineError if the model thinks before it answers, in its text or in a field of its own."""
        message = choice["message"]
        thought = message.get("reasoning_content") or message.get("reasoning")
        if not starts_reasoning(text) and not (thought and not message.get("content")):
            return
        sign = repr(shown(text, 40)) if starts_reasoning(text) else "a reasoning of its own, and no text"
        raise EngineError(
            f"request {request_id}: model {self.settings.api_model} answers with {sign}: a reasoning model, whose "
            "first token is no answer. Switch its thinking off with llm.engine.extra_body, such as "
            "{chat_template_kwargs: {enable_thinking: false}} or {reasoning_effort: none}, or take another model"
        )

    def _chat(
        self, request_id: str, messages: list[dict], max_tokens: int, **options: Any
    ) -> tuple[Answer, dict[str, Any]]:
        """The answer to a chat completion, and its first choice, which has a message; without a word if the server's
        filter refuses the text."""
        body = {"messages": messages, self.settings.max_tokens_field: max_tokens, **options}
        try:
            answer = self._post(request_id, "chat/completions", body)
        except Refused as error:
            if error.filtered:
                choice = {"message": {"content": None}, "finish_reason": CONTENT_FILTER}
                return Answer(request_id, {"choices": [choice]}, ""), choice
            if "prompt_logprobs" not in body or error.status not in NO_ECHO or error.about_request:
                raise
            raise no_whole_words(request_id, f"it says {error.words!r} (HTTP {error.status})") from None
        choice = first_choice(answer)
        if choice is None or not isinstance(choice.get("message"), dict):
            lacking = "'choices'" if choice is None else "'message' in its choice"
            start = shown(json.dumps(answer.content), 80)
            raise answer.error(f"the server's answer has no {lacking}, starting with {start!r}", "check base_url")
        self._note_model(request_id, answer.content.get("model"))
        return answer, choice

    def _note_model(self, request_id: str, name: Any) -> None:
        """Warn of each further name of the model that answers: labels of two models make no black box."""
        if not isinstance(name, str) or name in self._answered_as:
            return
        self._answered_as[name] = None
        if len(self._answered_as) > 1:
            names = ", ".join(repr(shown(each, 80)) for each in self._answered_as)
            print(
                f"warning: request {request_id}: the server answers as {names}; if these are several models, their "
                "labels are mixed: have it serve one, delete the model's folder in results/labels, and run again\n",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def _post(self, request_id: str, path: str, body: dict[str, Any]) -> Answer:
        body |= {"model": self.settings.api_model, "temperature": 0}
        if self.settings.seed is not None:
            body["seed"] = self.settings.seed
        return self.server.post(request_id, path, body | self.settings.extra_body)

    def _perplexity(self, text: tuple[str, str]) -> Perplexity:
        text_id, prompt = text
        body = {"prompt": prompt, "max_tokens": 1, "echo": True, "logprobs": 1}
        try:
            answer = self._post(text_id, "completions", body)
        except Refused as error:
            if error.status not in NO_ECHO or error.about_request:
                raise
            raise no_spell(text_id, f"it says {error.words!r} (HTTP {error.status})") from None
        return Perplexity(text_id, *prompt_likelihood(text_id, answer))


def no_spell(text_id: str, reason: str) -> SpellUnavailable:
    """The error that SPELL cannot be had from a server."""
    return SpellUnavailable(
        f"text {text_id}: SPELL needs /completions with echo and logprobs, and this server does not give the "
        f"log-probabilities of a prompt: {reason}. Leave SPELL out, or use engine vllm"
    )


def no_whole_words(request_id: str, reason: str) -> EngineError:
    """The error that a server cannot score words of several tokens."""
    return EngineError(
        f"request {request_id}: score: sequence needs the log-probabilities of a prompt (prompt_logprobs), which a "
        f"vLLM server gives, and this one does not: {reason}. Use score: first_token, or engine transformers or vllm"
    )


def prompt_tokens(request_id: str, answer: Answer) -> list[tuple[int, float]]:
    """(id, log-probability) of each token of the prompt that an answer is to; of the first one, 0.

    Raises EngineError if the server gives none, or others than those of the prompt's own tokens.
    """
    given = answer.content.get("prompt_logprobs")
    if not isinstance(given, list) or not given:
        raise no_whole_words(request_id, "its answer has no prompt_logprobs")
    tokens = [] if given[0] is not None else [(-1, 0.0)]
    for entry in given[len(tokens) :]:
        ((token, value),) = entry.items() if isinstance(entry, dict) and len(entry) == 1 else ((None, None),)
        logprob = value.get("logprob") if isinstance(value, dict) else None
        if token is None or not str(token).isdecimal() or type(logprob) not in (int, float) or math.isnan(logprob):
            raise no_whole_words(request_id, "its prompt_logprobs are not one token and its log-probability per place")
        tokens.append((int(token), float(logprob)))
    return tokens


def prompt_likelihood(text_id: str, answer: Answer) -> tuple[float, int]:
    """(mean negative log-likelihood, predicted tokens) of the prompt that an answer to a request with echo repeats.

    The log-probabilities are those of all prompt tokens, the first of which has none, and perhaps of the generated one.

    Raises:
        SpellUnavailable: they are others.
        EngineError: the prompt has one token only.
    """
    logprobs = (first_choice(answer) or {}).get("logprobs")
    values = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    if not isinstance(values, list) or not values:
        raise no_spell(text_id, "its answer has no logprobs.token_logprobs")
    length = tokens_used(answer, "prompt_tokens")
    if not length:
        raise no_spell(text_id, "its answer does not say how many tokens the prompt has (usage.prompt_tokens)")
    if not length <= len(values) <= length + 1:
        raise no_spell(
            text_id, f"it returned {len(values)} of them for a prompt of {length} tokens, so echo is ignored"
        )
    if values[0] is not None:
        raise no_spell(text_id, "the first one, which no token precedes, is a number, so these are of other tokens")
    predicted = values[1:length]
    if not predicted:
        raise EngineError(f"text {text_id} has 1 token(s): nothing is predicted in it")
    if any(isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) for v in predicted):
        raise no_spell(text_id, "one of them is no finite number")
    return -sum(predicted) / len(predicted), len(predicted)


def first_choice(answer: Answer) -> dict[str, Any] | None:
    """The first choice of an answer; None without one."""
    choices = answer.content.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def tokens_used(answer: Answer, kind: Literal["prompt_tokens", "completion_tokens"]) -> int | None:
    """Number of tokens that the server read or wrote; None where it does not tell."""
    usage = answer.content.get("usage")
    number = usage.get(kind) if isinstance(usage, dict) else None
    return number if type(number) is int and number >= 0 else None


def content_of(answer: Answer, choice: Mapping[str, Any]) -> str:
    """The text of a choice; empty for null. Raises ServerError for content of another kind."""
    content = choice["message"].get("content")
    if content is not None and not isinstance(content, str):
        raise answer.error(f"the answer's content is a {type(content).__name__}, no text", "use another server")
    return writable(content or "")


def writable(text: str) -> str:
    """The text without halves of surrogate pairs, which cannot be written in UTF-8."""
    return text.encode(errors="replace").decode()


def says_nothing(choice: Mapping[str, Any]) -> bool:
    """True for an answer that ended before its first token, or was held back, so that there is no token to list.

    A server that gives no log-probabilities at all has words without them, or no list of tokens.
    """
    logprobs = choice.get("logprobs")
    listed = logprobs.get("content") if isinstance(logprobs, dict) else None
    return not choice["message"].get("content") and (listed == [] or choice.get("finish_reason") == CONTENT_FILTER)


def returned_tokens(answer: Answer, choice: Mapping[str, Any]) -> list[Token]:
    """The likeliest next tokens in a choice, with the one that was chosen, which some servers do not list.

    Raises:
        ServerError: there are none with a log-probability, or they are numbers of tokens in place of texts, or these
            are no log-probabilities.
    """
    try:
        first = choice["logprobs"]["content"][0]
        tokens = list(filter(None, map(Token.read, first["top_logprobs"])))
    except (KeyError, IndexError, TypeError):
        tokens = []
    if all(token.logprob is None for token in tokens):
        raise answer.error("the server returned no top_logprobs", "use a model and a server that return them")
    chosen = Token.read(first)
    if (
        chosen
        and chosen.logprob is not None
        and not any(token.exact == chosen.exact or token.logprob == chosen.logprob for token in tokens)
    ):
        tokens.append(chosen)
    if ids := [token.text for token in tokens if token.is_id]:
        raise answer.error(
            f"the server returned numbers of tokens ({ids[0]}) in place of their texts",
            "start it without the option --return-tokens-as-token-ids",
        )
    if (total := returned_probability(tokens)) > MOST_TOTAL:
        raise answer.error(
            f"the probabilities of the returned tokens add up to {total:.4g}",
            "use a server that returns natural log-probabilities, each token once",
        )
    return tokens
