"""Advice for users when files cannot be written: a full disk, a quota, a read-only folder, other users' files."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up"}
LOCKED = {errno.EROFS: "the file system is read-only", errno.EACCES: "this user may not write there"}
FREE = "free space (finished work is kept: run again to continue)"
LARGER_TEMPORARY = "set TMPDIR to a folder of a larger disk (export it before the run; jobs inherit it)"
CACHES = "set TRITON_CACHE_DIR, XDG_CACHE_HOME, HF_HOME and VLLM_CACHE_ROOT to a scratch file system"
RESULTS = Path("results")
OPEN = "make it writable for this user, or run in a copy of the project that is yours"


class StorageError(RuntimeError):
    """Results cannot be written; the message says where, why, and what to do."""


def advice(error: BaseException) -> str | None:
    """Message where writing failed, why, and what to do; None for an error of another kind.

    Libraries that write weights report the system's error in their own words, so the error's text is read, too.
    """
    if isinstance(error, FileNotFoundError) and "No usable temporary directory" in str(error):  # Python's own words
        return f"{error.strerror}; {FREE}, or {LARGER_TEMPORARY}"
    if isinstance(error, OSError) and error.errno in FULL:
        # a failed copy has its source as filename, its target as filename2
        return _full(error.errno, error.filename2 or error.filename)
    if isinstance(error, OSError) and error.errno in LOCKED and error.filename:
        folder = Path(os.fsdecode(error.filename)).parent
        # an unreadable file gives the same error; then it was reading that failed
        if not os.access(folder, os.W_OK):
            return f"cannot write {folder}: {LOCKED[error.errno]}; {OPEN}"
        return None
    full = next((number for number in FULL if os.strerror(number) in str(error)), None)
    return _full(full, None) if full else None


def _full(number: int, file: str | bytes | int | None) -> str:
    """What to say of a file on a full disk; None: of one that the error does not name."""
    temporary = Path(os.environ.get("TMPDIR") or "/tmp")  # tempfile.gettempdir raises where it is full
    if isinstance(file, (str, bytes)):
        path = Path(os.fsdecode(file)).resolve()
        if path.is_relative_to(RESULTS.resolve()):
            where = f"move `{RESULTS}` to a larger disk"
        elif path.is_relative_to(temporary.resolve()):
            where = LARGER_TEMPORARY
        elif {".cache", ".triton"} & set(path.parts):
            where = CACHES
        else:
            where = "choose a folder on a larger disk"
    else:
        results, other = (
            f" ({shutil.disk_usage(existing(folder)).free / 1e9:.1f} GB free)" if number == errno.ENOSPC else ""
            for folder in (RESULTS, temporary)
        )
        where = f"move `{RESULTS}`{results} to a larger disk; if {temporary}{other} is what is full, {LARGER_TEMPORARY}"
    named = os.fsdecode(file) if isinstance(file, (str, bytes)) else "a file"
    return f"cannot write {named}: {FULL[number]}; {FREE}, or {where}"


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
