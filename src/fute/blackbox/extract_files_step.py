"""Take the files of one dataset out of the batch that they were made in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fute.artifacts import Step, read_jsonl
from fute.blackbox.cell_files import CellFiles, place


def extract_files(key: str, *, batch: Path, files: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Publish the files of one cell of a batch: labels of U, or vectors of a dataset.

    batch: its lock. files: kind -> file that the cell was made from. outputs: name of a file in the cell -> where it
    goes. Raises StaleFile if the batch does not hold the cell, holds other bytes than it lists, or was made from other
    files.
    """
    cell = CellFiles([batch], key, files)
    with Step(__name__, settings={"key": key}, inputs=[batch, *files.values()]) as step:
        for name, path in outputs.items():
            source = cell.path(name)
            counts = {"rows": len(read_jsonl(source))} if name.endswith(".jsonl.gz") else {}
            step.write(path, lambda new, source=source: place(source, new), **counts)
