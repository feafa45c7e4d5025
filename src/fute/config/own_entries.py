"""The section `registry`: entries of a run's own, beside the registries that ship with the project.

Paths in it are relative to the YAML file that states them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from fute.config.categories import Category, CategoryEntry
from fute.config.datasets import DatasetSettings
from fute.config.models import ModelEntry
from fute.config.prompts import PromptEntry
from fute.config.sections import Id, Section


def _form(value: Any) -> str:
    return "file" if isinstance(value, str) else "list"


OwnPrompts = Annotated[
    Annotated[str, Tag("file")] | Annotated[tuple[PromptEntry, ...], Tag("list")], Discriminator(_form)
]


class OwnEntries(Section):
    """Entries that this run adds to the registries, with paths relative to its file; ids must be new."""

    categories: dict[Id, CategoryEntry] = Field({}, description="Classification tasks, as in `config/categories.yaml`.")
    datasets: dict[Id, DatasetSettings] = Field(
        {},
        description="Datasets, as in `config/datasets.yaml`. They are read from local files, or from the hub if they "
        "have `hub`, whatever `data.source` says. Their `files.folder` is relative to this file; not given, it is the "
        "folder of this file.",
    )
    models: dict[Id, ModelEntry] = Field({}, description="Models, as in `config/models.yaml`.")
    prompts: dict[Category, OwnPrompts] = Field(
        {}, description="Per category a list of prompts, or the path of a YAML file with one."
    )


def with_paths(
    registry: Mapping[str, Any], files: Sequence[tuple[Path, Any]]
) -> tuple[dict[str, Any], dict[str, Path]]:
    """The section with paths that hold everywhere, and by dataset the folder that its files lie in.

    A dataset's `files.folder` becomes `.`: where its files lie is no part of what identifies results.
    files: the YAML files that the run was merged from, in order, each with its content. A path belongs to the last
    file that says what the run says; one that no file says is of the command line, and relative to the current folder.
    Values that are no paths, or not of the right form, stay as they are.
    """
    made = {kind: dict(value) if isinstance(value, Mapping) else value for kind, value in registry.items()}
    for name, value in _entries(made, "prompts"):
        if isinstance(value, str):
            made["prompts"][name] = _absolute(("prompts", name), value, files)
    for name, value in _entries(made, "models"):
        if isinstance(folder := _at(value, ("folder",)), str):
            made["models"][name] = {**value, "folder": _absolute(("models", name, "folder"), folder, files)}
    folders = {}
    for name, value in _entries(made, "datasets"):
        if not isinstance(value, Mapping):
            continue
        own = value.get("files", {})
        folder = _at(own, ("folder",))
        # every dataset has splits, which name files; but a folder that is given says where these are
        keys = ("splits", "train") if folder is None else ("files", "folder")
        base = _folder(("datasets", name, *keys), _at(value, keys), files)
        if isinstance(own, Mapping) and isinstance(folder, str | None):
            folders[name] = (base / Path(folder or ".").expanduser()).resolve()
            made["datasets"][name] = value = {**value, "files": {**own, "folder": "."}}
        repo = _at(value, ("hub", "repo"))
        if isinstance(repo, str) and repo.startswith(("./", "../")):
            snapshot = _folder(("datasets", name, "hub", "repo"), repo, files) / repo
            made["datasets"][name] = {**value, "hub": {**value["hub"], "repo": _as_folder(snapshot)}}
    return made, folders


def with_root(data: Any, files: Sequence[tuple[Path, Any]]) -> Any:
    """The section `data` with a root that holds everywhere: in a run with entries of its own, a relative `data.root` is
    relative to the last file that states it, as their paths are."""
    root = _at(data, ("root",))
    if not isinstance(root, str):
        return data
    stated = (path.parent for path, content in reversed(files) if _at(content, ("data", "root")) == root)
    return {**data, "root": str((next(stated, Path()) / Path(root).expanduser()).resolve())}


def with_folders(entries: OwnEntries, folders: Mapping[str, Path], project: Path) -> dict[str, Any]:
    """The section as one may write it in any file: the reverse of `with_paths`, with absolute paths.

    project: folder that was the current one when the section was read.
    """
    made = entries.model_dump(mode="json", exclude_unset=True)
    for name, folder in folders.items():
        entry = made["datasets"][name]
        entry["files"]["folder"] = str(folder)
        if entries.datasets[name].hub and entries.datasets[name].hub.is_folder:
            entry["hub"]["repo"] = str((project / entry["hub"]["repo"]).resolve())
    return made


def _as_folder(path: Path) -> str:
    """A path from the current folder, as a registry writes a folder in place of a repository."""
    relative = os.path.relpath(path)
    return relative if relative.startswith("..") else f"./{relative}"


def _entries(registry: Mapping[str, Any], kind: str) -> list[tuple[Any, Any]]:
    entries = registry.get(kind)
    return list(entries.items()) if isinstance(entries, Mapping) else []


def _absolute(place: Sequence[Any], path: str, files: Sequence[tuple[Path, Any]]) -> str:
    """The path at a place of the section, from the folder of the file that it belongs to."""
    return str((_folder(place, path, files) / Path(path).expanduser()).resolve())


def _folder(place: Sequence[Any], value: Any, files: Sequence[tuple[Path, Any]]) -> Path:
    """Folder of the last file that has the value at a place of its section `registry`; else the current one."""
    for path, content in reversed(files):
        if _at(content, ("registry", *place)) == value:
            return path.parent
    return Path()


def _at(content: Any, keys: Sequence[Any]) -> Any:
    """The value under keys of mappings; None where there is none."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content
