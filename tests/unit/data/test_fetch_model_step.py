"""Bringing a model's files here: folders are copied and locked; what cannot be had is said with what to do."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from functools import partial
from importlib import metadata
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants, snapshot_download
from support.rule_files import rules

from fute.cluster.storage import advice
from fute.config.models import SIZES, ModelEntry
from fute.data.fetch_model_step import ModelError, fetch_model
from fute.data.model_folder import model_identity
from fute.data.rows import SourceError

FILES = {
    "config.json": b'{"model_type": "t5"}',
    "model.safetensors": b"\x00weights\xff",
    "tokenizer.json": b"{}",
    "merges.txt": b"a b\n",
    "chat_template.jinja": b"{{ messages }}",
    "spiece.model": b"pieces",
}
OTHER = {
    "pytorch_model.bin": b"pickled", "README.md": b"# M", "training/optimizer.json": b"{}", "trainer_state.json": b"{}",
    "training_args.bin": b"pickled", "optimizer.bin": b"pickled", "all_results.json": b"{}", "notes.txt": b"good",
}  # fmt: skip
SHARDS = {
    "pytorch_model-00001-of-00002.bin": b"one", "pytorch_model-00002-of-00002.bin": b"two",
    "pytorch_model.bin.index.json": json.dumps(
        {"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}
    ).encode(),
}  # fmt: skip


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
    return fetch_planned(model_identity(ModelEntry(title="M", **entry)), **entry)


def fetch_planned(identity: dict, **entry) -> dict:
    """The same in a run that was planned when the entry had this identity."""
    folder, lock = Path("results/models/m"), Path("results/models/m.lock.json")
    fetch_model(model="m", entry=ModelEntry(title="M", **entry), identity=identity, folder=folder, lock=lock)
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
    said = r"empty holds no config\.json; give the folder of a saved model$"
    with pytest.raises(SourceError, match=said):
        model_identity(ModelEntry(folder=str(folder)))
    with pytest.raises(ModelError, match=rf"^model m: .*{said}"):
        fetch_planned({}, folder=str(folder))
    assert not Path("results/models/m").exists() and not Path("results/models/m.lock.json").exists()


def test_a_refused_fetch_leaves_the_old_files(saved):
    lock = fetch(folder=str(saved))
    (saved / "config.json").unlink()
    with pytest.raises(ModelError):
        fetch_planned({}, folder=str(saved))
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


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("revision", [None, "0a" * 20])
def test_a_hub_that_gives_no_answer_or_is_not_asked_is_no_traceback(monkeypatch, revision, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client tries again, for 23 s
    nobody = "http://127.0.0.1:1"  # a port that nothing listens on
    monkeypatch.setattr(huggingface_hub, "HfApi", partial(HfApi, endpoint=nobody))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", partial(snapshot_download, endpoint=nobody))
    with pytest.raises(ModelError, match=r"^model m: cannot fetch a/b: (.|\n)*; run this step on a node with network$"):
        fetch(repo="a/b", revision=revision)
    assert not Path("results/models/m.lock.json").exists()


def stands_in_for_the_hub(monkeypatch, *downloads) -> None:
    """Each download is one of these functions, given the folder to fill; then an empty one."""
    left = list(downloads)

    def snapshot_download(repo, *, revision, local_dir, **_):
        (left.pop(0) if left else lambda folder: None)(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def broken_off_after(name: str):
    def download(folder: Path) -> None:
        (folder / name).write_bytes(b"whole")
        raise KeyboardInterrupt

    return download


def test_a_download_goes_on_where_it_was_broken_off(monkeypatch):
    weights = "model.safetensors"
    stands_in_for_the_hub(monkeypatch, broken_off_after("config.json"), lambda folder: (folder / weights).touch())
    with pytest.raises(KeyboardInterrupt):
        fetch(repo="a/b", revision="0a" * 20)
    assert sorted(fetch(repo="a/b", revision="0a" * 20)["files"]) == ["config.json", weights]


def test_nothing_of_another_commit_is_left_from_a_download_that_was_broken_off(monkeypatch):
    shard, weights = "model-00001-of-00002.safetensors", "model.safetensors"
    begun = Path("results/models/.m." + "0a" * 20 + ".partial")
    other = Path("results/models/.m.2.partial")  # of a model `m.2`, which is fetched at the same time
    other.mkdir(parents=True)
    stands_in_for_the_hub(monkeypatch, broken_off_after(shard), lambda folder: (folder / weights).touch())
    with pytest.raises(KeyboardInterrupt):
        fetch(repo="a/b", revision="0a" * 20)
    assert (begun / shard).is_file()
    lock = fetch(repo="a/b", revision="1b" * 20)
    assert sorted(lock["files"]) == [weights] and lock["source"]["revision"] == "1b" * 20
    assert not begun.exists() and other.is_dir()


def test_without_a_network_what_was_begun_of_another_commit_is_not_taken_for_the_model(monkeypatch):
    """The hub's client gives any folder that is not empty, where it cannot ask."""
    with pytest.MonkeyPatch.context() as patch:
        stands_in_for_the_hub(patch, broken_off_after("model.safetensors"))
        with pytest.raises(KeyboardInterrupt):
            fetch(repo="a/b", revision="0a" * 20)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"^model m: cannot fetch a/b: "):
        fetch(repo="a/b", revision="1b" * 20)
    assert not Path("results/models/m.lock.json").exists()


