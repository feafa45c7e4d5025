"""Datasets and models of a hub that is busy now and then: asked again, and never read from another commit's cache."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from rehearsal.hub import Hub, Store

from fute.data import hub_patience
from fute.data.hub_patience import patiently
from fute.data.rows import SourceError

READ = """
import sys
from fute.data import hub_patience
hub_patience.WAITS = (0,) * 5
hub_patience.LONGEST = 0
from fute.data.hub import load_split, resolve_revision
from fute.data.rows import SourceError
for revision in sys.argv[1:]:
    try:
        commit = resolve_revision("maker/films") if revision == "newest" else revision
        print(commit, [row["text"] for row in load_split("maker/films", None, "train", commit, ["text"])])
    except SourceError as error:
        print("refused", str(error).splitlines()[0])
"""


def film(folder: Path, text: str) -> str:
    """A repository with one row; its commit."""
    branch = folder / "datasets/maker/films/main"
    branch.mkdir(parents=True, exist_ok=True)
    (branch / "train.jsonl").write_text(json.dumps({"text": text}) + "\n")
    return Store(folder).branch("datasets", "maker/films", "main").commit


@pytest.fixture
def serve(tmp_path) -> Iterator:
    """Start a hub; it is ended with the test."""
    servers = []

    def start(folder: Path, seed: int | None) -> Hub:
        servers.append(Hub(folder, 0, tmp_path / "hub.log", seed))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def read(address: str, home: Path, *revisions: str) -> list[str]:
    """What `READ` prints, in a process of its own: the address of the hub is read when its client is imported."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "PYTHONPATH": "src",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    line = [sys.executable, "-c", READ, *revisions]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if "the hub answers" not in line]


def test_a_hub_that_fails_each_first_time_is_asked_again(serve, tmp_path, monkeypatch):
    monkeypatch.setattr("rehearsal.hub.FAILING", 1.0)
    commit = film(tmp_path / "hub", "warm")
    hub = serve(tmp_path / "hub", 0)
    assert read(hub.address, tmp_path / "home", "newest") == [f"{commit} ['warm']"]
    codes = [line[:3] for line in (tmp_path / "hub.log").read_text().splitlines()]
    assert {"429", "500"} <= set(codes)


def test_without_the_repository_no_other_commit_is_read_from_the_cache(serve, tmp_path):
    """`datasets` falls back to the newest cached commit of a repository, whichever was asked for."""
    first = film(tmp_path / "hub", "warm")
    hub = serve(tmp_path / "hub", None)
    assert read(hub.address, tmp_path / "home", first) == [f"{first} ['warm']"]
    hub.store = Store(tmp_path / "nothing")
    again, other = read(hub.address, tmp_path / "home", first, "0" * 40)
    assert again == f"{first} ['warm']"  # this one was read before
    assert other.startswith("refused maker/films, config None, split train: cannot be loaded (Dataset 'maker/films'")


def test_an_address_in_place_of_a_name_is_named():
    from fute.data import hub

    with pytest.raises(SourceError, match=r"^https://huggingface.co/a/b: its revision cannot be read .*check the name"):
        hub.resolve_revision("https://huggingface.co/a/b")


def test_a_full_disk_is_no_fault_of_the_repository(monkeypatch):
    from datasets.exceptions import DatasetGenerationError

    from fute.data import hub

    def generate(*_, **__):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise DatasetGenerationError("An error occurred while generating the dataset") from error

    monkeypatch.setattr(hub, "load_dataset", generate)
    with pytest.raises(OSError) as error:
        hub.load_split("a/b", None, "train", "0a" * 20, ["text"])
    assert error.value.errno == errno.ENOSPC


class Busy(Exception):
    def __init__(self, status: int, **headers: str) -> None:
        self.response = SimpleNamespace(status_code=status, headers=headers)


def asked(monkeypatch, *errors: Exception) -> tuple[str, list[float]]:
    """Result of a request that first fails like this, and the seconds that were waited."""
    slept: list[float] = []
    monkeypatch.setattr(hub_patience.time, "sleep", slept.append)
    answers = iter(errors)

    def ask() -> str:
        if error := next(answers, None):
            raise error
        return "answer"

    return patiently("a/b", ask), slept


def test_how_long_is_waited(monkeypatch):
    assert asked(monkeypatch) == ("answer", [])
    assert asked(monkeypatch, Busy(500), Busy(503)) == ("answer", [2, 5])
    assert asked(monkeypatch, Busy(429, **{"Retry-After": "7"})) == ("answer", [7])
    assert asked(monkeypatch, Busy(429, RateLimit='"api";r=0;t=55')) == ("answer", [55])
    assert asked(monkeypatch, Busy(429, **{"Retry-After": "9000"})) == ("answer", [310])
    wrapped = ConnectionError("cannot reach the hub")
    wrapped.__cause__ = Busy(502)
    assert asked(monkeypatch, wrapped) == ("answer", [2])


@pytest.mark.parametrize("error", [Busy(404), Busy(403), OSError("no route")])
def test_what_will_not_pass_is_not_waited_for(monkeypatch, error):
    with pytest.raises(type(error)):
        asked(monkeypatch, error)


def test_the_last_error_is_said(monkeypatch):
    with pytest.raises(Busy) as caught:
        asked(monkeypatch, *[Busy(500)] * 5, Busy(503))
    assert caught.value.response.status_code == 503
