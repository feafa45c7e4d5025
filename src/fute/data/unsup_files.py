"""Read the lines that U is drawn from: CrossFit's files in two layouts, or a pool in one file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fute.config.unsup import UnsupSettings
from fute.csv_files import read_rows
from fute.data.crossfit_tasks import canonical
from fute.data.rows import BadRow, SourceError, at, read_lines, read_raw_jsonl
from fute.data.sources import Hashes, hashes_now, locks_of, planned_hashes

FEWSHOT_SEED = 100  # the first of CrossFit's five draws; the others repeat many of its lines
DOWNLOADS = ".download"
"""Folder beside the scripts' files while `fute fetch-unsup` fetches; it stays if that is broken off."""
FETCH = "fetch them (`fute fetch-unsup`)"
"""What to do about scripts that are not there."""


class ScriptLines(Mapping[str, list[str]]):
    """Input lines of CrossFit's scripts, read from the disk for each use: the largest have millions."""

    def __init__(self, files: list[Path]) -> None:
        self._files = {path.stem: path for path in files}

    def __getitem__(self, script: str) -> list[str]:
        path = self._files[script]
        return _tsv_inputs(path) if path.suffix == ".tsv" else _jsonl_inputs(path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class UnsupSource(NamedTuple):
    """Input lines of each script or task, the family of each where known, and the lock of the files."""

    tasks: Mapping[str, list[str]]
    families: dict[str, str]
    lock: dict[str, Any]


def read_unsup(settings: UnsupSettings, root: Path) -> UnsupSource:
    """Read the lines of the source, those of `crossfit_full` when they are used.

    Raises SourceError if it is missing, BadRow for a line that cannot be read.
    """
    readers = {"pool": _read_pool, "crossfit_full": _read_full, "crossfit_fewshot": _read_fewshot}
    tasks, families = readers[settings.kind](unsup_files(settings, root))
    return UnsupSource(tasks, families, unsup_identity(settings, root, hashes_now))


def unsup_identity(settings: UnsupSettings, root: Path, hashes: Hashes = planned_hashes) -> dict[str, Any]:
    """Identity of the raw texts: path relative to `root`, sha256 and bytes of every file that is read."""
    return {"kind": settings.kind, "files": locks_of(unsup_files(settings, root), root, hashes)}


def unsup_files(settings: UnsupSettings, root: Path) -> list[Path]:
    """Files that `read_unsup` reads; for a pool the file itself and `tasks.csv` next to it, if any."""
    path = root / settings.path
    if settings.kind == "pool":
        if not path.is_file():
            raise SourceError(f"{path}: there is no such pool of texts; correct unsup.path or data.root")
        families = path.with_name("tasks.csv")
        return [path, families] if families.is_file() else [path]
    patterns = ["*.tsv", "*.jsonl"]
    if settings.kind == "crossfit_fewshot":
        patterns = [f"*/*_{FEWSHOT_SEED}_{split}.tsv" for split in ("train", "dev")]
    files = sorted(file for pattern in patterns for file in path.glob(pattern))
    if not files:
        remedy = f"{FETCH}, or correct" if settings.kind == "crossfit_full" else "correct"
        raise SourceError(f"{path}: no {' or '.join(patterns)} in it; {remedy} unsup.path, unsup.kind or data.root")
    return files


def script_file(folder: Path, script: str) -> Path | None:
    """The file with the lines of a CrossFit script; None if there is none."""
    files = (*folder.glob("*.tsv"), *folder.glob("*.jsonl"))
    return next((path for path in sorted(files) if canonical(path.stem) == canonical(script)), None)


def _read_pool(files: list[Path]) -> tuple[dict[str, list[str]], dict[str, str]]:
    pool = files[0]
    tasks: dict[str, list[str]] = defaultdict(list)
    families: dict[str, str] = {}
    for path in files[1:]:
        for number, entry in read_rows(path):
            if not entry.get("task") or not entry.get("family"):
                raise BadRow(at(path, number), "task, family", "is missing or empty", "fill it in")
            if families.setdefault(entry["task"], entry["family"]) != entry["family"]:
                problem = (
                    f"is {entry['family']!r}, but task {entry['task']!r} was in family {families[entry['task']]!r}"
                )
                raise BadRow(at(path, number), "family", problem, "give each task one family")
    for number, values in read_raw_jsonl(pool):
        for field in ("task", "text"):
            if not isinstance(values.get(field), str) or not values[field].strip():
                raise BadRow(at(pool, number), field, "is missing, empty or not a text", "fill in or remove the row")
        task, family = values["task"], values.get("family")
        if family is not None and families.setdefault(task, family) != family:
            problem = f"is {family!r}, but task {task!r} was in family {families[task]!r} before"
            raise BadRow(at(pool, number), "family", problem, "give each task one family")
        tasks[task].append(values["text"])
    return dict(tasks), families


def _read_full(files: list[Path]) -> tuple[ScriptLines, dict[str, str]]:
    of_script: dict[str, Path] = {}
    for path in files:
        if (other := of_script.setdefault(canonical(path.stem), path)) != path:
            raise SourceError(f"{path}: is the same script as {other.name}; keep one")
    return ScriptLines(files), {}


def _read_fewshot(files: list[Path]) -> tuple[dict[str, list[str]], dict[str, str]]:
    tasks: dict[str, list[str]] = defaultdict(list)
    shots: dict[str, str] = {}
    for path in sorted(files, key=lambda file: (file.parent.name, file.stem.endswith("_dev"))):
        task = path.parent.name
        match = re.fullmatch(re.escape(task) + r"_(\d+)_\d+_(?:train|dev)", path.stem)
        if match is None:
            raise SourceError(f"{path}: is not named {task}_{{k}}_{FEWSHOT_SEED}_{{split}}.tsv; rename or remove it")
        if shots.setdefault(task, match[1]) != match[1]:
            raise SourceError(f"{path}: k is {match[1]} here and {shots[task]} in another file; keep one k per task")
        tasks[task] += _tsv_inputs(path)
    return dict(tasks), {}


def _tsv_inputs(path: Path) -> list[str]:
    """Read column 1 of lines `input TAB output [TAB more outputs]` without header."""
    inputs = []
    for number, line in read_lines(path):
        text, tab, _ = line.partition("\t")
        if not tab:
            raise BadRow(at(path, number), None, "has no tab between input and output", "correct or remove the line")
        inputs.append(text)
    return inputs


def _jsonl_inputs(path: Path) -> list[str]:
    inputs = []
    for number, values in read_raw_jsonl(path):
        if not isinstance(values.get("text"), str):
            raise BadRow(at(path, number), "text", "is missing or not a text", "fill in or remove the row")
        inputs.append(values["text"])
    return inputs
