"""Prompts: templates with verbalizers, read from YAML, filled with a text.

An LLM with one prompt is one model M. The model sees the filled template and, below it, a line that asks for
one of the verbalizers; a chain-of-thought prompt asks for reasoning first and gets a second turn that asks
for the bare answer. The form is the authors' (repository xnyuwg/fute), the wording of these lines is ours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from fute.config import strict_yaml
from fute.config.categories import CLASSES, ENTRIES, Category
from fute.config.engines import EngineSettings
from fute.config.sections import Id, Section, explain

PLACEHOLDERS = {name: entry.segments for name, entry in ENTRIES.items()}
FILE_KEYS = {"category", "prompts"}


class PromptError(ValueError):
    """A prompt file that cannot be used. The message names file, entry and key."""


def unusable_words(classes: Sequence[Sequence[str]], engine: EngineSettings | None) -> str | None:
    """Why the words of these classes can never be matched or told apart, and what to do; None if they can.

    engine: None for what holds with every engine. Words that share their first token with one tokenizer only are found
    by the engines that have it.
    """
    for word in (word for words in classes for word in words):
        if not word.strip():
            return f"{word!r} is an empty word, which no answer is: give a word"
        if word != word.strip():
            return f"{word!r} has blanks around it, and answers are compared without: write {word.strip()!r}"
    if engine is None or engine.score == "sequence":
        return None
    advice = "choose other words" + (
        ", or engine transformers or vllm with score: sequence" if engine.engine == "openai" else ", or score: sequence"
    )
    for one, other in permutations(classes, 2):
        for a, b in product(one, other):
            if _first_piece(a) == _first_piece(b):
                return (
                    f"{a!r} and {b!r} of different classes begin with the same word {_first_piece(a)!r}, and classes "
                    f"are told apart by the first token: {advice}"
                )
            if engine.engine == "openai" and b.startswith(a):
                return (
                    f"{b!r} begins with {a!r}, a word of another class, and a server shows one token, which may be all "
                    f"of one or the beginning of the other: {advice}"
                )
    return None


def _first_piece(word: str) -> str:
    """The first word, or the marks before it: no token reaches further."""
    match = re.match(r"\w+|[^\w\s]+", word)
    return match[0] if match else word


class Prompt(Section):
    """One prompt of an LLM: with it, the LLM is one black box."""

    id: Id = Field(description="Name of the prompt in paths: lower case, digits, `.` and `-`.")
    number: int = Field(ge=1, description="Number, from 1, as the paper counts. Of two equal prompts the lowest wins.")
    category: Category = Field(description="An id of `config/categories.yaml`: that of the file.")
    template: str = Field(
        description="The text, with the category's `segments` in braces: `{text}`, or `{premise}` and `{hypothesis}`."
    )
    verbalizers: dict[str, tuple[str, ...]] = Field(
        description="Class name -> the words that stand for the class. Not given: the class names."
    )
    cot: bool = Field(
        False, description="Chain of thought: the LLM reasons first, and a second turn asks for the answer."
    )
    note: str | None = Field(
        None, description="How the template differs from the paper's print, or what is odd about it."
    )

    @field_validator("verbalizers")
    @classmethod
    def _words(cls, verbalizers: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        owner: dict[str, str] = {}
        for name, words in verbalizers.items():
            if not words or any(not word.strip() for word in words):
                raise ValueError(f"class {name} has no word, or an empty one")
            for word in words:
                if owner.setdefault(word.lower(), name) != name:
                    raise ValueError(f"{word!r} stands for {owner[word.lower()]} and for {name}")
        if problem := unusable_words(tuple(verbalizers.values()), None):
            raise ValueError(problem)
        return verbalizers

    @model_validator(mode="before")
    @classmethod
    def _canonical_order(cls, values: Any) -> Any:
        """Classes are named, so their order in a file (or in sorted JSON) does not matter."""
        if isinstance(values, dict) and "verbalizers" not in values and values.get("category") in CLASSES:
            values = {**values, "verbalizers": {name: (name,) for name in CLASSES[values["category"]]}}
        words = values.get("verbalizers") if isinstance(values, dict) else None
        if isinstance(words, dict) and values.get("category") in CLASSES:
            order = [name for name in CLASSES[values["category"]] if name in words]
            order += [name for name in words if name not in order]
            values = {**values, "verbalizers": {name: words[name] for name in order}}
        return values

    @model_validator(mode="after")
    def _fits_category(self) -> Prompt:
        if set(self.verbalizers) != set(CLASSES[self.category]):
            expected, given = ", ".join(CLASSES[self.category]), ", ".join(self.verbalizers)
            raise ValueError(f"verbalizers must name the classes {expected}, not {given}")
        names = re.findall(r"\{([^{}]*)\}", self.template)
        rest = re.sub(r"\{[^{}]*\}", "", self.template)
        wanted = PLACEHOLDERS[self.category]
        if unknown := [name for name in names if name not in wanted]:
            raise ValueError(f"template has the unknown placeholder {{{unknown[0]}}}")
        if missing := [name for name in wanted if name not in names]:
            raise ValueError(f"template has no {{{missing[0]}}}")
        if "{" in rest or "}" in rest:
            raise ValueError("template has a single brace")
        return self


def load_prompts(path: Path) -> list[Prompt]:
    """The prompts of a YAML file with the keys `category` and `prompts`, sorted by number.

    Raises PromptError, naming file, entry and key, for YAML that does not parse, an entry that does not fit
    `Prompt`, and an id or number that is given twice.
    """
    try:
        content = strict_yaml.load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PromptError(f"{path}: is not YAML: {error}") from error
    if not isinstance(content, dict) or set(content) != FILE_KEYS:
        raise PromptError(f"{path}: must hold the keys category and prompts, and nothing else")
    if not isinstance(content["prompts"], list) or not content["prompts"]:
        raise PromptError(f"{path}, key prompts: must be a list with at least one prompt")
    prompts = [
        _prompt(path, position, content["category"], entry)
        for position, entry in enumerate(content["prompts"], start=1)
    ]
    for key in ("id", "number"):
        (value, times), *_ = Counter(getattr(prompt, key) for prompt in prompts).most_common(1)
        if times > 1:
            raise PromptError(f"{path}: {key} {value!r} is given to {times} prompts; number them apart")
    return sorted(prompts, key=lambda prompt: prompt.number)


def _prompt(path: Path, position: int, category: Any, entry: Any) -> Prompt:
    if not isinstance(entry, dict):
        raise PromptError(f"{path}, entry {position}: must be a mapping with id, number, template, verbalizers")
    where = f"{path}, entry {position} ({entry.get('id', 'without id')})"
    try:
        return Prompt.model_validate({"category": category} | entry)
    except ValidationError as error:
        problems = [f"{where}{', key ' + key if key else ''}: {what}" for key, what in explain(error, Prompt)]
        raise PromptError("\n".join(problems)) from None


def fill(prompt: Prompt, segments: Sequence[str]) -> str:
    """The template with the text(s) in it, character for character; braces inside a text stay as they are."""
    values = dict(zip(PLACEHOLDERS[prompt.category], segments, strict=True))
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], prompt.template)


def answer_line(prompt: Prompt) -> str:
    """The line below the filled template: what the model is to answer with."""
    if prompt.cot:
        return f"First explain your reasoning, then give your final answer as one of: {_words(prompt)}."
    return f"Answer in lower case, without explanation, with one of: {_words(prompt)}."


def user_message(prompt: Prompt, segments: Sequence[str]) -> str:
    """The whole first user turn: filled template, line break, answer line."""
    return f"{fill(prompt, segments)}\n{answer_line(prompt)}"


def followup(prompt: Prompt) -> str | None:
    """The second user turn of a chain-of-thought prompt, which asks for the bare answer; None for others."""
    if not prompt.cot:
        return None
    return f"Now give only your final answer, in lower case, without explanation, as one of: {_words(prompt)}."


def _words(prompt: Prompt) -> str:
    return ", ".join(word for words in prompt.verbalizers.values() for word in words)
