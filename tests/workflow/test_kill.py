"""Kill -9 at random moments: nothing false is left behind, and nothing finished is computed twice, by no other batch.

What is killed are forks (`support.fork_server`); the last process is one that starts as a user's does, and ends in the
bytes of the run that forks made.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.checkouts import CONFIG, MODEL, Checkout, copied, first_in_path, say
from support.thoroughness import LONG

from fute import paths
from fute.config.run import load_run
from fute.plan import Plan

pytestmark = pytest.mark.workflow
KILLS = 10 if LONG else 3


def named(flag: str, files: dict[str, str]) -> list[str]:
    return [f"--{flag}", *(f"{key}={path}" for key, path in files.items())]


def label_command(checkout: Checkout, workflow: Plan) -> tuple[list[str], Path]:
    (batch,) = workflow.llm.labels.batches[MODEL].new
    output = paths.label_batch(MODEL, batch)
    corpora = workflow.llm.labels.corpora(MODEL, batch)
    (checkout / "spec.json").write_text(workflow.llm.labels.spec(MODEL, batch))
    command = ["label_batch", "--spec", "spec.json", "--model", paths.model_folder(MODEL)]
    command += ["--lock", paths.model_lock(MODEL), *named("corpora", corpora), "--output", output]
    return command, checkout / output


def embed_command(checkout: Checkout, workflow: Plan) -> tuple[list[str], Path]:
    (batch,) = workflow.vector_batches.batches["tupate"].new
    output = paths.vector_batch(workflow.vectors.surrogate, "tupate", batch)
    (checkout / "spec.json").write_text(workflow.vector_batches.spec("tupate", batch))
    command = ["embed_batch", "--spec", "spec.json"]
    command += ["--model", paths.model_folder(MODEL), "--lock", paths.model_lock(MODEL)]
    command += [*named("files", workflow.vector_batches.inputs("tupate", batch)), "--output", output]
    return command, checkout / output


def units(output: Path) -> dict[str, tuple[int, str]]:
    """Finished units of a batch under way: name -> time of writing and hash."""
    folder = output.with_name(f"{output.name.split('.')[0]}.partial")
    return {
        path.name: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and not path.parent.name.endswith(".training")
    }


def kill_and_finish(checkout: Checkout, command: list[str], output: Path, expected: bytes) -> None:
    line = ["python", "-m", "fute", *command]
    moments = random.Random(7)
    seen: dict[str, tuple[int, str]] = {}
    under_way = 0
    for kill in range(KILLS):
        before = len(seen)
        process = subprocess.Popen(
            line, cwd=checkout.folder, env=checkout.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        # a kill or two while the process starts, the others once it has gone on, a random time later
        deadline = time.monotonic() + 300
        if kill >= KILLS // 3:
            while len(units(output)) <= before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.05 if kill >= KILLS // 3 else 1))
        finished = process.poll() is not None
        process.kill()
        said, _ = process.communicate()  # ends with the last process that has the pipe: with the step
        now = units(output)
        assert all(now[name] == unit for name, unit in seen.items()), "a finished unit was written again"
        under_way += not finished and len(now) > before
        seen = now
        say(f"  kill {kill + 1}/{KILLS}: {len(now)} units finished")
        if finished:
            assert process.returncode == 0, said
            break
        assert not output.exists() or output.read_bytes() == expected, "a partial batch was published"
    assert under_way, "no kill came between two units"
    other = output.with_name("0" * 16 + output.name[16:])
    done = subprocess.run(
        [*line[:-1], str(other)], cwd=checkout.folder, env=checkout.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert all(units(other)[name] == unit for name, unit in seen.items()), "another batch made a finished unit again"
    assert other.read_bytes() == expected
    checkout.variables = first_in_path(Path(sys.executable).parent)
    done = subprocess.run(line, cwd=checkout.folder, env=checkout.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(units(output)[name] == unit for name, unit in seen.items()), "a finished unit was written again"
    assert output.read_bytes() == expected


@pytest.fixture
def unfinished(finished: Checkout, tmp_path: Path, monkeypatch) -> Callable[[str], tuple[Checkout, Plan]]:
    """A copy of the finished run without the batches of a folder, and its plan."""

    def make(folder: str) -> tuple[Checkout, Plan]:
        checkout = copied(finished, tmp_path / "project")
        shutil.rmtree(checkout / f"{folder}/batches")
        monkeypatch.chdir(checkout.folder)
        return checkout, Plan(load_run(checkout / CONFIG, checkout / "config"))

    return make


def expected_bytes(finished: Checkout, output: Path, checkout: Checkout) -> bytes:
    name = output.relative_to(checkout.folder).as_posix()
    data = (finished / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == finished.first[name]
    return data


@pytest.mark.long
def test_a_killed_labelling_step_finishes_without_loss(unfinished, finished):
    checkout, workflow = unfinished(f"results/labels/{MODEL}")
    command, output = label_command(checkout, workflow)
    kill_and_finish(checkout, command, output, expected_bytes(finished, output, checkout))


@pytest.mark.long
def test_a_killed_embedding_step_finishes_without_loss(unfinished, finished):
    checkout, workflow = unfinished(f"results/embeddings/{MODEL}/tupate")
    command, output = embed_command(checkout, workflow)
    kill_and_finish(checkout, command, output, expected_bytes(finished, output, checkout))
