"""Source files that a step depends on, and one hash over them.

Snakemake does not notice an edit in a module that a shell command imports. So every rule has, as a parameter, the
hash of its step's import closure: an edit of a file reruns the steps that import it, directly or not, and no others.
Imports only for type checkers do not count.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
NEVER_SHAPES_A_RESULT = {"progress.py", "images/lock.py"}


def _path_of(module: str) -> Path | None:
    """File of the dotted module `fute.x.y`; None if no such module exists."""
    base = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


_FROM = re.compile(r"^[ \t]*from (fute[\w.]*) import (\([^)]*\)|.*)", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*import (fute[\w.]*)", re.MULTILINE)
_FOR_TYPES_ALONE = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", re.MULTILINE)


@cache
def _source(path: Path) -> bytes:
    return path.read_bytes()


def remember_sources() -> None:
    """Read all source files now, so that a record holds the hash of the code that runs, not of an edit during the run.

    Raises OSError for a file that cannot be read.
    """
    for path in PACKAGE.rglob("*.py"):
        _source(path)


@cache
def _imports(path: Path) -> frozenset[str]:
    """Dotted names of this package that a file imports anywhere, also in functions; not those for type checkers."""
    # by regular expression: parsing every file took longer than all the rest of planning
    text = _FOR_TYPES_ALONE.sub("", _source(path).decode())
    names = set(_IMPORT.findall(text))
    for module, imported in _FROM.findall(text):
        names.add(module)
        names.update(f"{module}.{name}" for name in re.findall(r"\w+", imported))
    return frozenset(names)


@cache
def closure(*modules: str) -> tuple[str, ...]:
    """Files of the import closure of `modules`, relative to the package folder, sorted.

    Raises ValueError if a module is not part of the package.
    """
    start = {_path_of(module) for module in modules}
    if None in start:
        unknown = ", ".join(module for module in modules if _path_of(module) is None)
        raise ValueError(f"{unknown}: no such module in the package {PACKAGE.name}")
    seen: set[Path] = set(start)
    todo = list(seen)
    while todo:
        for name in _imports(todo.pop()):
            path = _path_of(name)
            if path is not None and path not in seen:
                seen.add(path)
                todo.append(path)
    return tuple(sorted({path.relative_to(PACKAGE).as_posix() for path in seen} - NEVER_SHAPES_A_RESULT))


def is_package(folder: Path) -> bool:
    """Whether a folder holds this package: it is its own, or has the same modules with the same content."""
    if folder.resolve() == PACKAGE:
        return True
    theirs, ours = ({path.relative_to(at): path.read_bytes() for path in at.rglob("*.py")} for at in (folder, PACKAGE))
    return theirs == ours


@cache
def code_sha256(*modules: str) -> str:
    """sha256 over names and contents of the import closure of `modules`.

    No closure holds a module that a step loads by name (an engine, an embedding method): pass it in addition.
    """
    digest = hashlib.sha256()
    for name in closure(*modules):
        digest.update(name.encode() + b"\0" + hashlib.sha256(_source(PACKAGE / name)).digest())
    return digest.hexdigest()