def test_an_adapter_on_the_hub_is_no_model(monkeypatch):
    stands_in_for_the_hub(monkeypatch, lambda folder: (folder / "adapter_model.safetensors").touch())
    with pytest.raises(ModelError, match=r"^model m: a/b at 0a0a\w+ holds an adapter alone; merge its adapter into"):
        fetch(repo="a/b", revision="0a" * 20)
    assert not Path("results/models/m.lock.json").exists()


def test_a_full_disk_is_no_fault_of_the_network(monkeypatch):
    def download(folder: Path) -> None:
        try:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))  # as of a write, which knows no file
        except OSError as error:
            raise ConnectionError("the download has failed") from error

    stands_in_for_the_hub(monkeypatch, download)
    with pytest.raises(OSError) as error:
        fetch(repo="a/b", revision="0a" * 20)
    assert advice(error.value).startswith("cannot write a file: the quota is used up; free space")


@pytest.mark.parametrize("revision", [None, "0a" * 20])
def test_an_address_in_place_of_a_name_is_named(revision):
    with pytest.raises(
        ModelError, match=r"^model m: https://huggingface.co/a/b names no repository \(.*write owner/name"
    ):
        fetch(repo="https://huggingface.co/a/b", revision=revision)


# --- a folder of one's own: its content identifies it ---------------------------------------------------


def identity(folder: Path) -> dict:
    return model_identity(ModelEntry(folder=str(folder)))["folder"]


def test_a_model_trained_again_has_another_identity(saved):
    before, size = identity(saved), (saved / "model.safetensors").stat().st_size
    assert before == {"name": "saved", "files": {n: hashlib.sha256(d).hexdigest() for n, d in FILES.items()}}
    times = (saved / "model.safetensors").stat()
    (saved / "model.safetensors").write_bytes(b"\x00WEIGHTS\xff")
    os.utime(saved / "model.safetensors", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (saved / "model.safetensors").stat().st_size == size
    assert identity(saved) != before
    (saved / "model.safetensors").write_bytes(FILES["model.safetensors"])
    assert identity(saved) == before


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_of_the_model_is_part_of_its_identity(saved, name):
    before = identity(saved)
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[:-1] + b" ")
    assert identity(saved) != before


@pytest.mark.parametrize("name", [*OTHER, "eval_results.json", "train_log.json", "wandb/run.json"])
def test_what_a_training_leaves_beside_the_model_is_not(saved, name):
    before = identity(saved)
    (saved / name).parent.mkdir(exist_ok=True)
    (saved / name).write_bytes(b"another")
    assert identity(saved) == before


