"""Reading one cell from a batch of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fute.artifacts import StaleFile, read_jsonl


def cell_lines(batch: Path, key: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """First line of a label batch (facts about how it was made) and the lines of one cell, in the corpus's order.

    Raises StaleFile if the batch does not hold the cell.
    """
    head, *lines = read_jsonl(batch)
    cell = sorted((line for line in lines if line["key"] == key), key=lambda line: line.get("index", 0))
    if not cell:
        raise StaleFile(f"{batch}: holds no cell {key[:16]}; delete this batch and its .keys, then run again")
    return head, cell
