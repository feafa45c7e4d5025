"""Every row of docs/reruns.md is executed by a test, which takes from the page what must run again."""

from __future__ import annotations

import re
from pathlib import Path

from support.rerun_table import table
from support.rule_files import rules

TESTS = Path(__file__).parents[1]
ASKED = re.compile(r'\breruns\(\s*"([^"]+)"')


def test_every_row_is_executed_by_a_test():
    asked = {
        row: path.name
        for path in sorted(TESTS.rglob("test_*.py"))
        if path != Path(__file__)
        for row in ASKED.findall(path.read_text(encoding="utf8"))
    }
    assert asked.keys() == table().keys()
    assert len(asked) >= 10


def test_every_rule_named_is_one():
    named = frozenset().union(*table().values())
    assert named and named <= rules().keys()
