"""What all parts of the configuration are made of: sections without unknown keys, ids, and the error."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

ID = re.compile(r"[a-z0-9][a-z0-9.-]*")


def is_id(name: str) -> str:
    """The name itself. Raises ValueError for one that cannot stand in a path."""
    if not ID.fullmatch(name):
        raise ValueError(f"{name!r} is no id: use lower-case letters, digits, '.' and '-', a letter or digit first")
    return name


Id = Annotated[str, AfterValidator(is_id)]


class Section(BaseModel):
    """Part of the configuration; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ConfigError(ValueError):
    """The configuration cannot be used; says which file and key, and what is wrong."""
