"""Compare the lock of a run with what its steps have read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fute import paths
from fute.config.run_lock import Locked, RunLock

PLACE = ("source", "repo", "config", "branch", "folder", "package", "version", "file", "server")


def locked_data(value: Mapping[str, Any]) -> Locked:
    """From the identity of a dataset or U (`source_identity`), or from the lock of the files that a step has read."""
    named = ("source", "repo", "config", "branch", "folder", "revision")
    place = {name: value[name] for name in named if name in value}
    files = {file["path"]: file["sha256"] for file in value["files"]} if "files" in value else None
    splits = {one["split"]: one["fingerprint"] for one in value["splits"]} if "splits" in value else None
    return Locked(**place, files=files, splits=splits)


def locked_model(value: Mapping[str, Any]) -> Locked:
    """From the identity of a model (`model_identity`)."""
    named = ("repo", "revision", "package", "version", "file", "server")
    place = {name: value[name] for name in named if name in value}
    folder = value.get("folder")
    return Locked(**place, **({"folder": folder["name"], "files": folder["files"]} if folder else {}))


def _fetched_model(value: Mapping[str, Any]) -> Locked:
    """From the lock beside a model's fetched files."""
    return Locked(**value["source"], files={name: facts["sha256"] for name, facts in value["files"].items()} or None)


def differences(locked: Locked, now: Locked) -> list[str]:
    """In words, where a source is not the locked one; what one of them does not know is not compared."""
    words = [
        f"{name} {getattr(now, name)}, locked {getattr(locked, name)}"
        for name in PLACE
        if getattr(now, name) != getattr(locked, name)
    ]
    if locked.revision and now.revision and locked.revision != now.revision:
        words.append(f"revision {now.revision}, locked {locked.revision}")
    for kind in ("files", "splits"):
        was, is_now = getattr(locked, kind), getattr(now, kind)
        if was is not None and is_now is not None:
            changed = sorted(name for name in {*was, *is_now} if was.get(name) != is_now.get(name))
            words += [f"other {kind} ({', '.join(changed[:3])}{', ...' if changed[3:] else ''})"] if changed else []
    return words


def results_differ(lock: RunLock, place: Callable[[str], Path]) -> dict[str, str]:
    """Lock among the results that does not fit a run's lock -> why, and what to do.

    place: path of a file `results/...`.
    """
    problems = {}
    for name, dataset in lock.datasets.items():
        for path, read in data_as_read(name, place):
            if words := differences(dataset, read):
                problems[path] = f"{path}: {name} was read as {'; '.join(words)}: delete results/data/{name}"
    for name, model in lock.models.items():
        for path, read in model_as_fetched(name, place):
            if words := differences(model, read):
                problems[path] = f"{path}: {name} was fetched as {'; '.join(words)}: delete this file"
    return problems


def data_as_read(dataset: str, place: Callable[[str], Path]) -> Iterator[tuple[str, Locked]]:
    """(name, content) of the lock of what a dataset was read from; nothing if there is none."""
    return _read(paths.source_lock(dataset), place, locked_data)


def model_as_fetched(model: str, place: Callable[[str], Path]) -> Iterator[tuple[str, Locked]]:
    """(name, content) of the lock of a model's files; nothing if there is none."""
    return _read(paths.model_lock(model), place, _fetched_model)


def _read(
    name: str, place: Callable[[str], Path], how: Callable[[Mapping[str, Any]], Locked]
) -> Iterator[tuple[str, Locked]]:
    try:
        yield name, how(json.loads(place(name).read_text(encoding="utf8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return  # none, or damaged, which verification finds
