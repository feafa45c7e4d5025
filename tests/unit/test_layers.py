"""Imports run one way: from what people call, through the plan and the steps, down to settings and files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from fute.code_hash import PACKAGE

LAYERS = (
    {"cli", "__main__"},
    {"commands", "errors", "notebook"},
    {"front"},
    {"audit"},
    {"cluster"},
    {"plan"},
    {"steps", "launch"},
    {"paper"},
    {"evaluation", "baselines"},
    {"embeddings", "blackbox", "llm"},
    {"surrogate", "data"},
    {"specs"},
    {"config"},
    {"batching", "artifacts", "csv_files", "file_hashes", "images"},
    {"code_hash", "paths", "pretrained", "progress", "device", "display_names", "wording", "scrub", "tokenizer"},
)
"""From top to bottom: a module imports modules of its own layer and of those below."""


def imports(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports, anywhere in it, as `folder.module`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fute."):
            yield node.module.removeprefix("fute.")
        elif isinstance(node, ast.ImportFrom) and node.module == "fute":
            yield from (alias.name for alias in node.names)


def level(module: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if module.split(".")[0] in names)


def test_every_module_has_a_layer():
    names = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert names == set().union(*LAYERS)


def test_imports_run_one_way():
    upward = {
        (module, name)
        for path in sorted(PACKAGE.rglob("*.py"))
        if (module := path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")) != "__init__"
        for name in imports(path)
        if name != "__version__" and level(name) < level(module)
    }
    assert upward == set()
