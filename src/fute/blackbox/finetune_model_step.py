"""Steps on one black box and one dataset: fine-tune it and keep it, and let it label U."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from transformers.utils import logging as transformers_logging

from fute.artifacts import Step, content_key, read_jsonl, sha256_file
from fute.batching import UnitStore
from fute.blackbox.encoding import inputs_of
from fute.blackbox.extract_transfer_step import score_record
from fute.blackbox.finetune import finetune
from fute.blackbox.heads import BlackBox, Pretrained, load_black_box, save_black_box, to_device
from fute.blackbox.metrics import majority_score
from fute.blackbox.predict import evaluate, predict
from fute.code_hash import code_sha256
from fute.config.finetuning import FinetuneSettings
from fute.data.rows import Row
from fute.data.text2text import UNANSWERABLE
from fute.device import compute_device
from fute.progress import Track, TrainingProgress
from fute.specs.finetuning import FinetuneSpec, LabelSettings, TaskSettings
from fute.surrogate.checkpoint import Preempted, heed_sigterm

LOCK = ".lock.json"
CURVE = ".curve.json"
SCORE = ".score.json"


def read_rows(path: Path) -> list[Row]:
    """Rows of a data artifact. Raises BadRow for a row that is not one."""
    return [Row.from_json(obj, str(path)) for obj in read_jsonl(path)]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A finished fine-tuning: the model, its score on the evaluation rows (percent), and its loss history."""

    box: BlackBox
    facts: dict[str, Any]


class Bench:
    """What fine-tunings of one model share in a process: the pretrained weights, and each dataset's rows."""

    def __init__(self, model: Path) -> None:
        self.accelerator = Accelerator(cpu=compute_device().type == "cpu")
        transformers_logging.disable_progress_bar()  # it would draw one for each of hundreds of loads
        self.pretrained = Pretrained(model)
        self._rows: dict[Path, list[Row]] = {}

    def rows(self, path: Path) -> list[Row]:
        if path not in self._rows:
            self._rows[path] = read_rows(path)
        return self._rows[path]

    def fit(
        self, task: TaskSettings, recipe: FinetuneSettings, *, seed: int, train: Path, test: Path, label: str,
        checkpoint: Path, start: list[str], source: BlackBox | None = None, keep_head: bool = False,
    ) -> Fitted:  # fmt: skip
        """Fine-tune on `train` from the pretrained weights or a source's, and score on `test`."""
        rows, evaluated = self.rows(train), self.rows(test)
        box = self.pretrained.with_head(
            task,
            inputs=inputs_of(rows),
            max_tokens=recipe.max_tokens,
            seed=seed,
            source=source,
            keep_head=keep_head,
        )
        to_device(box, self.accelerator.device)
        texts = recipe.steps * recipe.batch_size if recipe.steps else len(rows) * (recipe.epochs or 1)
        with TrainingProgress(label, texts) as progress:
            log = finetune(
                box,
                rows,
                recipe,
                seed=seed,
                accelerator=self.accelerator,
                progress=progress if self.accelerator.is_main_process else None,
                checkpoint=checkpoint,
                start=start,
            )
        score = evaluate(box, evaluated, batch_size=recipe.eval_batch_size, autocast=recipe.autocast)
        facts = {
            "metric": task.metric,
            "score": score,
            "majority": majority_score(task, rows, evaluated),
            "rows": len(evaluated),
            "steps": log.steps,
            "loss_start": log.loss_start,
            "loss_end": log.loss_end,
            "losses": list(log.losses),
        }
        return Fitted(box, facts)


