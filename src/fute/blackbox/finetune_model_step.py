"""Fine-tune a language model on datasets, one after the other in one process; of one seed the model is kept."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from fute.artifacts import Step, files_of, replace_folder, sha256_file
from fute.batching import FolderBatch
from fute.blackbox.bench import Bench
from fute.blackbox.folders import MODEL, RUN
from fute.blackbox.heads import BlackBox, save_black_box
from fute.progress import Track
from fute.specs.finetuning import FinetuneItem, FinetuneSpec
from fute.surrogate.checkpoint import Preempted, heed_sigterm


def finetune_model(spec: FinetuneSpec, *, model: Path, lock: Path, files: Mapping[str, Path], output: Path) -> None:
    """Do all fine-tunings of a batch; a killed run continues where it stopped, also as part of another batch.

    files: `train:{dataset}` and `test:{dataset}` -> path.
    output: lock of the batch; next to it `.keys`, sidecars, and the folder of each fine-tuning: the weights in `model`
    if the model is kept, and `run.json`, its last file: score (percent), loss of every step, and one sha256 per file of
    weights.
    """
    made_from = {
        item.key: {"model": lock} | {split: files[f"{split}:{item.task.dataset}"] for split in ("train", "test")}
        for item in spec.items
    }
    batch = FolderBatch(output, made_from)
    units = [_unit(item) for item in spec.items]
    batch.adopt(units)
    resumed = batch.begun
    missing = {_unit(item) for item in spec.items if not _is_whole(batch, item)}
    finished = len(spec.items) - len(missing)
    bench = Bench(model)
    if main := bench.accelerator.is_main_process:
        print(f"{spec.model}: {len(spec.items)} fine-tunings, {finished} already finished", flush=True)
    with heed_sigterm() as stop_requested, Track("fine-tuning", len(missing), "runs") as track:
        for item in spec.items:
            if _unit(item) not in missing:
                continue
            name, origins = f"{spec.model} on {item.task.dataset}, seed {item.seed}", made_from[item.key]
            checkpoint = batch.path(f"{item.key}/.training")
            fitted = bench.fit(
                item.task, item.recipe, seed=item.seed, train=origins["train"], test=origins["test"], label=name,
                checkpoint=checkpoint, start=[batch.made_from[item.key]["model"]],
            )  # fmt: skip
            if main:
                facts = fitted.facts
                print(f"{name}: {facts['metric']} {facts['score']:.1f}, without reading {facts['majority']:.1f}")
                weights = _save_whole(fitted.box, batch.path(f"{item.key}/{MODEL}")) if item.kept else {}
                data = json.dumps(facts | {"files": weights}).encode()
                batch.put(_unit(item), lambda path, data=data: path.write_bytes(data))
                checkpoint.unlink(missing_ok=True)
            track.advance()
            if stop_requested():
                raise Preempted(f"stopped by SIGTERM; {name} is kept; run again to continue")
    bench.accelerator.end_training()
    if not main:
        return
    # the settings hold the seed of each fine-tuning
    with Step(__name__, settings=spec.model_dump(mode="json"), inputs=[lock, *files.values()]) as step:
        step.resumed = resumed
        batch.write(step, spec.model, {item.cell: item.key for item in spec.items}, units)


def _unit(item: FinetuneItem) -> str:
    return f"{item.key}/{RUN}"


def _is_whole(batch: FolderBatch, item: FinetuneItem) -> bool:
    """Whether a fine-tuning is finished. One whose files are not those that it lists is thrown away with its record."""
    if batch.missing([_unit(item)]):
        return False
    folder = batch.path(f"{item.key}/{MODEL}")
    # a file is gone, or another process of this step has just removed it for what it found
    with contextlib.suppress(FileNotFoundError):
        listed = json.loads(batch.path(_unit(item)).read_text(encoding="utf8"))["files"]
        if all(sha256_file(folder / name) == facts["sha256"] for name, facts in listed.items()):
            return True
    print(f"{folder}: is not what {RUN} beside it lists, so the model is made again", flush=True)
    batch.path(_unit(item)).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)  # and not what a training goes on from, beside it
    return False


def _save_whole(box: BlackBox, folder: Path) -> dict[str, dict[str, str | int]]:
    """Save a black box, complete or not at all; returns hash and size of its files."""
    # a name of its own: a job on a lost node may be saving the same beside its second attempt
    unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    save_black_box(box, unfinished)
    replace_folder(folder, unfinished)
    return files_of(folder)
