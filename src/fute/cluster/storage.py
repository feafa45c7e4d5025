"""What to do when results cannot be written: a full disk, a quota, a read-only folder, foreign files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up"}
LOCKED = {errno.EROFS: "the file system is read-only", errno.EACCES: "this user may not write there"}
FREE = "free space (finished work stays and the run goes on where it stopped), or move `results` to a larger disk"
OPEN = "make it writable for this user, or run in a copy of the project that is yours"


class StorageError(RuntimeError):
    """Results cannot be written; says where, why, and what to do."""


def advice(error: BaseException) -> str | None:
    """Where writing failed, why, and what to do; None for an error of another kind.

    Libraries that write weights report the system's error in a text of their own, so causes and texts are read, too.
    """
    if isinstance(error, OSError) and error.errno in FULL:
        # a copy names its source first
        return f"cannot write {error.filename2 or error.filename or 'a file'}: {FULL[error.errno]}; {FREE}"
    if isinstance(error, OSError) and error.errno in LOCKED and error.filename:
        folder = Path(os.fsdecode(error.filename)).parent
        # a file that may not be read gives the same error; then writing is not what failed
        if not os.access(folder, os.W_OK):
            return f"cannot write {folder}: {LOCKED[error.errno]}; {OPEN}"
        return None
    if os.strerror(errno.ENOSPC) in str(error):
        return f"cannot write a file: {FULL[errno.ENOSPC]}; {FREE}"
    return None


def writable(folder: Path) -> None:
    """Raises StorageError where a folder, or the one that it would be made in, cannot be written."""
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise StorageError(f"cannot write {folder.resolve().name}/: it is read-only for this user; {OPEN}")
