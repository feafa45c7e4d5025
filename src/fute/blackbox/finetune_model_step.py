"""Fine-tune a language model on one dataset and keep it as a black box."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from fute.artifacts import Step, content_key, sha256_file
from fute.batching import UnitStore
from fute.blackbox.bench import LOCK, Bench
from fute.blackbox.heads import BlackBox, save_black_box
from fute.blackbox.scores import score_record
from fute.code_hash import code_sha256
from fute.specs.finetuning import FinetuneSpec
from fute.surrogate.checkpoint import Preempted, heed_sigterm

CURVE = ".curve.json"
SCORE = ".score.json"


def finetune_model(spec: FinetuneSpec, *, model: Path, lock: Path, train: Path, test: Path, folder: Path) -> None:
    """Fine-tune a model on one dataset; a killed run continues where it stopped.

    folder: receives the model of the first seed, complete or not at all. Next to it: `.lock.json` (one sha256 per
    file), `.curve.json` (the loss of every step) and `.score.json` (the scores without transfer, one per seed).
    """
    name = f"{spec.model} on {spec.task.dataset}"
    store = UnitStore(folder, "")
    input_hashes = [sha256_file(path) for path in (lock, train, test)]
    identity = [spec.task.model_dump(mode="json"), spec.recipe.model_dump(), input_hashes, code_sha256(__name__)]
    units = {seed: content_key([identity, seed])[:16] for seed in spec.seeds}
    weights = store.path(f"{units[spec.seeds[0]]}.model")
    bench = Bench(model)
    main = bench.accelerator.is_main_process
    with heed_sigterm() as stop_requested:
        for seed, unit in units.items():
            if not store.missing([f"{unit}.json"]):
                continue
            checkpoint = store.path(f"{unit}.training")
            fitted = bench.fit(
                spec.task, spec.recipe, seed=seed, train=train, test=test, label=name, checkpoint=checkpoint,
                start=input_hashes[:1],
            )  # fmt: skip
            if main:
                if seed == spec.seeds[0]:
                    _save_whole(fitted.box, weights)
                store.put(f"{unit}.json", lambda path, facts=fitted.facts: path.write_text(json.dumps(facts)))
                checkpoint.unlink(missing_ok=True)
            if stop_requested():
                raise Preempted(f"stopped by SIGTERM; seed {seed} of {name} is kept; run again to continue")
    bench.accelerator.end_training()
    if main:
        runs = [json.loads(store.path(f"{unit}.json").read_text()) for unit in units.values()]
        _publish(spec, runs, folder=folder, model=weights, inputs=[lock, train, test])
        shutil.rmtree(store.folder)
        print(f"{name}: {runs[0]['metric']} {runs[0]['score']:.1f}, without reading {runs[0]['majority']:.1f}")


def _save_whole(box: BlackBox, folder: Path) -> None:
    unfinished = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    save_black_box(box, unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.replace(folder)


def _publish(spec: FinetuneSpec, runs: list[dict[str, Any]], *, folder: Path, model: Path, inputs: list[Path]) -> None:
    files = {path.name: {"sha256": sha256_file(path), "bytes": path.stat().st_size} for path in sorted(model.iterdir())}
    unfinished = folder.with_name(f".{folder.name}.tmp")
    for stale in (unfinished, folder):
        shutil.rmtree(stale, ignore_errors=True)
    shutil.copytree(model, unfinished)  # a copy: a step killed before it writes the lock starts again here
    unfinished.replace(folder)
    dataset, seeds = spec.task.dataset, list(spec.seeds)
    settings = spec.model_dump(mode="json")
    with Step(__name__, settings=settings, inputs=inputs, seeds={"order": seeds[0]}) as step:
        step.facts = {name: runs[0][name] for name in ("score", "majority", "steps", "loss_start", "loss_end")}
        step.json(folder.with_name(folder.name + CURVE), {"losses": runs[0]["losses"]})
        step.json(folder.with_name(folder.name + SCORE), score_record(spec.model, None, dataset, seeds, runs))
        lock = {"model": spec.model, "source": {"finetuned": dataset}, "files": files}
        step.json(folder.with_name(folder.name + LOCK), lock)
