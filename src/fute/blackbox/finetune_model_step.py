"""Fine-tune a language model on datasets, one after the other in one process, and keep each as a black box."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from fute.artifacts import Step, json_bytes, sha256_file
from fute.batching import FolderBatch
from fute.blackbox.bench import Bench
from fute.blackbox.folders import CURVE, LOCK_FILE, MODEL, SCORE
from fute.blackbox.heads import BlackBox, save_black_box
from fute.blackbox.scores import score_record
from fute.progress import Track
from fute.specs.finetuning import FinetuneItem, FinetuneSpec
from fute.surrogate.checkpoint import Preempted, heed_sigterm


def finetune_model(spec: FinetuneSpec, *, model: Path, lock: Path, files: Mapping[str, Path], output: Path) -> None:
    """Fine-tune a model on each dataset of a batch; a killed run continues where it stopped.

    files: `train:{dataset}` and `test:{dataset}` -> path.
    output: lock of the batch; next to it `.keys`, sidecars, and the folder of each dataset: `model`, the weights of the
    first seed, `curve.json` (the loss of every step), `score.json` (the scores without transfer, one per seed), and
    `lock.json` (one sha256 per file of weights).
    """
    made_from = {
        item.key: {"model": lock} | {split: files[f"{split}:{item.task.dataset}"] for split in ("train", "test")}
        for item in spec.items
    }
    batch = FolderBatch(output, made_from)
    runs = [(item, seed) for item in spec.items for seed in item.seeds]
    missing = set(batch.missing([_unit(item, seed) for item, seed in runs]))
    print(f"{spec.model}: {len(runs)} fine-tunings, {len(runs) - len(missing)} already finished", flush=True)
    bench = Bench(model)
    main = bench.accelerator.is_main_process
    with heed_sigterm() as stop_requested, Track("fine-tuning", len(missing), "runs") as track:
        for item, seed in runs:
            if _unit(item, seed) not in missing:
                continue
            name, origins = f"{spec.model} on {item.task.dataset}", made_from[item.key]
            checkpoint = batch.path(f"{item.key}/.{seed}.training")
            fitted = bench.fit(
                item.task, item.recipe, seed=seed, train=origins["train"], test=origins["test"], label=name,
                checkpoint=checkpoint, start=[batch.made_from[item.key]["model"]],
            )  # fmt: skip
            if main:
                if seed == item.seeds[0]:
                    _save_whole(fitted.box, batch.path(f"{item.key}/{MODEL}"))
                    facts = fitted.facts
                    print(f"{name}: {facts['metric']} {facts['score']:.1f}, without reading {facts['majority']:.1f}")
                data = json.dumps(fitted.facts).encode()
                batch.put(_unit(item, seed), lambda path, data=data: path.write_bytes(data))
                checkpoint.unlink(missing_ok=True)
            track.advance()
            if stop_requested():
                raise Preempted(f"stopped by SIGTERM; seed {seed} of {name} is kept; run again to continue")
    bench.accelerator.end_training()
    if not main:
        return
    for item in spec.items:
        _describe(spec.model, item, batch)
    settings, seeds = spec.model_dump(mode="json"), {"order": spec.items[0].seeds[0]}
    with Step(__name__, settings=settings, inputs=[lock, *files.values()], seeds=seeds) as step:
        batch.write(step, spec.model, {item.task.dataset: item.key for item in spec.items})


def _unit(item: FinetuneItem, seed: int) -> str:
    return f"{item.key}/{seed}.json"


def _save_whole(box: BlackBox, folder: Path) -> None:
    unfinished = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    save_black_box(box, unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.replace(folder)


def _describe(model: str, item: FinetuneItem, batch: FolderBatch) -> None:
    """Write curve, scores and lock of one dataset from its finished runs."""
    runs = [json.loads(batch.path(_unit(item, seed)).read_text()) for seed in item.seeds]
    weights = sorted(batch.path(f"{item.key}/{MODEL}").iterdir())
    files = {path.name: {"sha256": sha256_file(path), "bytes": path.stat().st_size} for path in weights}
    described = {
        CURVE: {"losses": runs[0]["losses"]},
        SCORE: score_record(model, None, item.task.dataset, list(item.seeds), runs),
        LOCK_FILE: {"model": model, "source": {"finetuned": item.task.dataset}, "files": files},
    }
    for name, value in described.items():
        batch.put(f"{item.key}/{name}", lambda path, value=value: path.write_bytes(json_bytes(value)))
