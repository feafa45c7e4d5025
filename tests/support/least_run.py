"""The least that a run must state, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fute.config.run import parse_run
from fute.config.sections import ConfigError

REGISTRIES = Path(__file__).parents[2] / "config"
POOL = {"kind": "pool", "path": "pool.jsonl"}


def values(**changes: Any) -> dict[str, Any]:
    """The least a run must state, with changes."""
    return {"name": "run", "title": "A run", "unsup": {"sa": POOL, "nli": POOL}} | changes


def refused(**changes: Any) -> str:
    """What is said of a run with these changes."""
    with pytest.raises(ConfigError) as error:
        parse_run(values(**changes), REGISTRIES, "my.yaml")
    return str(error.value)
