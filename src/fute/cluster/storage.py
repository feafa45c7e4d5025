"""Advice for users when results cannot be written: a full disk, a quota, a read-only folder, other users' files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up"}
LOCKED = {errno.EROFS: "the file system is read-only", errno.EACCES: "this user may not write there"}
FREE = "free space (finished work is kept: run again to continue), or move `results` to a larger disk"
OPEN = "make it writable for this user, or run in a copy of the project that is yours"


class StorageError(RuntimeError):
    """Results cannot be written; the message says where, why, and what to do."""


def advice(error: BaseException) -> str | None:
    """Message where writing failed, why, and what to do; None for an error of another kind.

    Libraries that write weights report the system's error in their own words, so the error's text is read, too.
    """
    if isinstance(error, OSError) and error.errno in FULL:
        # a failed copy has its source as filename, its target as filename2
        return f"cannot write {error.filename2 or error.filename or 'a file'}: {FULL[error.errno]}; {FREE}"
    if isinstance(error, OSError) and error.errno in LOCKED and error.filename:
        folder = Path(os.fsdecode(error.filename)).parent
        # an unreadable file gives the same error; then it was reading that failed
        if not os.access(folder, os.W_OK):
            return f"cannot write {folder}: {LOCKED[error.errno]}; {OPEN}"
        return None
    full = next((what for number, what in FULL.items() if os.strerror(number) in str(error)), None)
    return f"cannot write a file: {full}; {FREE}" if full else None


def writable(folder: Path) -> None:
    """Raise StorageError if a folder, or the one that it would be created in, is not writable, or a link to nothing."""
    if folder.is_symlink() and not folder.exists():
        raise StorageError(
            f"{folder} is a link to {folder.readlink()}, which is not there: create that folder, or remove the link"
        )
    folder = existing(folder)
    if not os.access(folder, os.W_OK):
        raise StorageError(f"cannot write {folder.name}/: it is read-only for this user; {OPEN}")


def existing(folder: Path) -> Path:
    """A folder, links followed, or where it is not there the nearest above it that is."""
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    return folder
