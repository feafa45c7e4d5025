"""Label U with a Python function: any function from texts to outputs is a black box.

The function is named `module:function`. It gets the texts, a list of tuples of one or two segments; its options by
name; if the configuration names a dataset, `train`, its rows as (segments, label); and if it names another black box,
`outputs`, what that one says of the same texts, one object per text. It returns one output per text: a string, or an
object with the string as `prediction` and any other JSON values.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fute.artifacts import Step, canonical_json, content_key, read_jsonl, sha256_file
from fute.config.plugins import PluginSettings
from fute.data.rows import Row, read_rows
from fute.data.text2text import labelled_pairs
from fute.file_hashes import sha256_files

UNKNOWN = "unknown"
"""Replaces an output without any text."""

MANY_UNKNOWN = 0.2


class PluginError(RuntimeError):
    """A plug-in that cannot be loaded, or whose outputs do not have the form that the contract asks for."""


def source_files(settings: PluginSettings) -> dict[str, Path]:
    """Files of the plug-in's folder, by relative path: its module, and all that the module may import or read there.

    Hidden files, `__pycache__` and the workflow's results are no part of it.

    Raises PluginError if the file of its module is missing.
    """
    folder = Path(settings.folder).expanduser()
    module = settings.callable.split(":")[0]
    source = folder.joinpath(*module.split(".")).with_suffix(".py")
    if not source.is_file():
        raise PluginError(f"black box {settings.callable}: {source} is missing; `folder` must hold the module's file")
    results = Path("results").resolve()
    files = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        made = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if not made and path.is_file() and not path.resolve().is_relative_to(results):
            files["/".join(parts)] = path
    return files


def plugin_identity(settings: PluginSettings) -> str:
    """Hash of a plug-in's function, options and files; cheap enough for planning."""
    files = source_files(settings)
    try:
        hashes = sha256_files(files.values())
    except OSError as error:
        raise PluginError(
            f"black box {settings.callable}: {error.filename} cannot be read ({error.strerror}); give read access"
        ) from None
    return _identity(settings, {name: hashes[path] for name, path in files.items()})


def _identity(settings: PluginSettings, hashes: dict[str, str]) -> str:
    """hashes: sha256 of each file by its path in the folder."""
    return content_key([settings.model_dump(exclude={"folder"}), hashes])


def _hashes_now(settings: PluginSettings) -> dict[str, str]:
    return {name: sha256_file(path) for name, path in source_files(settings).items()}


@contextlib.contextmanager
def loaded_function(settings: PluginSettings) -> Iterator[Callable[..., Any]]:
    """Import the plug-in's function from its folder, where it may import more until the block ends.

    Raises PluginError if there is no such function, or it cannot be imported.
    """
    source_files(settings)
    folder = str(Path(settings.folder).expanduser().resolve())
    module_name, name = settings.callable.split(":")
    sys.path.insert(0, folder)
    try:
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise PluginError(
                f"black box {settings.callable}: cannot be imported ({error}); install what it needs"
            ) from error
        if not Path(getattr(module, "__file__", None) or "").is_relative_to(folder):
            raise PluginError(f"black box {settings.callable}: another module is called {module_name}; rename the file")
        function = getattr(module, name, None)
        if not callable(function):
            raise PluginError(f"black box {settings.callable}: {module_name} has no function {name}")
        yield function
    finally:
        sys.path.remove(folder)


