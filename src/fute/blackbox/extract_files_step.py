"""Take the files of one dataset out of the batch that they were made in."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from fute.artifacts import StaleFile, Step, read_jsonl, sha256_file
from fute.batching import check_sources
from fute.blackbox.folders import MODEL, folder_of

LARGE = 1 << 20
"""Bytes of a file that is linked and not copied, so that it takes no room on the disk a second time."""


def extract_files(
    key: str, *, batch: Path, files: Mapping[str, Path], outputs: Mapping[str, Path], folder: Path | None = None
) -> None:
    """Publish the files of one cell of a batch: fine-tuned weights, labels of U, or vectors of a dataset.

    batch: its lock. files: kind -> file that the cell was made from; compared with the hashes in the batch. outputs:
    name of a file in the cell -> where it goes. folder: receives the weights, complete or not at all.
    Raises StaleFile if the batch does not hold the cell, holds other bytes than it lists, or was made from other files.
    """
    lock = json.loads(batch.read_text(encoding="utf8"))
    if key not in lock["from"]:
        raise StaleFile(f"{batch}: holds no cell {key[:16]}; delete it and its .keys, then run again")
    check_sources(batch, lock["from"][key], files)
    # `{hash of the origins}/{key}/{file}`
    whole = {name.split("/", 2)[2]: name for name in lock["files"] if name.split("/")[1] == key}

    def source_of(name: str) -> Path:
        return _checked(batch, whole[name], lock["files"][whole[name]]["sha256"])

    if folder is not None:
        unfinished = folder.with_name(f".{folder.name}.tmp")
        for stale in (unfinished, folder):
            shutil.rmtree(stale, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name in whole:
            if name.startswith(f"{MODEL}/"):
                _place(source_of(name), unfinished / name.removeprefix(f"{MODEL}/"))
        unfinished.replace(folder)
    with Step(__name__, settings={"key": key}, inputs=[batch, *files.values()]) as step:
        for name, path in outputs.items():
            source = source_of(name)
            counts = {"rows": len(read_jsonl(source))} if name.endswith(".jsonl.gz") else {}
            step.write(path, lambda new, source=source: _place(source, new), **counts)


def _checked(batch: Path, name: str, sha256: str) -> Path:
    """A file of a batch. Raises StaleFile if it is not there, or has other bytes than the batch lists."""
    source = folder_of(batch) / name
    if not source.is_file() or sha256_file(source) != sha256:
        raise StaleFile(
            f"{source}: is missing, or not the file that {batch} lists; delete {folder_of(batch)}, the lock and .keys "
            "beside it and their records, then run again"
        )
    return source


def _place(source: Path, new: Path) -> None:
    """Link or copy a file."""
    if source.stat().st_size >= LARGE:
        with contextlib.suppress(OSError):  # a file system without links
            os.link(source, new)
            return
    shutil.copyfile(source, new)
