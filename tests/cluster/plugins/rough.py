"""Black boxes that something happens to at their first attempt, for the cluster tests."""

from __future__ import annotations

import os
import time
from pathlib import Path


def _attempt(diary: str) -> int:
    """Which attempt this is; its process id goes into the diary."""
    path = Path(diary)
    with path.open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    return len(path.read_text().splitlines())


def waits(texts: list[tuple[str, ...]], diary: str) -> list[str]:
    """Waits to be killed at its first attempt."""
    if _attempt(diary) == 1:
        time.sleep(600)
    return ["yes"] * len(texts)


def lingers(texts: list[tuple[str, ...]], diary: str) -> list[str]:
    """Waits at its first attempt until a file says that it may go on."""
    if _attempt(diary) == 1:
        while not Path(f"{diary}.go").exists():
            time.sleep(0.1)
    return ["yes"] * len(texts)


def eats(texts: list[tuple[str, ...]], diary: str, megabytes: int) -> list[str]:
    """Touches so much memory, at every attempt."""
    _attempt(diary)
    held = bytearray(megabytes * 2**20)
    for place in range(0, len(held), 4096):
        held[place] = 1
    time.sleep(5)
    return ["yes"] * len(texts)