def checked(settings: PluginSettings, outputs: Any, count: int) -> list[dict[str, Any]]:
    """Check a function's outputs and turn them into label rows without ids; an empty text becomes `unknown`.

    Raises PluginError if there are not as many outputs as texts (`count`), or an output is neither a string nor an
    object with a string `prediction`, has a field `id`, or holds values that JSON cannot.
    """
    where = f"black box {settings.callable}"
    if not isinstance(outputs, Sequence) or isinstance(outputs, str) or len(outputs) != count:
        actual = f"{len(outputs)} outputs" if isinstance(outputs, Sequence) else f"a {type(outputs).__name__}"
        raise PluginError(f"{where}: gave {actual} for {count} texts; return a list with one output per text")
    answers = []
    for index, output in enumerate(outputs):
        answer = dict(output) if isinstance(output, dict) else {"prediction": output}
        text = answer.get("prediction")
        if not isinstance(text, str):
            problem = f"output {index} has the prediction {text!r} ({type(text).__name__})"
            raise PluginError(f"{where}: {problem}; return strings, or objects with a string `prediction`")
        if "id" in answer:
            raise PluginError(f"{where}: output {index} has a field `id`, which is kept for the text's id; rename it")
        try:
            canonical_json(answer).encode()  # half an emoji is a string, and no text
        except (TypeError, ValueError, RecursionError) as error:
            raise PluginError(f"{where}: output {index} is no JSON ({error}); use plain numbers and lists") from None
        answers.append(answer | {"prediction": " ".join(text.split()) or UNKNOWN})
    return answers


def label_plugin(
    settings: PluginSettings,
    *,
    source: str,
    corpus: Path,
    output: Path,
    train: Path | None = None,
    outputs: Path | None = None,
) -> None:
    """Write a plug-in's output for each text of U, in U's order: rows of id, `prediction` and its other values.

    source: `plugin_identity` when the run was planned. train: file with the rows of the dataset that the settings name.
    outputs: file with what the black box that they name says of U. Raises PluginError, also if a file of the plug-in's
    folder has changed since, or changes while it runs.
    """
    hashes = _hashes_now(settings)
    if _identity(settings, hashes) != source:
        raise PluginError(
            f"black box {settings.callable}: files in {settings.folder} changed while the run was being prepared; "
            "run again"
        )
    rows = read_rows(corpus)
    arguments = _arguments(settings, [row.id for row in rows], train, outputs)
    with loaded_function(settings) as function:
        answers = checked(settings, function([row.segments for row in rows], **arguments), len(rows))
    unknown = sum(answer["prediction"] == UNKNOWN for answer in answers)
    if unknown > MANY_UNKNOWN * len(answers):
        print(f"warning: {settings.callable} gave no text for {unknown} of {len(answers)} texts")
    after = _hashes_now(settings)
    if changed := sorted(name for name in {*hashes, *after} if hashes.get(name) != after.get(name)):
        raise PluginError(
            f"black box {settings.callable}: {', '.join(changed)} changed while it ran; the files of its folder "
            "identify it: leave them alone meanwhile, and let the function write elsewhere"
        )
    code = {f"plugin:{name}": sha256 for name, sha256 in hashes.items()}
    inputs = [corpus, *(path for path in (train, outputs) if path)]
    recorded = settings.model_dump(exclude={"folder"})
    with Step(__name__, settings=recorded, inputs=inputs, external=code) as step:
        step.facts = {"unknown": unknown}
        step.jsonl(output, [{"id": row.id, **answer} for row, answer in zip(rows, answers, strict=True)])


def _arguments(settings: PluginSettings, ids: list[str], train: Path | None, outputs: Path | None) -> dict[str, Any]:
    """What the function gets by name besides the texts: its options, training rows, another box's outputs.

    ids: of the texts. Raises PluginError for files that do not go with the settings or with the texts.
    """
    where = f"black box {settings.callable}"
    if (train is None) != (settings.dataset is None):
        raise PluginError(f"{where}: training rows go with a dataset; give both or neither")
    if (outputs is None) != (settings.box is None):
        raise PluginError(f"{where}: outputs go with the box that gives them; give both or neither")
    arguments: dict[str, Any] = dict(settings.options)
    if train is not None:
        arguments["train"] = labelled_pairs(Row.from_json(obj, str(train)) for obj in read_jsonl(train))
    if outputs is not None:
        arguments["outputs"] = read_jsonl(outputs)
        if ids != [said["id"] for said in arguments["outputs"]]:
            raise PluginError(f"{where}: {outputs} is of other texts than U; make it again")
    return arguments
