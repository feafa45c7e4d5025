"""The table of docs/reruns.md, for the tests that execute it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/reruns.md"


@cache
def table() -> dict[str, frozenset[str]]:
    """What is done, in the page's words -> the rules that run again."""
    found = {}
    for line in PAGE.read_text(encoding="utf8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] != "after" and set(cells[0]) != {"-"}:
            rules = frozenset(re.findall(r"`(\w+)`", cells[2]))
            assert rules or cells[2] == "none", f"{PAGE.name}: the last column of {cells[0]!r} names rules, or `none`"
            found[cells[0]] = rules
    return found


def reruns(after: str) -> frozenset[str]:
    """The rules of one row; tests/unit/test_rerun_table.py looks for a call of each."""
    return table()[after]
