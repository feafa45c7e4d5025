"""The claims file resources/claims.yaml: which numbers stand where, and which artifacts they must come from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fute.audit.findings import AuditError
from fute.audit.sidecars import first_problem
from fute.config.strict_yaml import load


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
    """Where the numbers stand: in a table, in a text, or, for a number of the paper's own text, here as `value`.

    file: a CSV or Markdown file. section: heading in a Markdown file, up to the next heading.
    For a table. keys: heading -> name of the field that its cell fills, or a pattern whose groups fill fields
    (`what: '(?P<name>[^(]+)'`). columns: pattern of the headings whose cells hold the numbers; its groups fill fields,
    too. where: field -> pattern that it must match. cell: pattern for a cell; each group is a number, and the group's
    name fills the field `part`.
    For a text. text: pattern; its groups `value`, `value_x`, `value_y` are the numbers, with `x`, `y` as `part`; other
    groups fill fields.
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
            raise ValueError("needs exactly one of columns (of a table), text, value")
        if (self.file is None) != (self.value is not None):
            raise ValueError("a table or a text needs file, a value must not have it")
        return self


class Shown(_Strict):
    """The artifact that a number comes from, and the place in it. `{field}` in texts is a field that `said` filled.

    file: CSV, JSON or YAML.
    For a table. where: column -> value of the rows to use. column: of the number (for `distinct` several, by commas).
    reduce: how the values of several rows become one. interval: the two columns of an interval that must hold the
    number, instead of column.
    For JSON and YAML. pointer: keys that lead to the value, such as `/record/size`.
    scale: factor from the artifact's unit to the printed one.
    """

    file: str
    where: dict[str, str] = {}
    column: str | None = None
    pointer: str | None = None
    reduce: Literal["one", "mean", "distinct"] = "one"
    scale: float = 1.0
    interval: tuple[str, str] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Shown:
        if [self.column, self.interval, self.pointer].count(None) != 2 or (self.pointer is not None and self.where):
            raise ValueError("needs either columns and rows (of a table) or a pointer (of JSON and YAML)")
        return self


class Claim(_Strict):
    """One block of the claims file: all numbers of a table or pattern, and the artifact that they come from.

    kind: `reproduction` compares our numbers with our artifacts, `publication` the paper's numbers with our artifacts.
    runs: names of the configurations that the claim is about; empty: any.
    relative: allowed difference besides rounding, as a share of the printed number.
    model: column of `shown.where` with a model of the paper; a run without that model is no evidence either way.
    suspects: field of `said` with the headings, separated by `|`, of cells that cannot be right as printed.
    not_comparable: why the numbers cannot be compared with any artifact.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")]
    kind: Literal["reproduction", "publication"]
    about: str
    said: Said
    shown: Shown | None = None
    runs: tuple[str, ...] = ()
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
    """Numbers of a text that come from no artifact, by patterns or whole sections, and why."""

    why: str
    patterns: tuple[Pattern, ...] = ()
    sections: tuple[str, ...] = ()


class Claims(_Strict):
    """The file. texts: document -> its numbers without a claim; all its other numbers need one."""

    claims: tuple[Claim, ...]
    texts: dict[str, tuple[Untied, ...]] = {}

    def of(self, ids: tuple[str, ...]) -> Iterator[Claim]:
        """The claims with these ids; without ids, all. Raises AuditError for an unknown id."""
        known = {claim.id for claim in self.claims}
        if unknown := [name for name in ids if name not in known]:
            raise AuditError(f"there is no claim {', '.join(unknown)}; choose from {', '.join(sorted(known))}")
        return (claim for claim in self.claims if not ids or claim.id in ids)


def read_claims(path: Path) -> Claims:
    """Read a claims file. Raises AuditError."""
    try:
        claims = Claims.model_validate(load(path.read_text(encoding="utf8")))
    except FileNotFoundError:
        raise AuditError(f"{path}: does not exist; bring it back: git checkout resources/claims.yaml") from None
    except ValidationError as error:
        raise AuditError(f"{path}: {first_problem(error)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AuditError(f"{path}: {error}") from None
    ids = [claim.id for claim in claims.claims]
    if repeated := sorted({name for name in ids if ids.count(name) > 1}):
        raise AuditError(f"{path}: two claims have the id {', '.join(repeated)}; rename one")
    return claims
