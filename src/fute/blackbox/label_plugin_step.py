"""Let a Python function label U: any function from texts to outputs is a black box.

The function is named `module:function` and gets the texts, a list of tuples of one or two segments; where the
configuration names a dataset also `train`, its rows as (segments, label); and its options by name. It returns one
output a text: the string, or an object with the string as `prediction` and any other JSON values beside it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fute.artifacts import Step, canonical_json, content_key, read_jsonl, sha256_file
from fute.config.plugins import PluginSettings
from fute.data.rows import Row, read_rows
from fute.data.text2text import labelled_pairs

UNKNOWN = "unknown"
"""What stands for an output without any text."""

MANY_UNKNOWN = 0.2


class PluginError(RuntimeError):
    """A plug-in that cannot be loaded, or whose outputs are not what the contract says."""


def source_files(settings: PluginSettings) -> dict[str, Path]:
    """Python files of the plug-in's folder: the function's own, and whatever it may import from beside it.

    Raises PluginError where its module is not there.
    """
    folder = Path(settings.folder).expanduser()
    module = settings.callable.split(":")[0]
    own = folder.joinpath(*module.split(".")).with_suffix(".py")
    if not own.is_file():
        raise PluginError(f"black box {settings.callable}: {own} is missing; `folder` must hold the module's file")
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.py"))}


def plugin_identity(settings: PluginSettings) -> str:
    """Hash of what names a plug-in: its function, options and source files; cheap enough for planning time."""
    files = {name: sha256_file(path) for name, path in source_files(settings).items()}
    return content_key([settings.model_dump(exclude={"folder"}), files])


def load_function(settings: PluginSettings) -> Callable[..., Any]:
    """Import the plug-in's function from its folder. Raises PluginError where that fails."""
    source_files(settings)
    folder = str(Path(settings.folder).expanduser().resolve())
    module_name, name = settings.callable.split(":")
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise PluginError(
            f"black box {settings.callable}: cannot be imported ({error}); install what it needs"
        ) from error
    finally:
        sys.path.remove(folder)
    if not str(getattr(module, "__file__", "")).startswith(folder):
        raise PluginError(f"black box {settings.callable}: another module is called {module_name}; rename the file")
    function = getattr(module, name, None)
    if not callable(function):
        raise PluginError(f"black box {settings.callable}: {module_name} has no function {name}")
    return function


def checked(settings: PluginSettings, outputs: Any, count: int) -> list[dict[str, Any]]:
    """Outputs as label rows without ids; one that is empty becomes `unknown`.

    Raises PluginError for another number of outputs than texts, one that is neither string nor such an object, and
    values that are no JSON.
    """
    where = f"black box {settings.callable}"
    if not isinstance(outputs, Sequence) or isinstance(outputs, str) or len(outputs) != count:
        found = f"{len(outputs)} outputs" if isinstance(outputs, Sequence) else f"a {type(outputs).__name__}"
        raise PluginError(f"{where}: gave {found} for {count} texts; return a list with one output a text")
    said = []
    for index, output in enumerate(outputs):
        answer = dict(output) if isinstance(output, dict) else {"prediction": output}
        text = answer.get("prediction")
        if not isinstance(text, str):
            problem = f"output {index} has the prediction {text!r} ({type(text).__name__})"
            raise PluginError(f"{where}: {problem}; return strings, or objects with a string `prediction`")
        if "id" in answer:
            raise PluginError(f"{where}: output {index} has a field id, which is the text's; rename it")
        try:
            canonical_json(answer)
        except (TypeError, ValueError) as error:
            raise PluginError(f"{where}: output {index} is no JSON ({error}); use plain numbers and lists") from None
        said.append(answer | {"prediction": " ".join(text.split()) or UNKNOWN})
    return said


def label_plugin(settings: PluginSettings, *, corpus: Path, output: Path, train: Path | None = None) -> None:
    """Write what a plug-in says of each text of U, in U's order: rows of id, `prediction` and its other values.

    train: rows of the dataset that the settings name. Raises PluginError.
    """
    if (train is None) != (settings.dataset is None):
        raise PluginError(f"black box {settings.callable}: training rows go with a dataset; give both or neither")
    rows = read_rows(corpus)
    given: dict[str, Any] = dict(settings.options)
    if train is not None:
        given["train"] = labelled_pairs(Row.from_json(obj, str(train)) for obj in read_jsonl(train))
    function = load_function(settings)
    said = checked(settings, function([row.segments for row in rows], **given), len(rows))
    unknown = sum(answer["prediction"] == UNKNOWN for answer in said)
    if unknown > MANY_UNKNOWN * len(said):
        print(f"warning: {settings.callable} said nothing of {unknown} of {len(said)} texts")
    code = {f"plugin:{name}": sha256_file(path) for name, path in source_files(settings).items()}
    inputs = [corpus, *([train] if train else [])]
    what = settings.model_dump(exclude={"folder"})
    with Step(__name__, settings=what, inputs=inputs, external=code) as step:
        step.facts = {"unknown": unknown}
        step.jsonl(output, [{"id": row.id, **answer} for row, answer in zip(rows, said, strict=True)])
