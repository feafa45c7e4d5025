"""What all parts of the configuration are made of: sections without unknown keys, ids, and the error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, WithJsonSchema

ID = re.compile(r"[a-z0-9][a-z0-9.-]*")


def is_id(name: str) -> str:
    """The name itself. Raises ValueError for one that cannot stand in a path."""
    if not ID.fullmatch(name):
        raise ValueError(f"{name!r} is no id: use lower-case letters, digits, '.' and '-', a letter or digit first")
    return name


Id = Annotated[str, AfterValidator(is_id), WithJsonSchema({"type": "string", "pattern": f"^{ID.pattern}$"})]


class Section(BaseModel):
    """Part of the configuration; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ConfigError(ValueError):
    """The configuration cannot be used; says which file and key, and what is wrong."""


def explain(error: ValidationError, section: type[BaseModel]) -> list[tuple[str, str]]:
    """(key, what is wrong) of every error in values of a section; for an unknown key also what to write in its place.

    key: its names joined by dots, empty for the section as a whole.
    """
    problems = []
    for item in error.errors():
        unknown = item["type"] == "extra_forbidden"
        what = _unknown_key(item["loc"], section) if unknown else item["msg"].removeprefix("Value error, ")
        if item["type"] == "tuple_type":  # what YAML writes as a list
            what = "must be a list, in brackets"
        if item["type"] == "string_type" and isinstance(item["input"], bool | int | float | date | None):
            what = f"{item['input']!r} is no text to YAML; put it in quotes, letter by letter"
        problems.append((".".join(map(str, item["loc"])), what))
    return problems


def refused(error: ValidationError, section: type[BaseModel], where: str) -> ConfigError:
    """The error for values of a section, one line per key. where: their file, for the lines."""
    return ConfigError("\n".join(f"{where}: {key or '(top level)'}: {what}" for key, what in explain(error, section)))


def _unknown_key(place: Sequence[int | str], section: type[BaseModel]) -> str:
    known: set[str] = set()
    sections = [section]
    for part in place[:-1]:
        inner = [kind for each in sections if part in each.model_fields
                 for kind in _sections_in(each.model_fields[str(part)].annotation)]  # fmt: skip
        sections = inner or sections  # a list's index or a mapping's key leads to no other section
    for each in sections:
        known |= set(each.model_fields)
    close = get_close_matches(str(place[-1]), sorted(known), n=1)
    return f"unknown key; did you mean {close[0]}?" if close else f"unknown key; there are {', '.join(sorted(known))}"


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a type names: itself, or those of a union's or container's parts."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections_in(part)
