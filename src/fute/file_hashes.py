"""sha256 of many files: read on several threads (`hash_files`), or kept between plans (`sha256_files`).

Hashes of files outside the project are kept, so that planning again costs one `stat` per file.
`.fute/file-hashes-{host}.json` in the working folder maps an absolute path to the hash, and to the device, inode,
size, mtime and ctime of the file when it was hashed. All five must still hold. The kernel sets ctime at every write
and every rename, and no program can set it back: a file that was trained again, restored with its old mtime, or copied
to another machine together with `.fute/` is read again.

A file that changed less than two seconds before it was hashed is not kept: it could change once more within one tick
of the file system's clock. The kept hashes only save time. A damaged or missing file of hashes is ignored, one that
cannot be written is left out, and planners that run at once at worst hash a file twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from fute.artifacts import atomic, content_key, sha256_file

FOLDER = Path(".fute")
PARCEL_FILES, PARCEL_BYTES = 64, 16 << 20
"""A thread gets many small files at once, or one large file."""
QUEUE = 4
"""Parcels per thread, in work or waiting: enough to keep threads busy, few enough for any number of files."""
SETTLED_NS = 2_000_000_000
"""How long a file must have been unchanged when it is hashed, for its hash to be kept."""

Hashed = str | OSError

Entry = tuple[int, int, int, int, int, str]
"""Device, inode, size, mtime_ns and ctime_ns of a file, and its sha256."""


def hash_files(files: Iterable[tuple[Path, int]], threads: int | None = None) -> Iterator[Hashed]:
    """sha256 of every file, in order; for a file that cannot be read, the OSError instead.

    files: each with its expected size in bytes, by which work is divided among threads. threads: default all cores.
    """
    threads = threads or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[list[Hashed]]] = deque()
        for parcel in _parcels(files):
            waiting.append(pool.submit(lambda paths: list(map(_hashed, paths)), parcel))
            if len(waiting) >= threads * QUEUE:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _parcels(files: Iterable[tuple[Path, int]]) -> Iterator[list[Path]]:
    parcel: list[Path] = []
    total = 0
    for path, size in files:
        parcel.append(path)
        total += size
        if len(parcel) >= PARCEL_FILES or total >= PARCEL_BYTES:
            yield parcel
            parcel, total = [], 0
    yield parcel


def _hashed(path: Path) -> Hashed:
    try:
        return sha256_file(path)
    except OSError as error:
        return error


def sha256_files(paths: Iterable[Path]) -> dict[Path, str]:
    """Path -> sha256 of the file's content. Reads only files whose hash is not kept; raises OSError for one it cannot.

    For planning. A step that reads a file hashes what it read itself.
    """
    kept = _kept()
    stats = {path: _stat(path) for path in paths}
    hashes = {
        path: kept[name][5]
        for path, stat in stats.items()
        if (name := os.path.abspath(path)) in kept and tuple(kept[name][:5]) == stat
    }
    missing = [path for path in stats if path not in hashes]
    if missing:
        started = time.time_ns()
        with ThreadPoolExecutor() as pool:
            hashes |= zip(missing, pool.map(sha256_file, missing), strict=True)
        settled = {
            os.path.abspath(path): (*stats[path], hashes[path])
            for path in missing
            if max(stats[path][3:]) <= started - SETTLED_NS and _stat(path) == stats[path]
        }
        if settled:
            _keep({**_kept(), **settled})
    return {path: hashes[path] for path in stats}


def _stat(path: Path) -> tuple[int, int, int, int, int]:
    """What changes with a file: device, inode, size, mtime_ns, ctime_ns; of a link those of its target."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _file() -> Path:
    """This host's file: hosts that share a working folder number its devices apart."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", platform.node()) or "host"
    return FOLDER / f"file-hashes-{host}.json"


def _kept() -> Mapping[str, Entry]:
    """Absolute path -> entry; empty if there are none or the file is damaged."""
    with contextlib.suppress(OSError):
        return _parsed(_file().absolute(), _stat(_file()))
    return {}


@lru_cache(maxsize=1)
def _parsed(path: Path, stat: tuple[int, ...]) -> Mapping[str, Entry]:
    """The entries of a file of hashes, read once. stat: of the file, so that another process's entries are seen."""
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        value = json.loads(path.read_bytes())
        if content_key(value["files"]) == value["sha256"]:  # else torn or edited
            return {name: tuple(entry) for name, entry in value["files"].items()}
    return {}


def _keep(entries: Mapping[str, Entry]) -> None:
    files = {name: list(entry) for name, entry in entries.items() if os.path.exists(name)}
    # a folder that is full or read-only, a path that is not UTF-8
    with contextlib.suppress(OSError, UnicodeEncodeError):
        text = json.dumps({"files": files, "sha256": content_key(files)})
        with atomic(_file()) as temporary:
            temporary.write_text(text, encoding="utf8")
