"""Which source files a step depends on, and one hash over them.

Snakemake does not notice an edit in a module that a shell command imports. Every rule therefore carries
the hash of its step's import closure as a parameter: editing a file reruns the steps that import it,
directly or not, and no others.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
NEVER_SHAPES_A_RESULT = {"progress.py", "images/lock.py"}


def _path_of(module: str) -> Path | None:
    """File of the dotted module `fute.x.y`, or None where no such module exists."""
    base = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


_FROM = re.compile(r"^[ \t]*from (fute[\w.]*) import (\([^)]*\)|.*)", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*import (fute[\w.]*)", re.MULTILINE)
_BY_NAME = re.compile(r"import_module\(\s*\"(fute[\w.]*)\"")


@cache
def _source(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _imports(path: Path) -> frozenset[str]:
    """Dotted names of this package that a file imports anywhere, functions included."""
    # by regular expression: parsing every file took longer than all else that is done when a workflow is planned
    text = _source(path).decode()
    found = set(_IMPORT.findall(text)) | set(_BY_NAME.findall(text))
    for module, names in _FROM.findall(text):
        found.add(module)
        found.update(f"{module}.{name}" for name in re.findall(r"\w+", names))
    return frozenset(found)


@cache
def closure(module: str) -> tuple[str, ...]:
    """Files of the import closure of `module`, relative to the package folder, sorted.

    Raises ValueError where the module is not part of the package.
    """
    start = _path_of(module)
    if start is None:
        raise ValueError(f"{module} is no module of this package ({PACKAGE.name})")
    seen, todo = {start}, [start]
    while todo:
        for name in _imports(todo.pop()):
            path = _path_of(name)
            if path is not None and path not in seen:
                seen.add(path)
                todo.append(path)
    return tuple(sorted({path.relative_to(PACKAGE).as_posix() for path in seen} - NEVER_SHAPES_A_RESULT))


@cache
def code_sha256(module: str) -> str:
    """sha256 over names and contents of the module's import closure."""
    digest = hashlib.sha256()
    for name in closure(module):
        digest.update(name.encode() + b"\0" + hashlib.sha256(_source(PACKAGE / name)).digest())
    return digest.hexdigest()
