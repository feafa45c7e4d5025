"""A fine-tuning process that is killed within an epoch: run again, it ends in the bytes of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.checkouts import ENVIRONMENT, ROOT
from support.small_lms import SENTIMENT, mood_rows, save_small

from fute.artifacts import SIDECAR, gzip_bytes, jsonl_bytes
from fute.blackbox.finetune_model_step import finetune_model
from fute.config.finetuning import FinetuneSettings
from fute.specs.finetuning import FinetuneItem, FinetuneSpec

RECIPE = FinetuneSettings(epochs=3, batch_size=4, learning_rate=5e-3, max_tokens=60)
"""On 14 rows: four steps an epoch, twelve in all."""
KILLED_AFTER = 6


def arguments(output: Path) -> dict[str, Path]:
    return {"model": Path("m"), "lock": Path("m.lock.json"), "output": output}


FILES = {f"{split}:mood": Path(f"data/{split}.jsonl.gz") for split in ("train", "test")}


def made(folder: Path) -> dict[str, bytes]:
    """What is left of a step beside its sidecars, which hold times."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(SIDECAR)}  # fmt: skip


@pytest.mark.usefixtures("quick_starts")
@pytest.mark.parametrize(("sent", "wait"), [(signal.SIGKILL, 600), (signal.SIGTERM, 5)], ids=["SIGKILL", "SIGTERM"])
def test_a_fine_tuning_killed_within_an_epoch_ends_in_the_same_bytes(tmp_path, monkeypatch, sent, wait):
    monkeypatch.chdir(tmp_path)
    save_small(Path("m"), "bert")
    Path("m.lock.json").write_text("{}")
    Path("data").mkdir()
    for split, count in (("train", 14), ("test", 6)):
        rows = (row.to_json() for row in mood_rows(count))
        Path(f"data/{split}.jsonl.gz").write_bytes(gzip_bytes(jsonl_bytes(rows)))
    spec = FinetuneSpec(model="m", items=(FinetuneItem(key="k", task=SENTIMENT, recipe=RECIPE, seed=42, kept=True),))
    finetune_model(spec, files=FILES, **arguments(Path("whole/0a.lock.json")))

    killed = Path("killed/0a.lock.json")
    flags = [part for name, path in arguments(killed).items() for part in (f"--{name}", str(path))]
    line = ["python", "-m", "support.finetune_until", str(KILLED_AFTER), str(wait), "finetune_model"]
    Path("spec.json").write_text(spec.model_dump_json())
    line += ["--spec", "spec.json", *flags, "--files", *(f"{name}={path}" for name, path in FILES.items())]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"}
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 600
    while not Path("far").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(sent)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == (-signal.SIGKILL if sent == signal.SIGKILL else 143), said
    assert not list(killed.parent.glob("*.json")), "nothing is published"
    assert len(list(killed.parent.rglob("*.training"))) == 1

    done = []

    class Progress:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self):
            return lambda step, *_: done.append(step)

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("fute.blackbox.bench.TrainingProgress", Progress)
    finetune_model(spec, files=FILES, **arguments(killed))
    # the signal comes before the state of the step that waits is written, or (SIGTERM) after it
    assert done[0] == KILLED_AFTER + (1 if sent == signal.SIGKILL else 2) and done[-1] == 12
    assert made(killed.parent) == made(Path("whole"))
