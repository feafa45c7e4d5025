"""The plan's files know each other in one direction."""

from __future__ import annotations

import ast
from pathlib import Path

import fute.plan

FOLDER = Path(fute.plan.__file__).parent


def imported(file: Path) -> set[str]:
    """Files of the plan that a file imports, for type checkers alone included."""
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{alias.name}" for node in nodes for alias in node.names]
    return {name.split(".")[2] for name in names if name.startswith("fute.plan.")}


def test_a_file_knows_only_those_above_it():
    listed = [line.split()[0] for line in fute.plan.__doc__.split("\n\n")[-1].splitlines()]
    assert sorted(listed) == sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    for name in listed:
        assert imported(FOLDER / f"{name}.py") <= set(listed[: listed.index(name)]), name
