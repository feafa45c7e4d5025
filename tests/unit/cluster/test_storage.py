"""What is said where results cannot be written."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fute.cluster import storage


def test_advice_names_place_reason_and_remedy(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device", "results/x")
    assert storage.advice(full).startswith("cannot write results/x: the disk is full; free space")
    copied = OSError(errno.ENOSPC, "No space left on device", "/data/x", None, "results/x")
    assert storage.advice(copied).startswith("cannot write results/x:")
    assert "quota" in storage.advice(OSError(errno.EDQUOT, "Disk quota exceeded", "results/x"))
    library = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert "the disk is full" in storage.advice(library)
    library = RuntimeError("I/O error: Disk quota exceeded (os error 122)")
    assert storage.advice(library).startswith("cannot write a file: the quota is used up; free space")
    assert "may not write there; make it" in storage.advice(PermissionError(errno.EACCES, "denied", "/sys/kernel/x/y"))
    assert storage.advice(FileNotFoundError(errno.ENOENT, "No such file", "results/x")) is None
    assert storage.advice(ValueError("x")) is None
    storage.writable(tmp_path / "not" / "yet")


def full(path: object = None) -> str:
    error = OSError(errno.ENOSPC, "No space left on device", *([] if path is None else [str(path)]))
    return storage.advice(error)


def test_advice_names_what_to_set_where_another_folder_than_results_is_full(tmp_path, monkeypatch):
    """Also where `results` is a link, or everything lies in the temporary folder."""
    (tmp_path / "scratch/results").mkdir(parents=True)
    for name in ("project", "tmp", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "project")
    Path("results").symlink_to(tmp_path / "scratch/results")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    for inside in ("results/m/x", tmp_path / "scratch/results/m/x"):
        assert full(inside).endswith("run again to continue), or move `results` to a larger disk")
    assert f"cannot write {tmp_path}/tmp/a/b: the disk is full; free space" in full(tmp_path / "tmp/a/b")
    assert full(tmp_path / "tmp/a/b").endswith(f", or {storage.LARGER_TEMPORARY}")
    assert full(tmp_path / "home/.cache/vllm/x").endswith(f", or {storage.CACHES}")
    assert full(tmp_path / "home/x").endswith(", or choose a folder on a larger disk")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert full("results/x").endswith("or move `results` to a larger disk")
    monkeypatch.delenv("TMPDIR")
    assert storage.LARGER_TEMPORARY in full("/tmp/x")


def test_where_no_file_is_named_the_room_on_both_disks_is(tmp_path, monkeypatch):
    """As when a file that is open cannot be written on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    room = {tmp_path: 120e9, tmp_path / "tmp": 0}
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda folder: SimpleNamespace(free=room[folder]))
    for error in (OSError(errno.ENOSPC, "No space left on device"), OSError(errno.ENOSPC, "No space left", 5)):
        assert storage.advice(error) == (
            "cannot write a file: the disk is full; free space (finished work is kept: run again to continue), or move "
            f"`results` (120.0 GB free) to a larger disk; if {tmp_path}/tmp (0.0 GB free) is what is full, "
            f"{storage.LARGER_TEMPORARY}"
        )
    of_quota = storage.advice(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert "GB free" not in of_quota, "which a disk's room says nothing of"


def test_no_temporary_folder_at_all(tmp_path, monkeypatch):
    """Python tries several, and gives up where none can be written on."""

    def fail(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile._os, "open", fail)
    with pytest.raises(FileNotFoundError) as error:
        tempfile.gettempdir()
    monkeypatch.undo()
    said = storage.advice(error.value)
    assert said.startswith("No usable temporary directory found in ['") and said.endswith(storage.LARGER_TEMPORARY)


def test_results_that_link_to_nothing_are_refused(tmp_path):
    """As where a scratch file system was cleared: no folder can be made through such a link."""
    results = tmp_path / "results"
    results.symlink_to(tmp_path / "scratch/results")
    with pytest.raises(storage.StorageError, match=r"results is a link to .*scratch/results, which is not there"):
        storage.writable(results)
    (tmp_path / "scratch/results").mkdir(parents=True)
    storage.writable(results)
