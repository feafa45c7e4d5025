"""One process at a time in a folder: the second waits and says for whom, and a killed one holds nobody up."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fute.data import folder_lock
from fute.data.folder_lock import NAME, FolderTaken, alone_in


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "data/.download"


def holder(folder: Path, then: str = "input()") -> subprocess.Popen[str]:
    """A process that works in the folder until it is told to end; it has the lock when this returns."""
    code = (
        "from pathlib import Path\nfrom fute.data.folder_lock import alone_in\n"
        f"with alone_in(Path({str(folder)!r})):\n    print('has it', flush=True)\n    {then}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return process


def test_a_folder_of_its_own_is_gone_at_the_end_and_what_is_in_it_stays(folder):
    with alone_in(folder):
        said = (folder / NAME).read_text()
        assert re.fullmatch(rf"process {os.getpid()} on {platform.node()} since \d{{4}}-\d\d-\d\d \d\d:\d\d", said)
    assert not folder.exists() and folder.parent.is_dir()
    with pytest.raises(KeyError), alone_in(folder):
        (folder / "begun").touch()
        raise KeyError
    assert [path.name for path in folder.iterdir()] == ["begun"]


def test_the_second_says_who_has_the_folder_and_waits_until_that_ends(folder):
    first = holder(folder)
    assert first.stdout.readline() == "has it\n"
    second = holder(folder, "pass")
    assert second.stdout.readline().startswith(
        f"{folder}: process {first.pid} on {platform.node()} since 20"
    )  # before `has it`
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.2)
    assert first.communicate("\n")[1] == "" and first.returncode == 0
    assert second.communicate()[0] == "has it\n" and second.returncode == 0
    assert not folder.exists()


def test_a_killed_process_leaves_no_lock(folder, capsys):
    killed = holder(folder)
    assert killed.stdout.readline() == "has it\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert (folder / NAME).read_text().startswith(f"process {killed.pid} ")
    with alone_in(folder):
        assert (folder / NAME).read_text().startswith(f"process {os.getpid()} ")
    assert capsys.readouterr().out == "" and not folder.exists()


def test_a_folder_that_the_last_one_has_just_removed_is_made_again(folder, monkeypatch):
    """Between the lock and the look at it the file is another one: it is tried again."""
    locks, real = [], fcntl.flock

    def flock(lock: int, how: int) -> None:
        locks.append(os.fstat(lock).st_ino)
        if len(locks) == 1:
            (folder / NAME).unlink()
            folder.rmdir()
        real(lock, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with alone_in(folder):
        assert len(locks) == 2 and (folder / NAME).stat().st_ino == locks[1]


def test_a_disk_without_locks_is_said(folder, monkeypatch, capsys):
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    with alone_in(folder):
        pass
    assert capsys.readouterr().out == (
        "this disk has no locks (Function not implemented): start nothing else in the same folder\n"
    )


def test_a_folder_of_another_user_is_said(folder, monkeypatch):
    folder.mkdir(parents=True)
    (folder / NAME).write_text("process 7 on node3 since 2026-01-02 03:04")

    def refused(path: Path, *_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(folder_lock.os, "open", refused)
    with pytest.raises(FolderTaken, match=r"belongs to another user, who works in it \(process 7 on node3 since .*\)"):
        alone_in(folder).__enter__()
    (folder / NAME).unlink()
    with pytest.raises(PermissionError):
        alone_in(folder).__enter__()
