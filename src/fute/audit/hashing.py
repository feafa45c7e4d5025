"""sha256 of many files on several threads, in constant memory."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

CHUNK = 1 << 20
# a thread gets many small files at once, or one large file
PARCEL_FILES, PARCEL_BYTES = 64, 16 << 20
# parcels per thread, in work or waiting: enough to keep threads busy, few enough for any number of files
QUEUE = 4

Hashed = str | OSError
Meter = Callable[[int], None]


class Task(NamedTuple):
    """A file to hash. size: expected bytes, by which work is divided among threads."""

    name: str
    path: Path
    size: int


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def sha256_stream(path: Path, buffer: bytearray, meter: Meter) -> str:
    """sha256 of a file, read piece by piece into `buffer`; hashlib lets other threads run meanwhile."""
    digest, view = hashlib.sha256(), memoryview(buffer)
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(view[:count])
            meter(count)
    return digest.hexdigest()


def hash_files(tasks: Iterable[Task], threads: int, meter: Meter) -> Iterator[tuple[str, Hashed]]:
    """(name, sha256) of every file, in order; for a file that cannot be read, the OSError instead of the hash.

    meter: called with the number of bytes after each read, from one thread at a time.
    """
    lock, buffers = threading.Lock(), threading.local()

    def counted(count: int) -> None:
        with lock:
            meter(count)

    def work(parcel: list[Task]) -> list[tuple[str, Hashed]]:
        if not hasattr(buffers, "own"):
            buffers.own = bytearray(CHUNK)
        hashes: list[tuple[str, Hashed]] = []
        for task in parcel:
            try:
                hashes.append((task.name, sha256_stream(task.path, buffers.own, counted)))
            except OSError as error:
                hashes.append((task.name, error))
        return hashes

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[list[tuple[str, Hashed]]]] = deque()
        for parcel in _parcels(tasks):
            waiting.append(pool.submit(work, parcel))
            if len(waiting) >= threads * QUEUE:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _parcels(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    parcel: list[Task] = []
    total = 0
    for task in tasks:
        parcel.append(task)
        total += task.size
        if len(parcel) >= PARCEL_FILES or total >= PARCEL_BYTES:
            yield parcel
            parcel, total = [], 0
    if parcel:
        yield parcel