def test_a_folder_that_changed_after_planning_is_not_taken_for_the_planned_one(saved):
    lock = fetch(folder=str(saved))
    planned = model_identity(ModelEntry(folder=str(saved)))
    (saved / "model.safetensors").write_bytes(b"\x00WEIGHTS\xff")
    said = r"^model m: .*saved changed while the run was being prepared \(model\.safetensors\); run again$"
    with pytest.raises(ModelError, match=said):
        fetch_planned(planned, folder=str(saved))
    assert json.loads(Path("results/models/m.lock.json").read_text()) == lock
    assert Path("results/models/m/model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert fetch(folder=str(saved)) != lock


def test_the_record_holds_the_identity_that_the_run_was_planned_with(saved):
    fetch(folder=str(saved))
    record = json.loads(Path("results/models/m.lock.json.prov.json").read_text())["record"]
    assert record["params"]["folder"]["files"]["model.safetensors"] == hashlib.sha256(b"\x00weights\xff").hexdigest()


@pytest.mark.parametrize("weights", [{"pytorch_model.bin": b"pickled"}, SHARDS], ids=["one", "shards"])
def test_torch_weights_are_taken_where_there_are_no_safetensors(saved, weights):
    for name in ("model.safetensors", "pytorch_model.bin"):
        (saved / name).unlink()
    for name, data in weights.items():
        (saved / name).write_bytes(data)
    lock, before = fetch(folder=str(saved)), identity(saved)
    assert sorted(lock["files"]) == sorted({*FILES, *weights} - {"model.safetensors"})
    (saved / "model.safetensors").write_bytes(b"now there")
    assert identity(saved) != before, "later safetensors are seen"
    files = fetch(folder=str(saved))["files"]
    assert "model.safetensors" in files and not [name for name in files if name.endswith(".bin")]


@pytest.mark.parametrize(
    "there, message",
    [
        ({}, r"holds no weights, model\.safetensors or pytorch_model\.bin; copy them there"),
        ({"training_args.bin": b"a", "optimizer.bin": b"b"}, "holds no weights"),
        ({"adapter_model.safetensors": b"a"}, r"holds no weights.*merge its adapter"),
        ({"model-00001-of-00002.safetensors": b"a"}, "holds no weights"),
        ({name: data for name, data in SHARDS.items() if "00002-of" not in name}, "lacks pytorch_model-00002-of-00002"),
        ({"model.safetensors.index.json": b"{"}, "is no index of weights; save the model again"),
        ({"model.safetensors.index.json": b'{"weight_map": ["a"]}'}, "is no index of weights"),
    ],
)
def test_a_folder_without_whole_weights_is_refused_before_anything_is_planned_or_locked(saved, there, message):
    for name in ("model.safetensors", "pytorch_model.bin"):
        (saved / name).unlink()
    for name, data in there.items():
        (saved / name).write_bytes(data)
    with pytest.raises(SourceError, match=message):
        identity(saved)
    with pytest.raises(ModelError, match=f"^model m: .*{message}"):
        fetch_planned({}, folder=str(saved))
    assert not Path("results/models/m.lock.json").exists()


@pytest.mark.parametrize("place", ["../own.py", "{folder}/own.py"])
def test_an_index_that_names_a_file_elsewhere_is_refused(saved, place):
    """A copy of the folder would write it where the same way leads from there: over a file of the project."""
    other = saved.parent / "own.py"
    other.write_text("theirs")
    Path("results/models").mkdir(parents=True)
    Path("results/models/own.py").write_text("mine")
    (saved / "model.safetensors").unlink()
    shard = place.format(folder=saved.parent)
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ModelError, match=rf"index\.json names '{re.escape(shard)}', which is no file beside it"):
        fetch_planned({}, folder=str(saved))
    assert Path("results/models/own.py").read_text() == "mine"


def test_the_rule_fetches_again_only_for_what_changes_the_files():
    excluded = re.search(r"model_dump\(exclude=(\{.*?\})\)", rules()["fetch_model"])[1]
    same = {"title": "Llama", "gated": True, "parameters_m": 7000, "active_parameters_m": 500}
    repo, renamed, pinned = (
        ModelEntry(repo="a/b", **more).model_dump(exclude=eval(excluded, {"SIZES": SIZES}))
        for more in ({}, same, {"revision": "0" * 40})
    )
    assert repo == renamed != pinned
