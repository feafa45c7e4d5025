"""Kill -9 at random moments: nothing false is left behind, and nothing finished is computed twice."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.checkouts import CONFIG, MODEL, Checkout, say

from fute.config.run import load_run
from fute.embeddings.extract_embedding_step import SUFFIX
from fute.plan import Workflow

pytestmark = pytest.mark.workflow
KILLS = 10


def flags(name: str, files: dict[str, str]) -> list[str]:
    return [part for key, path in files.items() for part in (f"--{name}", f"{key}={path}")]


def label_command(checkout: Checkout, workflow: Workflow) -> tuple[list[str], Path]:
    (batch,) = workflow.llm.labels.plans[MODEL].new
    output = f"results/labels/{MODEL}/batches/{batch}.jsonl.gz"
    corpora = {name: workflow.data.corpus_file(name) for name in workflow.llm.labels.batch_corpora(MODEL, batch)}
    command = ["label-batch", "--spec", workflow.llm.labels.spec(MODEL, batch), "--model", workflow.model_folder(MODEL)]
    command += ["--lock", workflow.model_lock(MODEL), *flags("corpus", corpora), "--output", output]
    return command, checkout / output


def embed_command(checkout: Checkout, workflow: Workflow) -> tuple[list[str], Path]:
    (batch,) = workflow.embeddings.plans["tupate"].new
    folder = workflow.embeddings.folder("tupate")
    output = f"{folder}/batches/{batch}{SUFFIX}"
    command = ["embed-batch", "--spec", workflow.embeddings.spec("tupate", batch)]
    command += ["--model", workflow.model_folder(MODEL), "--lock", workflow.model_lock(MODEL)]
    command += ["--start", f"{Path(folder).parent}/start.safetensors"]
    command += [*flags("file", workflow.embeddings.inputs("tupate", batch)), "--output", output]
    return command, checkout / output


def units(output: Path) -> dict[str, tuple[int, str]]:
    """Finished units of a batch under way: name -> time of writing and hash."""
    folder = next(iter(output.parent.glob("*.partial")), None)
    if folder is None:
        return {}
    return {
        path.name: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and not path.parent.name.endswith(".training")
    }


def kill_and_finish(checkout: Checkout, command: list[str], output: Path, expected: bytes) -> None:
    line = [sys.executable, "-m", "fute", *command]
    environment = checkout.environment() | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    moments = random.Random(7)
    seen: dict[str, tuple[int, str]] = {}
    for kill in range(KILLS):
        before = len(seen)
        process = subprocess.Popen(
            line,
            cwd=checkout.folder,
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # two kills while the process starts, the others once it has gone on, a random time later
        deadline = time.monotonic() + 60
        if kill >= 2:
            while len(units(output)) <= before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.4 if kill >= 2 else 4))
        finished = process.poll() is not None
        if not finished:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        now = units(output)
        assert all(now[name] == unit for name, unit in seen.items()), "a finished unit was written again"
        seen = now
        say(f"  kill {kill + 1}/{KILLS}: {len(now)} units finished")
        if finished:
            break
        assert not output.exists() or output.read_bytes() == expected, "a partial batch was published"
    done = subprocess.run(line, cwd=checkout.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(units(output)[name] == unit for name, unit in seen.items()), "a finished unit was written again"
    assert output.read_bytes() == expected


@pytest.fixture
def prepared(checkout: Checkout, finished: Checkout, monkeypatch) -> tuple[Checkout, Workflow]:
    """A fresh checkout with the data and the start, and its plan; `finished` says what must come out."""
    checkout.run("data", "results/models/smollm2-135m.lock.json", "results/embeddings/smollm2-135m/start.safetensors")
    monkeypatch.chdir(checkout.folder)
    return checkout, Workflow(load_run(checkout / CONFIG, checkout / "config"))


def expected_bytes(finished: Checkout, output: Path, checkout: Checkout) -> bytes:
    name = output.relative_to(checkout.folder).as_posix()
    data = (finished / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == finished.first[name]
    return data


def test_a_killed_labelling_step_finishes_without_loss(prepared, finished):
    checkout, workflow = prepared
    command, output = label_command(checkout, workflow)
    kill_and_finish(checkout, command, output, expected_bytes(finished, output, checkout))


def test_a_killed_embedding_step_finishes_without_loss(prepared, finished):
    checkout, workflow = prepared
    checkout.run("labels")
    command, output = embed_command(checkout, workflow)
    kill_and_finish(checkout, command, output, expected_bytes(finished, output, checkout))
