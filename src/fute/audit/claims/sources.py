"""Values of artifacts for claimed numbers: cells of a table, or what keys of JSON and YAML lead to."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from fute.artifacts import SIDECAR, sha256_file
from fute.audit.claims.file import Claim, Shown
from fute.audit.claims.statements import Statement
from fute.audit.findings import AuditError
from fute.audit.manifest import Entry, Manifest
from fute.audit.paths import RESULTS, ResultsFolder, UnsafePath, inside
from fute.audit.sidecars import RecordError, read_sidecar
from fute.config.strict_yaml import load
from fute.csv_files import read_rows


class Inconclusive(LookupError):
    """The artifact, or the place in it, does not exist; the message names it."""


class NotApplicable(LookupError):
    """The run has nothing that the claim is about: other models, another configuration."""


class Changed(ValueError):
    """An artifact with other bytes than the manifest lists."""


class Project:
    """The current checkout and the results of a run, with which claims are compared. manifest: of that run."""

    def __init__(self, results: ResultsFolder, manifest: Manifest) -> None:
        self.results, self.manifest = results, manifest
        self._table, self._value = (cache(partial(self._read, read)) for read in (_table, _value))

    @property
    def run(self) -> str:
        """Name of the run's configuration."""
        return self.manifest.config.name

    def path(self, name: str) -> Path:
        """A file of the checkout, or of the results as the manifest lists it. Raises Inconclusive, Changed.

        An artifact that the manifest lists as one without a record is used as it is.
        """
        try:
            path = self.results.path(name) if name.startswith(f"{RESULTS}/") else inside(Path(), name)
        except UnsafePath as error:
            raise Inconclusive(str(error)) from None
        if not path.is_file():
            raise Inconclusive(f"{name} is not in this run" if name.startswith(f"{RESULTS}/") else f"no file {name}")
        if not name.startswith(f"{RESULTS}/"):
            return path
        artifact = name.removesuffix(SIDECAR)
        entry = self.manifest.entries.get(artifact)
        if entry is None and artifact not in self.manifest.unrecorded:
            raise Inconclusive(f"{name} is not in the manifest; make one that has it: fute audit manifest")
        if entry is not None and not self._is_listed(name, artifact, entry):
            raise Changed(f"{name}: its bytes are not those of the manifest; for details run: fute audit verify")
        return path

    def _is_listed(self, name: str, artifact: str, entry: Entry) -> bool:
        """Whether an artifact, or its record, is that of its entry in the manifest."""
        if name == artifact:
            return sha256_file(self.results.path(name)) == entry.sha256
        try:
            return read_sidecar(self.results, artifact)[0].record_sha256 == entry.record_sha256
        except RecordError:
            return False

    def find(self, claim: Claim, statement: Statement) -> list[str]:
        """The artifact's value for a statement, reduced as its claim says; of an interval its two ends."""
        shown = claim.shown
        assert shown is not None
        if shown.pointer is not None:
            return [self._pointed(shown, statement)]
        rows = self._rows(claim, shown, statement)
        return [reduced(shown, rows, fill(column, statement)) for column in shown.interval or (shown.column or "",)]

    def _rows(self, claim: Claim, shown: Shown, statement: Statement) -> list[dict[str, str]]:
        file = fill(shown.file, statement)
        table = self._table(file)
        if not table and shown.where:
            raise Inconclusive(f"{file} has no rows")
        chosen = list(table)
        for column, template in shown.where.items():
            if column not in table[0]:
                raise Inconclusive(f"{file} has no column {column}")
            models = list(dict.fromkeys(row[column] for row in table))
            value = fill(template, statement, models)
            if column == claim.model and value not in models:
                raise NotApplicable(f"models differ: the paper's is {value}, {file} has {', '.join(models)}")
            chosen = [row for row in chosen if row[column] == value]
        if not chosen and shown.reduce != "distinct":
            keys = ", ".join(f"{column} {fill(value, statement)}" for column, value in shown.where.items())
            raise Inconclusive(f"{file} has no row with {keys}")
        return chosen

    def _read(self, read: Callable[[Path], Any], name: str) -> Any:
        """What `read` makes of a file. Raises Inconclusive if it is not of the kind that its name says."""
        path = self.path(name)
        try:
            return read(path)
        except (ValueError, yaml.YAMLError) as error:
            raise Inconclusive(f"{name} cannot be read as a table or as JSON or YAML: {error}") from None

    def _pointed(self, shown: Shown, statement: Statement) -> str:
        file, pointer = fill(shown.file, statement), fill(shown.pointer or "", statement)
        value = self._value(file)
        for key in pointer.split("/")[1:]:
            try:
                value = value[key]
            except (LookupError, TypeError):
                raise Inconclusive(f"{file} has nothing at {pointer}") from None
        return str(value)


def _table(path: Path) -> list[dict[str, str]]:
    return [row for _, row in read_rows(path)]


def _value(path: Path) -> Any:
    text = path.read_text(encoding="utf8")
    return json.loads(text) if path.suffix == ".json" else load(text)


class _Fields(Formatter):
    """`{field}` as it is, `{field:id}` as our files write names (`CR all_class` -> `cr-all-class`, `ρ` -> `rho`),
    `{field:ours}` as our id of a model of the paper.
    """

    def __init__(self, models: Sequence[str]) -> None:
        self.models = models

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec == "id":
            return re.sub(r"[ _]", "-", str(value).lower().replace("ρ", "rho"))
        if format_spec == "ours":
            from fute.paper.table3 import paper_models  # loads pandas

            ours = {key: model for model, key in paper_models(self.models).items()}
            return ours.get(str(value), str(value))
        return format(value, format_spec)


def fill(template: str, statement: Statement, models: Sequence[str] = ()) -> str:
    """A template of the claims file with a statement's fields filled in. models: our ids, for `{field:ours}`.

    Raises AuditError for a field that the statement does not have.
    """
    try:
        return _Fields(models).format(template, **statement.fields)
    except (LookupError, ValueError):
        known = ", ".join(sorted(statement.fields)) or "none"
        problem = f"the template {template!r} needs a field that {statement.where} does not fill; it fills {known}"
        raise AuditError(problem) from None


def reduced(shown: Shown, rows: Sequence[Mapping[str, str]], column: str) -> str:
    """One value of the rows' column, as text; empty for an empty cell."""
    names = column.split(",")
    if rows and (missing := [name for name in names if name not in rows[0]]):
        raise Inconclusive(f"{shown.file} has no column {', '.join(missing)}")
    values = [tuple(row[name] for name in names) for row in rows]
    if shown.reduce == "distinct":
        return str(len(set(values)))
    if shown.reduce == "one":
        if len(values) > 1:
            raise Inconclusive(f"{shown.file} has {len(values)} matching rows; the claim needs one")
        return values[0][0]
    mean = math.fsum(float(value) if value else math.nan for (value,) in values) / len(values)
    return "" if math.isnan(mean) else repr(mean)
