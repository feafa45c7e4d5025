"""The claims file: which numbers are said where, and what they must be. See resources/claims.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fute.audit.findings import INCOMPLETE
from fute.config.strict_yaml import load


class ClaimsError(ValueError):
    """A claims file that cannot be read, or whose claim does not fit the table or text that it speaks of."""

    exit_code = INCOMPLETE


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Said(_Strict):
    """Where numbers stand: in a table, in a text, or in the paper's text as `value`.

    file: a CSV file, or a Markdown file with section (the heading that it stands under).
    Of a table: keys, heading -> name of the field that it fills (a pattern may follow: `what: '(?P<name>[^(]+)'`);
    columns, a pattern of the headings whose cells are numbers, its groups fill fields, too; where, field -> pattern
    that it must match; cell, a pattern of what in a cell is said, each group a number, its name the field `part`.
    Of a text: text, a pattern; its groups `value`, `value_x`, `value_y` are the numbers, with `x`, `y` as `part`; the
    others fill fields. value: a number of the paper's own text.
    """

    file: str | None = None
    section: str | None = None
    keys: dict[str, str] = {}
    columns: Pattern | None = None
    cell: Pattern = r"(?P<value>.*)"
    where: dict[str, Pattern] = {}
    text: Pattern | None = None
    value: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Said:
        if [self.columns, self.text, self.value].count(None) != 2:
            raise ValueError("needs exactly one of columns (a table), text, value")
        if (self.file is None) != (self.value is not None):
            raise ValueError("a table or a text is in a file, a value is not")
        return self


class Shown(_Strict):
    """The artifact that a number comes from, and where in it. Templates `{field}` are filled from what is said.

    file: CSV, TSV, JSON or YAML; one with `*` stands for all files that match.
    Of a table: where, column -> value that picks its rows; column (several, by commas, for `distinct`); reduce, what is
    made of the values found. Of JSON and YAML: pointer (RFC 6901), the value there, or `count` of its entries.
    scale: factor between the artifact's unit and the one that is said. interval: columns of an interval that must hold
    the number instead.
    """

    file: str
    where: dict[str, str] = {}
    column: str | None = None
    pointer: str | None = None
    reduce: Literal["one", "mean", "sum", "count", "distinct"] = "one"
    scale: float = 1.0
    interval: tuple[str, str] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Shown:
        of_table = self.column is not None or self.interval is not None or bool(self.where)
        if of_table == (self.pointer is not None):
            raise ValueError("needs either columns and rows (of a table) or a pointer (of JSON and YAML)")
        return self


class Claim(_Strict):
    """One block of the claims file: all numbers of a table or pattern, and their source.

    kind: `reproduction`, our numbers and our artifacts; `publication`, the paper's numbers and our artifacts.
    runs: names of the configurations whose runs it speaks of; none: any run, or none at all.
    tolerance, relative: how far apart the numbers may be besides rounding, in the printed unit or as a share.
    model: field of `shown.where` that names a model of the paper: a run without it is no evidence either way.
    suspects: field of `said` that lists the headings, by `|`, of cells that cannot be right as printed.
    not_comparable: why the numbers cannot be held against any artifact.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")]
    kind: Literal["reproduction", "publication"]
    about: str
    said: Said
    shown: Shown | None = None
    runs: tuple[str, ...] = ()
    tolerance: float = 0.0
    relative: float = 0.0
    model: str | None = None
    suspects: str | None = None
    not_comparable: str | None = None

    @model_validator(mode="after")
    def _compared_or_not(self) -> Claim:
        if (self.shown is None) == (self.not_comparable is None):
            raise ValueError("needs either shown or not_comparable")
        return self


class Untied(_Strict):
    """Numbers of a text that no artifact speaks for: patterns of them, or whole sections, and why."""

    why: str
    patterns: tuple[Pattern, ...] = ()
    sections: tuple[str, ...] = ()


class Claims(_Strict):
    """The file. texts: documents of which every number must be claimed or named as untied -> those that are untied."""

    claims: tuple[Claim, ...]
    texts: dict[str, tuple[Untied, ...]] = {}

    def of(self, ids: tuple[str, ...]) -> Iterator[Claim]:
        """The claims with these ids, or all. Raises ClaimsError for an id that there is not."""
        known = {claim.id for claim in self.claims}
        if unknown := [name for name in ids if name not in known]:
            raise ClaimsError(f"no claim {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return (claim for claim in self.claims if not ids or claim.id in ids)


def read_claims(path: Path) -> Claims:
    """The claims of a file. Raises ClaimsError."""
    try:
        found = Claims.model_validate(load(path.read_text(encoding="utf8")))
    except FileNotFoundError:
        raise ClaimsError(f"{path}: is not there; the repository has it") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ClaimsError(f"{path}: {'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ClaimsError(f"{path}: {error}") from None
    ids = [claim.id for claim in found.claims]
    if repeated := sorted({name for name in ids if ids.count(name) > 1}):
        raise ClaimsError(f"{path}: two claims are called {', '.join(repeated)}")
    return found
