"""The steps of the workflow: the file of each, the hash of its code, and its command line.

A step has one name for its rule, its row here, its file `fute/<folder>/<name>_step.py`, the function in it, and its
command `fute <name>`. A step's module is imported only when that step runs.
"""

from __future__ import annotations

import argparse
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from fute.code_hash import PACKAGE, code_sha256, remember_sources

STEPS = {
    "fetch_model": "data",
    "sample_unsup": "data",
    "normalise_test": "data",
    "normalise_train": "data",
    "tune_llm": "llm",
    "label_batch": "llm",
    "extract_labels": "llm",
    "self_select": "llm",
    "finetune_model": "blackbox",
    "extract_finetuned": "blackbox",
    "label_language_model": "blackbox",
    "extract_files": "blackbox",
    "label_plugin": "blackbox",
    "transfer_batch": "blackbox",
    "extract_transfer": "blackbox",
    "encoder_states": "embeddings",
    "embed_batch": "embeddings",
    "extract_embedding": "embeddings",
    "baseline_scores": "baselines",
    "embed_dataset": "baselines",
    "score_sources": "baselines",
    "extract_source_scores": "baselines",
    "lm_baselines": "baselines",
    "similarities": "evaluation",
    "selection": "evaluation",
    "geometry": "evaluation",
    "lm_similarities": "evaluation",
    "transfer_matrix": "evaluation",
    "lm_evaluation": "evaluation",
    "lm_geometry": "evaluation",
    "planted": "evaluation",
    "table3": "paper",
    "transfer_table": "paper",
    "figure": "paper",
    "efficiency": "paper",
    "planted_figure": "paper",
    "report": "paper",
}
"""Folder of a step's file, by step."""


def module_of(step: str) -> str:
    """Dotted name of a step's module."""
    return f"fute.{STEPS[step]}.{step}_step"


@cache
def code(step: str, *more: str) -> str:
    """Hash of all code that a step runs: the import closure of its module, and of the modules it loads by name."""
    return code_sha256(module_of(step), *more)


def purpose(step: str) -> str:
    """First line of the docstring of a step's module, read without importing it."""
    text = (PACKAGE / STEPS[step] / f"{step}_step.py").read_text(encoding="utf8")
    return text.split('"""', 2)[1].split("\n", 1)[0]


def run(step: str, arguments: Sequence[str]) -> None:
    """Run a step with command-line arguments: each parameter of its function is a flag of that name.

    Settings and mappings of values are given as a file of JSON, several files as `--name PATH PATH ...`, named files as
    `--name KEY=PATH KEY=PATH ...`. `@FILE` stands for the lines of a file, one argument each.
    """
    remember_sources()
    function = getattr(import_module(module_of(step)), step)
    values = vars(_parser(step, function).parse_args(arguments))
    function(**values)


def _parser(step: str, function: Callable[..., None]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"fute {step}",
        description=inspect.getdoc(function),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        fromfile_prefix_chars="@",
    )
    hints = typing.get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        options = _options(hints[name])
        if not options.get("action"):
            options |= {"required": required} if required else {"default": parameter.default}
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, **options)
    return parser


def _options(hint: Any) -> dict[str, Any]:
    """Options of `add_argument` for a parameter of this type."""
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    kind = typing.get_origin(hint) or hint
    values = typing.get_args(hint)
    if kind is bool:
        return {"action": "store_true"}
    if kind in (dict, Mapping) and values[1] is Path:
        return {"nargs": "*", "action": _Named, "metavar": "KEY=PATH"}
    if kind in (list, Sequence):
        return {"nargs": "*", "type": values[0], "metavar": values[0].__name__.upper()}
    if kind in (dict, Mapping) or hasattr(kind, "model_validate"):
        return {"type": _json_file(kind), "metavar": "FILE"}
    return {"type": kind, "metavar": kind.__name__.upper()}


def _json_file(kind: Any) -> Callable[[str], Any]:
    def read(path: str) -> Any:
        try:
            value = json.loads(Path(path).read_text(encoding="utf8"))
            if not isinstance(value, dict):
                raise ValueError("not a JSON object")
            return kind.model_validate(value) if hasattr(kind, "model_validate") else value
        except OSError as error:
            raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise argparse.ArgumentTypeError(
                f"{path}: not the settings of this step: {' '.join(str(error).split())}"
            ) from None

    return read


class _Named(argparse.Action):
    """Read KEY=PATH arguments into a mapping."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        named = {}
        for pair in values:
            name, separator, path = pair.partition("=")
            if not separator or not name or not path:
                parser.error(f"--{self.dest}: {pair!r} is not KEY=PATH")
            named[name] = Path(path)
        setattr(namespace, self.dest, named)
