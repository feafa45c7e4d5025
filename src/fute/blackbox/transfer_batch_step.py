"""Fine-tune the encoders of source models again on targets, many runs in one process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from fute.artifacts import Step, gzip_bytes, jsonl_bytes
from fute.batching import CellStore, hashes_of, write_keys
from fute.blackbox.bench import Bench
from fute.blackbox.heads import BlackBox, load_finetuned
from fute.progress import Track
from fute.specs.transfer import TransferRun, TransferSpec
from fute.surrogate.checkpoint import Preempted, heed_sigterm

SUFFIX = ".jsonl.gz"


def _unit(run: TransferRun) -> str:
    return f"{run.key}/run.json"


def _origins(run: TransferRun, files: Mapping[str, Path]) -> dict[str, Path]:
    """Files that a run is made from, by kind: source, train, test."""
    names = {"source": f"finetuned:{run.source}", "train": f"train:{run.target}", "test": f"test:{run.target}"}
    return {kind: files[name] for kind, name in names.items()}


def transfer_batch(spec: TransferSpec, *, model: Path, lock: Path, files: Mapping[str, Path], output: Path) -> None:
    """Do all transfer runs of a batch; after a kill, continue after the last finished run, also in another batch.

    files: `finetuned:{dataset}` (the lock next to a source's folder), `train:{dataset}`, `test:{dataset}` -> path.
    output: one line per run: key, source, target, seed, metric, score and majority (percent), steps, losses, and
    under `from` the hashes of its files. `.keys` and sidecars are written next to it.
    """
    store = CellStore(output, SUFFIX, hashes_of({run.key: {"model": lock} | _origins(run, files) for run in spec.runs}))
    units = [_unit(run) for run in spec.runs]
    store.adopt(units)
    resumed = store.begun
    missing = set(store.missing(units))
    bench = Bench(model)
    if bench.accelerator.is_main_process:
        finished = len(spec.runs) - len(missing)
        print(f"{spec.model}: {len(spec.runs)} transfer runs, {finished} already finished", flush=True)
    source: tuple[str, BlackBox] | None = None
    # runs of one source follow each other, so that its weights are loaded once
    ordered = sorted(spec.runs, key=lambda run: (run.source, run.target, run.seed))
    with heed_sigterm() as stop_requested, Track("transfer", len(missing), "runs") as track:
        for run in ordered:
            if _unit(run) not in missing:
                continue
            origins = _origins(run, files)
            if source is None or source[0] != run.source:
                source = run.source, load_finetuned(origins["source"], run.source)
            hashes = store.made_from[run.key]
            target = spec.target(run.target)
            checkpoint = store.path(f"{run.key}/.training")
            facts = bench.fit(
                target.task, target.recipe, seed=run.seed, train=origins["train"], test=origins["test"],
                label=run.cell, checkpoint=checkpoint, start=[hashes["model"], hashes["source"]], source=source[1],
                keep_head=spec.keep_head,
            ).facts  # fmt: skip
            if bench.accelerator.is_main_process:
                line = run.model_dump() | {name: facts[name] for name in facts if name != "losses"} | {"from": hashes}
                store.put(_unit(run), lambda path, line=line: path.write_text(json.dumps(line)))
                checkpoint.unlink(missing_ok=True)
            track.advance()
            if stop_requested():
                raise Preempted(f"stopped by SIGTERM; {track.done} runs are kept; run again to continue")
    bench.accelerator.end_training()
    if not bench.accelerator.is_main_process:
        return
    lines = [json.loads(store.path(_unit(run)).read_text()) for run in sorted(spec.runs, key=lambda run: run.key)]
    settings = spec.model_dump(mode="json")
    with Step(__name__, settings=settings, inputs=[*files.values(), lock]) as step:
        step.resumed = resumed
        step.bytes(output, gzip_bytes(jsonl_bytes(lines)), runs=len(lines))
        write_keys(step, output, SUFFIX, {run.cell: run.key for run in spec.runs})
