"""What is said where results cannot be written."""

from __future__ import annotations

import errno

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


def test_results_that_link_to_nothing_are_refused(tmp_path):
    """As where a scratch file system was cleared: no folder can be made through such a link."""
    results = tmp_path / "results"
    results.symlink_to(tmp_path / "scratch/results")
    with pytest.raises(storage.StorageError, match=r"results is a link to .*scratch/results, which is not there"):
        storage.writable(results)
    (tmp_path / "scratch/results").mkdir(parents=True)
    storage.writable(results)