def finetune_model(spec: FinetuneSpec, *, model: Path, lock: Path, train: Path, test: Path, folder: Path) -> None:
    """Fine-tune a model on one dataset; a killed run goes on where it was.

    folder: where the model of the first seed appears, as a whole. Beside it: `.lock.json` (a sha256 a file),
    `.curve.json` (the loss of every step) and `.score.json` (the scores without transfer, one a seed).
    """
    name = f"{spec.model} on {spec.task.dataset}"
    store = UnitStore(folder, "")
    made_from = [sha256_file(path) for path in (lock, train, test)]
    identity = [spec.task.model_dump(mode="json"), spec.recipe.model_dump(), made_from, code_sha256(__name__)]
    units = {seed: content_key([identity, seed])[:16] for seed in spec.seeds}
    weights = store.path(f"{units[spec.seeds[0]]}.model")
    bench = Bench(model)
    main = bench.accelerator.is_main_process
    with heed_sigterm() as came:
        for seed, unit in units.items():
            if not store.missing([f"{unit}.json"]):
                continue
            checkpoint = store.path(f"{unit}.training")
            fitted = bench.fit(
                spec.task, spec.recipe, seed=seed, train=train, test=test, label=name, checkpoint=checkpoint,
                start=made_from[:1],
            )  # fmt: skip
            if main:
                if seed == spec.seeds[0]:
                    _save_whole(fitted.box, weights)
                store.put(f"{unit}.json", lambda path, facts=fitted.facts: path.write_text(json.dumps(facts)))
                checkpoint.unlink(missing_ok=True)
            if came():
                raise Preempted(f"stopped by SIGTERM; seed {seed} of {name} is kept, and running again goes on")
    bench.accelerator.end_training()
    if main:
        runs = [json.loads(store.path(f"{unit}.json").read_text()) for unit in units.values()]
        _publish(spec, runs, folder=folder, made=weights, inputs=[lock, train, test])
        shutil.rmtree(store.folder)
        print(f"{name}: {runs[0]['metric']} {runs[0]['score']:.1f}, without reading {runs[0]['majority']:.1f}")


def _save_whole(box: BlackBox, folder: Path) -> None:
    unfinished = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    save_black_box(box, unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.replace(folder)


def _publish(spec: FinetuneSpec, runs: list[dict[str, Any]], *, folder: Path, made: Path, inputs: list[Path]) -> None:
    files = {path.name: {"sha256": sha256_file(path), "bytes": path.stat().st_size} for path in sorted(made.iterdir())}
    unfinished = folder.with_name(f".{folder.name}.tmp")
    for stale in (unfinished, folder):
        shutil.rmtree(stale, ignore_errors=True)
    shutil.copytree(made, unfinished)  # a copy: a step killed before its lock is written begins here again
    unfinished.replace(folder)
    dataset, seeds = spec.task.dataset, list(spec.seeds)
    settings = spec.model_dump(mode="json")
    with Step("finetune", module=__name__, settings=settings, inputs=inputs, seeds={"order": seeds[0]}) as step:
        step.facts = {name: runs[0][name] for name in ("score", "majority", "steps", "loss_start", "loss_end")}
        step.json(folder.with_name(folder.name + CURVE), {"losses": runs[0]["losses"]})
        step.json(folder.with_name(folder.name + SCORE), score_record(spec.model, None, dataset, seeds, runs))
        lock = {"model": spec.model, "source": {"finetuned": dataset}, "files": files}
        step.json(folder.with_name(folder.name + LOCK), lock)


def label_unsup(settings: LabelSettings, *, folder: Path, lock: Path, corpus: Path, output: Path) -> None:
    """Write what a fine-tuned model says of each text of U, in U's order.

    A row: id, `prediction` (the target string) and the soft form of `fute.blackbox.predict.predict`.
    """
    rows = read_rows(corpus)
    device = compute_device()
    box = to_device(load_black_box(folder), device)
    with Track(f"{settings.model} of {settings.dataset} on U", len(rows), "texts") as track:
        said = predict(
            box,
            [row.segments for row in rows],
            batch_size=settings.batch_size,
            autocast=settings.autocast,
            progress=track.advance,
        )
    with Step("label_unsup", module=__name__, settings=settings.model_dump(), inputs=[corpus, lock]) as step:
        step.jsonl(output, [{"id": row.id, **answer} for row, answer in zip(rows, said, strict=True)])
    if box.task.task == "span":
        silent = sum(answer["prediction"] == UNANSWERABLE for answer in said)
        print(f"{settings.dataset}: {silent} of {len(said)} texts have no answer")
