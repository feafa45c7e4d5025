"""Hashes kept between plans: right after every kind of change, and never trusted where they may be wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from fute import file_hashes
from fute.file_hashes import FOLDER, hash_files, sha256_files


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def read(monkeypatch) -> list[Path]:
    """The files that are read, in order. Files count as settled at once, so that no test waits."""
    files: list[Path] = []
    real = file_hashes.sha256_file
    monkeypatch.setattr(file_hashes, "sha256_file", lambda path: files.append(path) or real(path))
    monkeypatch.setattr(file_hashes, "SETTLED_NS", -1_000_000_000)
    return files


def hashed(path: Path) -> str:
    return sha256_files([path])[path]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def kept_file() -> Path:
    (path,) = FOLDER.iterdir()
    return path


@pytest.mark.parametrize("threads", [1, 3, None])
def test_many_files_are_hashed_in_order_and_what_cannot_be_read_is_said(monkeypatch, threads):
    monkeypatch.setattr(file_hashes, "PARCEL_FILES", 2)
    for name in range(31):
        Path(str(name)).write_bytes(b"%d" % name)
    Path("7").unlink()
    hashes = list(hash_files(((Path(str(name)), 1) for name in range(31)), threads))
    assert isinstance(hashes.pop(7), FileNotFoundError)
    assert hashes == [sha256(b"%d" % name) for name in range(31) if name != 7]
    assert list(hash_files([], threads)) == []


def test_a_file_is_read_once(read):
    path = Path("weights")
    path.write_bytes(b"one")
    assert [hashed(path), hashed(path), hashed(path.absolute())] == [sha256(b"one")] * 3
    assert read == [path]
    assert not [name for name in os.listdir(FOLDER) if name.startswith(".")], "no temporary file stays"


def same_size_and_mtime(path: Path) -> None:
    stat = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replaced(path: Path) -> None:
    stat = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"two")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


def through_a_link(path: Path) -> None:
    path.with_name("two").write_bytes(b"two")
    path.unlink()
    path.symlink_to("two")


@pytest.mark.parametrize("change", [same_size_and_mtime, replaced, through_a_link, lambda p: p.write_bytes(b"two")])
def test_a_changed_file_is_read_again(read, change):
    path = Path("weights")
    path.write_bytes(b"one")
    assert hashed(path) == sha256(b"one")
    change(path)
    assert hashed(path) == sha256(b"two") and len(read) == 2


def test_the_target_of_a_link_counts(read):
    Path("blob").write_bytes(b"one")
    Path("link").symlink_to("blob")
    assert hashed(Path("link")) == sha256(b"one")
    same_size_and_mtime(Path("blob"))
    assert hashed(Path("link")) == sha256(b"two")


def test_a_file_that_has_just_changed_is_not_kept(read, monkeypatch):
    monkeypatch.setattr(file_hashes, "SETTLED_NS", 2_000_000_000)
    path = Path("weights")
    path.write_bytes(b"one")
    assert hashed(path) == hashed(path) == sha256(b"one")
    assert len(read) == 2 and not FOLDER.exists()


def test_a_file_that_changes_while_it_is_read_is_not_kept(read, monkeypatch):
    path = Path("weights")
    path.write_bytes(b"one")
    monkeypatch.setattr(file_hashes, "sha256_file", lambda path: path.write_bytes(b"more") and "0" * 64)
    assert hashed(path) == "0" * 64 and not FOLDER.exists()


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"{", b"[]", b"\xff\x00", b"null", b'{"files": {}}', b"[" * 100_000,
        lambda text: text.replace(sha256(b"one").encode(), sha256(b"two").encode()),
        lambda text: text[:-20],
    ],
)  # fmt: skip
def test_damaged_or_edited_hashes_are_ignored(read, damage):
    path = Path("weights")
    path.write_bytes(b"one")
    hashed(path)
    kept = kept_file()
    kept.write_bytes(damage(kept.read_bytes()) if callable(damage) else damage)
    file_hashes._parsed.cache_clear()  # as another process
    assert hashed(path) == sha256(b"one") and len(read) == 2
    assert hashed(path) == sha256(b"one") and len(read) == 2, "they are written anew"


def test_another_host_and_a_copied_folder_read_the_files_themselves(read, monkeypatch, tmp_path):
    path = Path("weights")
    path.write_bytes(b"one")
    hashed(path)
    monkeypatch.setattr("platform.node", lambda: "another/host")
    assert hashed(path) == sha256(b"one") and len(read) == 2
    assert len(list(FOLDER.iterdir())) == 2
    # the same path on a machine of the same name, with the copied hashes, sizes and times, and another file
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    tmp_path.rename(tmp_path.with_name("before"))
    tmp_path.with_name("copy").rename(tmp_path)
    monkeypatch.chdir(tmp_path)
    same_size_and_mtime(path)
    assert hashed(path) == sha256(b"two")


@pytest.mark.parametrize("in_the_way", [lambda: FOLDER.write_text("a file"), lambda: FOLDER.symlink_to(".fute")])
def test_hashes_that_cannot_be_kept_are_computed_each_time(read, in_the_way):
    in_the_way()
    path = Path("weights")
    path.write_bytes(b"one")
    assert hashed(path) == hashed(path) == sha256(b"one") and len(read) == 2


def test_a_file_that_cannot_be_read_is_named():
    with pytest.raises(FileNotFoundError, match="'missing'"):
        sha256_files([Path("missing")])


def test_entries_of_files_that_are_gone_are_dropped(read):
    for name in ("a", "b"):
        Path(name).write_text(name)
    sha256_files([Path("a"), Path("b")])
    Path("a").unlink()
    Path("c").write_text("c")
    hashed(Path("c"))
    kept = json.loads(kept_file().read_text())["files"]
    assert sorted(os.path.basename(name) for name in kept) == ["b", "c"]
