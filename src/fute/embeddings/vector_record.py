"""The record inside a file of a task embedding, read without the vector."""

from __future__ import annotations

import json
from typing import Any

MANY_UNKNOWN_TOKENS = 0.05
"""A set with a larger share of tokens that its surrogate does not know gets a warning."""


def record_of(data: bytes) -> dict[str, Any]:
    """The `meta` of an embedding file given as bytes."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["fute"])["meta"]
