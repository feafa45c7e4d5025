"""Class scores from the probabilities of verbalizers (FUTE, section 3.3: LLM outputs as labels).

The score of a class is the log of the summed probability of its verbalizers, from raw next-token log-probabilities
without penalties. Class probabilities are the normalised scores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fute.config.engines import EngineSettings
from fute.llm.engine import EngineError, PromptTokenizer, ScoreRequest, ScoreResult, check_words, starts_reasoning

TokenIds = list[int]
ClassIds = list[list[TokenIds]]

# The tokens of a verbalizer depend on the text right before it, but no further back than this: neither a piece of a
# pre-tokeniser nor a merge of a vocabulary entry is longer.
CONTEXT_CHARACTERS = 128

# Tokens whose log-probabilities vLLM gives after one prompt: its MAX_LOGPROB_TOKEN_IDS.
MOST_OF_VLLM = 128


def verbalizer_ids(
    tokenize: Callable[[str], TokenIds],
    rendered: str,
    classes: Sequence[Sequence[str]],
    score: Literal["first_token", "sequence"],
) -> ClassIds:
    """Token ids of each class's verbalizers as they continue the prompt `rendered`.

    They are tokens(rendered + verbalizer) without tokens(rendered); with `first_token` only the first one. Within a
    class, a verbalizer that starts with the tokens of another one is dropped, so that no probability counts twice.

    Raises:
        EngineError: a verbalizer merges with the end of the prompt; or verbalizers of two classes start with the same
            tokens, so that the classes cannot be distinguished.
    """
    prompt = tokenize(rendered)
    words: dict[tuple[int, ...], tuple[int, str]] = {}
    ids: ClassIds = []
    for index, verbalizers in enumerate(classes):
        paths: list[tuple[int, ...]] = []
        for word in verbalizers:
            whole = tokenize(rendered + word)
            if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
                raise EngineError(
                    f"verbalizer {word!r} does not start a token of its own after {rendered[-30:]!r}: "
                    "end the prompt with a blank line or a mark, or use the model's chat template"
                )
            path = tuple(whole[len(prompt) :][: 1 if score == "first_token" else None])
            for other, (owner, other_word) in words.items():
                shared = min(len(path), len(other))
                if owner != index and path[:shared] == other[:shared]:
                    raise EngineError(
                        f"verbalizers {other_word!r} and {word!r} of two classes start with the same token(s) "
                        f"{list(path[:shared])}: choose other words"
                        + (", or set score: sequence" if score == "first_token" else "")
                    )
            words[path] = (index, word)
            paths.append(path)
        contained = {p for p in paths for q in paths if p != q and p[: len(q)] == q}
        ids.append([list(path) for path in dict.fromkeys(paths) if path not in contained])
    return ids


def class_log_scores(
    logprobs: Mapping[int, float] | NDArray,
    ids: ClassIds,
    continuations: Mapping[tuple[int, ...], Mapping[int, float]] | None = None,
) -> list[float]:
    """Log of the summed probability of each class's verbalizers, natural log.

    logprobs: next-token log-probabilities after the prompt, by token id. continuations: for verbalizers of several
    tokens, the same after the prompt and the tokens of the key.
    """

    def log_probability(path: TokenIds) -> float:
        rest = (continuations[tuple(path[:k])][path[k]] for k in range(1, len(path)))
        return float(logprobs[path[0]]) + sum(rest)

    return [float(np.logaddexp.reduce([log_probability(path) for path in paths])) for paths in ids]


@dataclass(frozen=True, slots=True)
class NextToken:
    """Log-probabilities of the wanted next tokens, by id, and the greedy answer, starting with the likeliest."""

    logprobs: Mapping[int, float]
    answer: TokenIds


class TokenModel(Protocol):
    """Methods that scoring needs from an engine that takes token ids."""

    def next_tokens(self, prompts: list[TokenIds], wanted: list[TokenIds], answer_tokens: int) -> list[NextToken]:
        """What follows each prompt. wanted: tokens by prompt. answer_tokens: most tokens of the greedy answer."""

    def greedy(self, prompts: list[TokenIds], max_tokens: int) -> list[tuple[TokenIds, bool]]:
        """(new tokens without the end token, True if the limit cut them) for each prompt."""


def score_requests(
    model: TokenModel, prompts: PromptTokenizer, requests: Sequence[ScoreRequest], settings: EngineSettings
) -> list[ScoreResult]:
    """Scores in the order of the requests; those with a chain of thought take one more pass."""
    check_words(requests, settings)
    reasonings = _reason(model, prompts, requests, settings)
    turns = [
        [r.user] if r.followup is None else [r.user, _thought(prompts, *reasonings[i]), r.followup]
        for i, r in enumerate(requests)
    ]
    rendered = [prompts.render(*t, system=r.system) for t, r in zip(turns, requests, strict=True)]
    encoded = prompts.encode(rendered)
    for request, ids in zip(requests, encoded, strict=True):
        prompts.check_length(request.id, ids, settings.answer_tokens)
    classes = _class_ids(prompts, rendered, requests, settings)
    firsts = [sorted({path[0] for paths in c for path in paths}) for c in classes]
    for request, tokens in zip(requests, firsts, strict=True):
        if settings.engine == "vllm" and len(tokens) > MOST_OF_VLLM:
            raise EngineError(
                f"request {request.id}: the words of its classes begin with {len(tokens)} tokens, and vLLM scores "
                f"at most {MOST_OF_VLLM}: give each class fewer words, or take engine transformers"
            )
    steps = model.next_tokens(encoded, firsts, settings.answer_tokens)
    continuations = _continuations(model, encoded, classes)

    results = []
    for i, request in enumerate(requests):
        log_scores = class_log_scores(steps[i].logprobs, classes[i], continuations[i])
        if np.isnan(log_scores).any():
            raise EngineError(
                f"request {request.id}: the model's scores are no numbers (NaN), as where {settings.dtype} is too "
                "narrow for its states: set llm.engine.dtype to bfloat16 or float32"
            )
        first_token = prompts.tokenizer.decode(steps[i].answer[:1])
        if starts_reasoning(first_token):
            raise EngineError(
                f"request {request.id}: the model answers with {first_token!r}: a reasoning model, whose first token "
                "is no answer. Take a model without thinking, or a server that switches it off (engine openai, "
                "llm.engine.extra_body: {chat_template_kwargs: {enable_thinking: false}})"
            )
        tokens, truncated = reasonings.get(i, (None, None))
        results.append(
            ScoreResult(
                id=request.id,
                log_scores=tuple(log_scores),
                coverage=float(np.exp(log_scores).sum()),
                text=prompts.decode(steps[i].answer),
                top_is_verbalizer=steps[i].answer[0] in firsts[i],
                prompt_tokens=len(encoded[i]),
                seen=(True,) * len(log_scores),
                first_token=first_token,
                reasoning=None if tokens is None else turns[i][1],
                reasoning_tokens=None if tokens is None else len(tokens),
                reasoning_truncated=truncated,
            )
        )
    return results


def _reason(
    model: TokenModel, prompts: PromptTokenizer, requests: Sequence[ScoreRequest], settings: EngineSettings
) -> dict[int, tuple[TokenIds, bool]]:
    """Chains of thought (tokens, True if cut), by the number of the request."""
    thinking = {i: r for i, r in enumerate(requests) if r.followup is not None}
    if not thinking:
        return {}
    encoded = prompts.encode([prompts.render(r.user, system=r.system) for r in thinking.values()])
    for request, ids in zip(thinking.values(), encoded, strict=True):
        prompts.check_length(request.id, ids, settings.reasoning_tokens)
    return dict(zip(thinking, model.greedy(encoded, settings.reasoning_tokens), strict=True))


def _thought(prompts: PromptTokenizer, tokens: TokenIds, truncated: bool) -> str:
    """Text of a chain of thought, without the first bytes of a character that the limit cut: written as U+FFFD, they
    would be more tokens than they were, and the longest prompts would not fit."""
    text = prompts.decode(tokens)
    return text.rstrip("\ufffd") if truncated else text


def _class_ids(
    prompts: PromptTokenizer, rendered: list[str], requests: Sequence[ScoreRequest], settings: EngineSettings
) -> list[ClassIds]:
    """Verbalizer ids of every request, computed once for each ending of a prompt, because most prompts share one."""
    by_ending: dict[tuple[str, tuple[tuple[str, ...], ...]], ClassIds] = {}
    result = []
    for text, request in zip(rendered, requests, strict=True):
        key = (text[-CONTEXT_CHARACTERS:], request.classes)
        if key not in by_ending:
            led = [[lead + word for word in words for lead in prompts.leads] for words in request.classes]
            try:
                by_ending[key] = verbalizer_ids(lambda t: prompts.encode([t])[0], text, led, settings.score)
            except EngineError as error:
                raise EngineError(f"request {request.id}: {error}") from None
        result.append(by_ending[key])
    return result


def _continuations(
    model: TokenModel, encoded: list[TokenIds], classes: list[ClassIds]
) -> list[dict[tuple[int, ...], Mapping[int, float]]]:
    """Log-probabilities inside verbalizers of several tokens, with one prompt for each distinct beginning."""
    wanted: dict[tuple[int, tuple[int, ...]], set[int]] = {}
    for i, ids in enumerate(classes):
        for path in (path for paths in ids for path in paths):
            for k in range(1, len(path)):
                wanted.setdefault((i, tuple(path[:k])), set()).add(path[k])
    result: list[dict[tuple[int, ...], Mapping[int, float]]] = [{} for _ in encoded]
    if wanted:
        prompts = [encoded[i] + list(path) for i, path in wanted]
        steps = model.next_tokens(prompts, [sorted(tokens) for tokens in wanted.values()], 1)
        for (i, path), step in zip(wanted, steps, strict=True):
            result[i][path] = step.logprobs
    return result
