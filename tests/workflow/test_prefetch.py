"""`fute prefetch` against a hub on this machine: models by revision, gated ones by a token that is left nowhere."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from support.checkouts import LM_CONFIG, LM_MODEL, LM_SURROGATE, Checkout, copy_project

pytestmark = pytest.mark.workflow

REPO, COMMIT = "makers/gated-bert", "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_plantedPlantedPlantedPlanted1234"
FILES = {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"\x08weights", "tokenizer.json": b"{}"}


class Hub(ThreadingHTTPServer):
    """Answers as the hub does for one gated repository; knows which command lines held the token meanwhile."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.leaks: list[str] = []
        self.asked_with_token = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if TOKEN.encode() in (words := line.read_bytes()):
                    self.server.leaks.append(words.decode())
            except OSError:
                continue
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, b"gated", {"X-Error-Code": "GatedRepo"})
        self.server.asked_with_token += 1
        if self.path.startswith(f"/api/models/{REPO}"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in FILES.items()]
            if "/tree/" in self.path:
                tree = [
                    {"type": "file", "path": n, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                    for n, d in FILES.items()
                ]
                return self.answer(200, json.dumps(tree).encode())
            found = {"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings, "tags": [], "gated": "auto"}
            return self.answer(200, json.dumps(found).encode())
        data = FILES[self.path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")]
        return self.answer(200, data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT})

    def answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A copy of the project whose black box is gated, and whose surrogate is a folder."""
    made = copy_project(tmp_path / "project")
    made.config = LM_CONFIG
    (tmp_path / "saved").mkdir()
    for name, data in FILES.items():
        (tmp_path / "saved" / name).write_bytes(data)
    models = yaml.safe_load((made / "config/models.yaml").read_text())
    models[LM_MODEL] = {"repo": REPO, "gated": True}
    models[LM_SURROGATE] = {"folder": str(tmp_path / "saved")}
    (made / "config/models.yaml").write_text(yaml.safe_dump(models))
    config = yaml.safe_load((made / LM_CONFIG).read_text())
    config["lm"]["datasets"] = {"cr": ["mini-grammar", "mini-topics"], "qa": [], "domain": []}
    (made / LM_CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
    return made


def prefetch(checkout: Checkout, hub: Hub, **more: str) -> subprocess.CompletedProcess[str]:
    return fute(checkout, hub, "prefetch", "--cores", "2", **more)


def fute(checkout: Checkout, hub: Hub, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in checkout.environment().items() if k not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
    home = {"HF_HOME": str(checkout.folder.parent / "hf"), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-m", "fute", *command, "--configfile", LM_CONFIG],
        cwd=checkout.folder, env=environment | home | {"HF_ENDPOINT": hub.address} | more, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_without_a_token_nothing_is_begun(checkout, hub):
    done = prefetch(checkout, hub)
    assert done.returncode == 1 and len(done.stdout.splitlines()) == 1
    assert f"{LM_MODEL} ({REPO})" in done.stdout and "export HF_TOKEN=" in done.stdout
    assert not (checkout / "results").exists()


def test_a_refused_token_is_said_with_the_model(checkout, hub):
    done = prefetch(checkout, hub, HF_TOKEN="hf_another")
    assert done.returncode == 1 and f"model {LM_MODEL}: {REPO} is gated or unknown" in done.stdout


def test_models_and_data_are_brought_and_the_token_stays_in_the_environment(checkout, hub):
    done = prefetch(checkout, hub, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stdout
    lock = json.loads((checkout / f"results/models/{LM_MODEL}.lock.json").read_text())
    assert lock["source"] == {"repo": REPO, "revision": COMMIT}
    assert {name: file["sha256"] for name, file in lock["files"].items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()
    }
    assert (checkout / f"results/models/{LM_MODEL}/model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert (checkout / "results/unsup/lm.jsonl.gz").is_file()
    assert (checkout / "results/data/mini-topics/train.jsonl.gz").is_file()
    # the lock of the run is of what was brought; at another commit the run is refused
    run_lock = checkout / "config/locks/tiny-lm.json"
    done = fute(checkout, hub, "lock")
    assert done.returncode == 0 and json.loads(run_lock.read_text())["models"][LM_MODEL]["revision"] == COMMIT
    text = run_lock.read_text()
    run_lock.write_text(text.replace(COMMIT, "f" * 40))
    refused = checkout.snakemake("--dry-run", check=False)
    assert refused.returncode == 1 and f"fetched as revision {COMMIT}, locked ffff" in refused.stdout
    run_lock.write_text(text)
    # with these, and without a network, the rest of the run is all that is left
    left = checkout.planned()
    prepared = {"fetch_model", "sample_unsup", "normalise_test", "normalise_train"}
    assert not prepared & left.keys() and left
    # nor does another run, with a lock of its own, make again what both have in common
    checkout.edit(LM_CONFIG, "name: tiny-lm", "name: another")
    assert not prepared & checkout.planned().keys()
    assert hub.asked_with_token > len(FILES)
    assert hub.leaks == [] and TOKEN not in done.stdout
    written = [path for part in ("results", ".snakemake") for path in (checkout / part).rglob("*") if path.is_file()]
    assert len(written) > 20
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []
