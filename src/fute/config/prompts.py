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
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from fute.config import strict_yaml
from fute.config.categories import CategoryEntry
from fute.config.engines import EngineSettings
from fute.config.jinja_form import JinjaError, names_in, render
from fute.config.sections import ConfigError, Id, Section, explain
from fute.config.template_files import TAGS, TemplateError, is_of_another_tool, prompt_entries

FILE_KEYS = {"category", "prompts"}


def unusable_words(classes: Sequence[Sequence[str]], engine: EngineSettings | None) -> str | None:
    """Say why the words of these classes can never be matched or told apart, and what to do; None if they can.

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
    whole = "score: sequence (for one category: its answer: sequence)"
    way = f"with a vLLM server {whole}" if engine.engine == "openai" else whole
    advice = f"choose other words, or {way}"
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


class PromptEntry(Section):
    """One prompt of an LLM: with it, the LLM is one black box."""

    id: Id | None = Field(
        None,
        description="Name of the prompt in paths: lower case, digits, `.`, `-`. `null`: category and number, `sa-3`.",
    )
    number: int | None = Field(
        None,
        ge=1,
        description="Number, from 1, as the paper counts. Of two equal prompts the lowest wins. `null`: the place in "
        "the list; in a run's own list, which may stand beside shipped prompts, counted on from their highest.",
    )
    template: str = Field(
        description="The text, with the category's `segments` in braces: `{text}`, or `{premise}` and `{hypothesis}`."
    )
    form: Literal["braces", "jinja"] = Field(
        "braces",
        description="`jinja`: the template is one of jinja's, with `{{text}}`, filters and conditions, rendered by its "
        "sandbox for each text.",
    )
    verbalizers: dict[str, tuple[str, ...]] | None = Field(
        None, description="Class name -> the words that stand for the class. `null`: the class names."
    )
    cot: bool = Field(
        False, description="Chain of thought: the LLM reasons first, and a second turn asks for the answer."
    )
    note: str | None = Field(
        None, description="How the template differs from the paper's print, or what is odd about it."
    )

    @field_validator("verbalizers")
    @classmethod
    def _words(cls, verbalizers: dict[str, tuple[str, ...]] | None) -> dict[str, tuple[str, ...]] | None:
        if verbalizers is None:
            return None
        if problem := unusable_words(tuple(verbalizers.values()), None):
            raise ValueError(problem)
        owner: dict[str, str] = {}
        for name, words in verbalizers.items():
            if not words:
                raise ValueError(f"class {name} has no word")
            for word in words:
                if owner.setdefault(word.lower(), name) != name:
                    raise ValueError(f"{word!r} stands for {owner[word.lower()]} and for {name}")
        return verbalizers


class Prompt(PromptEntry):
    """A prompt with all that filling it takes: settings of the steps that ask it hold it as it is here.

    segments, classes: those of its category.
    """

    id: Id
    number: int
    category: Id
    segments: tuple[str, ...]
    classes: tuple[str, ...]
    verbalizers: dict[str, tuple[str, ...]]

    @model_validator(mode="before")
    @classmethod
    def _canonical_order(cls, values: Any) -> Any:
        """Classes are named, so their order in a file (or in sorted JSON) does not matter."""
        words, classes = (values.get(key) for key in ("verbalizers", "classes"))
        order = [name for name in classes if name in words]
        order += [name for name in words if name not in order]
        return {**values, "verbalizers": {name: words[name] for name in order}}

    @model_validator(mode="after")
    def _fits_category(self) -> Prompt:
        if set(self.verbalizers) != set(self.classes):
            expected, given = ", ".join(self.classes), ", ".join(self.verbalizers)
            raise ValueError(f"verbalizers must name the classes {expected}, not {given}")
        wanted = self.segments
        try:
            names = template_names(self.template, self.form)
            if self.form == "jinja" and names == set(wanted):
                render(self.template, **{name: "some words of a text." for name in wanted})
        except JinjaError as error:
            raise ValueError(f"template {error}") from None
        text = self.segments[0]
        words = f"; with `form: jinja` the text is {{{{{text}}}}}, and single braces are words"
        if unknown := sorted(names - set(wanted)):
            raise ValueError(
                f"template has the unknown placeholder {{{unknown[0]}}}{words if self.form == 'braces' else ''}"
            )
        if missing := [name for name in wanted if name not in names]:
            raise ValueError(f"template has no {{{missing[0]}}}")
        if self.form == "braces" and re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", self.template)):
            raise ValueError(f"template has a single brace, and braces are only for {{{text}}}{words}")
        return self

    @property
    def shown(self) -> str:
        """The template as people read it: with the names of the texts in braces."""
        try:
            return fill(self, [f"{{{name}}}" for name in self.segments])
        except ConfigError:  # jinja that such words do not fit
            return self.template


def template_names(template: str, form: Literal["braces", "jinja"] = "braces") -> set[str]:
    """Names of the texts that stand in a template. Raises JinjaError."""
    return names_in(template) if form == "jinja" else set(re.findall(r"\{([^{}]*)\}", template))


def load_prompts(path: Path, category: str, entry: CategoryEntry) -> list[Prompt]:
    """The prompts of a YAML file with the keys `category` and `prompts`, sorted by number.

    category, entry: the id and the registry entry of the category that the file must be of.
    Raises ConfigError, naming file, entry and key, for YAML that does not parse, another category, an entry that does
    not fit `PromptEntry` or the category, and an id or number that is given twice.
    """
    content = _content(path)
    if not isinstance(content, dict) or set(content) != FILE_KEYS:
        raise ConfigError(f"{path}: must hold the keys category and prompts, and nothing else")
    _check_category(path, content, category)
    return listed_prompts(content["prompts"], category, entry, f"{path}", f"{path}, key prompts")


def own_prompts(path: Path, category: str, entry: CategoryEntry, after: int) -> list[Prompt]:
    """The prompts of a file that a run names: a list of them, or the keys `prompts` and, if it says it, `category`; or
    a file of PromptSource or lm-evaluation-harness (`template_files`).

    after: the highest number that shipped prompts of the category have; prompts without a number follow it.
    Raises ConfigError as `load_prompts` does.
    """
    content = prompt_list(path, entry.classes)
    if isinstance(content, dict):
        if "prompts" not in content or not set(content) <= FILE_KEYS:
            raise ConfigError(f"{path}: must hold a list of prompts, or the keys category and prompts")
        _check_category(path, content, category)
        content = content["prompts"]
    return listed_prompts(content, category, entry, f"{path}", f"{path}", after)


def prompt_list(path: Path, classes: Sequence[str]) -> Any:
    """The content of a file of prompts; of a file of another tool, the list of its prompts in our form.

    classes: class names in the order of the labels. Raises ConfigError.
    """
    content = _content(path, TAGS)
    if not is_of_another_tool(content):
        return content
    try:
        return prompt_entries(content, classes)
    except TemplateError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def _content(path: Path, tags: Sequence[str] = ()) -> Any:
    try:
        return strict_yaml.load(path.read_text(encoding="utf-8"), tags)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a file of prompts that can be read") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 ({error.reason}); save it as UTF-8") from None
    except (yaml.YAMLError, RecursionError) as error:
        remedy = "correct it; a template with a colon, or with braces at its beginning, must stand in quotes"
        raise ConfigError(f"{path}: is not YAML: {error}; {remedy}") from error


def _check_category(path: Path, content: dict[str, Any], category: str) -> None:
    if content.get("category", category) != category:
        raise ConfigError(f"{path}: is of category {content['category']!r}, not {category!r}; correct it there")


def listed_prompts(
    entries: Any, category: str, entry: CategoryEntry, where: str, list_at: str, after: int = 0
) -> list[Prompt]:
    """Check a list of prompts against their category; sorted by number.

    where, list_at: place of the entries, and of their list, in errors. after: number that those without one follow.
    Raises ConfigError.
    """
    if not isinstance(entries, list | tuple) or not entries:
        raise ConfigError(f"{list_at}: must be a list with at least one prompt")
    prompts = [
        _prompt(f"{where}, entry {position}", after + position, category, entry, each)
        for position, each in enumerate(entries, start=1)
    ]
    check_apart(prompts, where)
    return sorted(prompts, key=lambda prompt: prompt.number)


def check_apart(prompts: Sequence[Prompt], where: str) -> None:
    """Raise ConfigError for an id or a number that two prompts of a category have."""
    for key in ("id", "number"):
        (value, times), *_ = Counter(getattr(prompt, key) for prompt in prompts).most_common(1)
        if times > 1:
            raise ConfigError(f"{where}: {key} {value!r} is given to {times} prompts; number them apart")


def _prompt(where: str, number: int, category: str, of: CategoryEntry, values: Any) -> Prompt:
    if isinstance(values, PromptEntry):
        values = values.model_dump(exclude_unset=True)
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: must be a mapping with the key template, such as `- template: ... {{text}}`")
    where = f"{where} ({values.get('id', 'without id')})"
    try:
        entry = PromptEntry.model_validate(values)
        number = number if entry.number is None else entry.number
        made = {"category": category, "segments": of.segments, "classes": of.classes, "number": number}
        made["id"] = entry.id or f"{category}-{number}"
        made["verbalizers"] = entry.verbalizers or {name: (name,) for name in of.classes}
        return Prompt.model_validate(entry.model_dump() | made)
    except ValidationError as error:
        problems = [f"{where}{', key ' + key if key else ''}: {what}" for key, what in explain(error, PromptEntry)]
        raise ConfigError("\n".join(problems)) from None


def fill(prompt: Prompt, segments: Sequence[str]) -> str:
    """The template with the text(s) in it, character for character; braces inside a text stay as they are.

    Raises ConfigError for a template of jinja's that cannot be filled with these texts, or gives no words for them.
    """
    values = dict(zip(prompt.segments, segments, strict=True))
    if prompt.form == "jinja":
        try:
            filled = render(prompt.template, **values)
        except JinjaError as error:
            raise ConfigError(f"prompt {prompt.id}: its template {error} ({_start(segments)}); correct it") from None
        if not filled:
            raise ConfigError(
                f"prompt {prompt.id}: its template gives no words for {_start(segments)}; give it some for every text"
            )
        return filled
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], prompt.template)


def _start(segments: Sequence[str]) -> str:
    return f"the text that begins {segments[0][:40]!r}"


def answer_line(prompt: Prompt) -> str:
    """The line below the filled template: what the model is to answer with."""
    if prompt.cot:
        return f"First explain your reasoning, then give your final answer as one of: {_words(prompt)}."
    return f"Answer{_in_lower_case(prompt)} without explanation, with one of: {_words(prompt)}."


def user_message(prompt: Prompt, segments: Sequence[str]) -> str:
    """The whole first user turn: filled template, line break, answer line."""
    return f"{fill(prompt, segments)}\n{answer_line(prompt)}"


def followup(prompt: Prompt) -> str | None:
    """The second user turn of a chain-of-thought prompt, which asks for the bare answer; None for others."""
    if not prompt.cot:
        return None
    return f"Now give only your final answer,{_in_lower_case(prompt)} without explanation, as one of: {_words(prompt)}."


def _in_lower_case(prompt: Prompt) -> str:
    """What asks for lower case; nothing if a class has no such word, since words are compared letter by letter."""
    lower = (any(word == word.lower() for word in words) for words in prompt.verbalizers.values())
    return " in lower case," if all(lower) else ""


def _words(prompt: Prompt) -> str:
    return ", ".join(word for words in prompt.verbalizers.values() for word in words)
