"""Bringing a model's files here: folders are copied and locked; what cannot be had is said with what to do."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path

import pytest
from huggingface_hub import constants

from fute.config.models import ModelEntry
from fute.data.fetch_model_step import ModelError, fetch_model

FILES = {
    "config.json": b'{"model_type": "t5"}',
    "model-00001-of-00001.safetensors": b"\x00weights\xff",
    "tokenizer.json": b"{}",
    "merges.txt": b"a b\n",
    "chat_template.jinja": b"{{ messages }}",
    "spiece.model": b"pieces",
}
OTHER = {"pytorch_model.bin": b"pickled", "README.md": b"# M", "training/optimizer.json": b"{}"}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder as `save_pretrained` leaves it, with files beside the model that are no part of it."""
    folder = tmp_path / "saved"
    for name, data in (FILES | OTHER).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def fetch(**entry) -> dict:
    """Fetch the model `m` into the current folder; its lock."""
    folder, lock = Path("results/models/m"), Path("results/models/m.lock.json")
    fetch_model(model="m", entry=ModelEntry(title="M", **entry), folder=folder, lock=lock)
    return json.loads(lock.read_text())


def test_a_folder_is_copied_and_locked_file_by_file(saved, capsys):
    lock = fetch(folder=str(saved))
    here = Path("results/models/m")
    assert {path.name: path.read_bytes() for path in here.iterdir()} == FILES
    assert lock == {
        "model": "m",
        "source": {"folder": "saved"},
        "files": {n: {"sha256": hashlib.sha256(d).hexdigest(), "bytes": len(d)} for n, d in FILES.items()},
    }
    assert "m: 6 files" in capsys.readouterr().out
    record = json.loads(Path("results/models/m.lock.json.prov.json").read_text())["record"]
    assert record["step"] == "fetch_model"
    assert record["sha256"] == hashlib.sha256(Path("results/models/m.lock.json").read_bytes()).hexdigest()


def test_links_of_a_hub_cache_are_followed(saved):
    blob = saved / "config.json"
    blob.rename(saved.parent / "blob")
    blob.symlink_to("../blob")
    fetch(folder=str(saved))
    copied = Path("results/models/m/config.json")
    assert not copied.is_symlink() and copied.read_bytes() == FILES["config.json"]


def test_the_lock_says_nothing_of_where_the_folder_was(saved, tmp_path):
    first = fetch(folder=str(saved))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    saved.rename(elsewhere / "saved")
    assert fetch(folder=str(elsewhere / "saved")) == first
    assert str(tmp_path) not in Path("results/models/m.lock.json").read_text()


def test_a_second_fetch_replaces_the_folder(saved):
    fetch(folder=str(saved))
    Path("results/models/m/stray.json").write_text("{}")
    Path("results/models/.m.partial").mkdir()
    Path("results/models/.m.partial/half.json").write_text("{")
    (saved / "config.json").write_bytes(b"{}")
    (saved / "merges.txt").unlink()
    lock = fetch(folder=str(saved))
    assert sorted(lock["files"]) == sorted(set(FILES) - {"merges.txt"})
    assert lock["files"]["config.json"]["bytes"] == 2
    assert sorted(path.name for path in Path("results/models/m").iterdir()) == sorted(lock["files"])
    assert not Path("results/models/.m.partial").exists()


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_without_a_model_is_refused(tmp_path, make):
    folder = tmp_path / "empty"
    if make:
        folder.mkdir()
    with pytest.raises(ModelError, match=r"^model m: .*empty holds no config\.json; give the folder of a saved model$"):
        fetch(folder=str(folder))
    assert not Path("results/models/m").exists() and not Path("results/models/m.lock.json").exists()


def test_a_refused_fetch_leaves_the_old_files(saved):
    lock = fetch(folder=str(saved))
    (saved / "config.json").unlink()
    with pytest.raises(ModelError):
        fetch(folder=str(saved))
    assert sorted(path.name for path in Path("results/models/m").iterdir()) == sorted(FILES)
    assert json.loads(Path("results/models/m.lock.json").read_text()) == lock


def test_a_missing_package_is_named_with_the_version_to_install():
    with pytest.raises(
        ModelError, match=r"^model m: package no-such-weights is missing; install no-such-weights==1\.2$"
    ):
        fetch(package="no-such-weights", version="1.2", file="m.gguf")


def test_a_package_of_another_version_is_refused():
    # any installed package shows it; its version is compared before its file is looked for
    found = metadata.version("pydantic")
    with pytest.raises(
        ModelError, match=rf"^model m: package pydantic is {found}, the registry says 0\.1; install that"
    ):
        fetch(package="pydantic", version="0.1", file="m.gguf")


def install(tmp_path: Path, monkeypatch, saved: Path) -> None:
    """A package `own-weights` 0.3 that holds a saved model in its folder `model`."""
    site = tmp_path / "site"
    (site / "own_weights").mkdir(parents=True)
    (site / "own_weights/__init__.py").write_text("raise ImportError('its files are read, it is not imported')\n")
    saved.rename(site / "own_weights/model")
    (site / "own_weights-0.3.dist-info").mkdir()
    (site / "own_weights-0.3.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: own-weights\nVersion: 0.3\n")
    monkeypatch.syspath_prepend(site)


def test_a_saved_model_inside_a_package_is_copied_and_locked(saved, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, saved)
    lock = fetch(package="own-weights", version="0.3", file="model")
    assert {path.name: path.read_bytes() for path in Path("results/models/m").iterdir()} == FILES
    assert lock["source"] == {"package": "own-weights", "version": "0.3", "file": "model"}
    assert sorted(lock["files"]) == sorted(FILES)


def test_a_package_without_the_named_file_is_refused(saved, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, saved)
    with pytest.raises(ModelError, match=r"^model m: package own-weights 0\.3 holds no other\.gguf; correct `file`$"):
        fetch(package="own-weights", version="0.3", file="other.gguf")


def test_a_model_behind_a_server_has_no_files():
    lock = fetch(server=True)
    assert lock == {"model": "m", "source": {"server": True}, "files": {}}
    assert not Path("results/models/m").exists()


@pytest.mark.parametrize("revision", [None, "0a" * 20])
def test_without_a_network_the_step_says_where_to_run_it(monkeypatch, revision):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"^model m: cannot fetch a/b: (.|\n)*; run this step on a node with network$"):
        fetch(repo="a/b", revision=revision)
    assert not Path("results/models/m.lock.json").exists()
