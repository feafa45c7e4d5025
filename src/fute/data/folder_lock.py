"""One process at a time in a folder. The lock is the kernel's, so it ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAME = "lock"
"""File in the folder that is locked. It says by whom; after a kill it stays, and holds nobody up."""


class FolderTaken(RuntimeError):
    """A folder that another user's process has locked."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Be the only process that works in a folder; say who else does, and wait until that has ended.

    The folder is made, and removed at the end if nothing is left in it. Raises FolderTaken, OSError.
    """
    path = folder / NAME
    lock = _locked(path)
    try:
        since = time.strftime("%Y-%m-%d %H:%M")
        os.truncate(lock, 0)
        os.write(lock, f"process {os.getpid()} on {platform.node()} since {since}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who waits for it sees that it is gone, and makes a new one
        os.close(lock)
        with suppress(OSError):
            folder.rmdir()


def _locked(path: Path) -> int:
    """Descriptor of the file, with the lock."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # whoever had the folder has just removed it
            continue
        except PermissionError:
            if not path.exists():
                raise
            raise FolderTaken(
                f"{path.parent}: belongs to another user, who works in it ({_holder(path)}) or left it; wait for that "
                f"process, or have that user delete {path.parent}"
            ) from None
        if not _lock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            print(
                f"{path.parent}: {_holder(path)} works in it; waiting until that process has ended (end it, or this "
                "one, with Ctrl-C; nothing that is finished is lost)", flush=True,
            )  # fmt: skip
            _lock(lock, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(os.fstat(lock), path.stat()):
            return lock
        os.close(lock)


def _lock(lock: int, how: int) -> bool:
    """Lock a file; False if another process has."""
    try:
        fcntl.flock(lock, how)
    except BlockingIOError:
        return False
    except OSError as error:
        print(f"this disk has no locks ({error.strerror}): start nothing else in the same folder", flush=True)
    return True


def _holder(path: Path) -> str:
    """Who wrote the file, as it says."""
    with suppress(OSError):
        return path.read_text(encoding="utf8") or "another process"
    return "another process"
