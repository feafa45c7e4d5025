"""Label U with fine-tuned language models, one after the other in one process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fute.artifacts import Step, gzip_bytes, jsonl_bytes
from fute.batching import FolderBatch
from fute.blackbox.heads import load_finetuned, to_device
from fute.blackbox.predict import predict
from fute.data.rows import read_rows
from fute.data.text2text import UNANSWERABLE
from fute.device import compute_device
from fute.progress import Track
from fute.specs.finetuning import LabelSpec
from fute.surrogate.checkpoint import Preempted, heed_sigterm

LABELS = "labels.jsonl.gz"


def label_language_model(spec: LabelSpec, *, corpus: Path, files: Mapping[str, Path], output: Path) -> None:
    """Write each fine-tuned model's output for each text of U, in U's order; a killed process keeps finished models.

    Each row holds id, `prediction` (the target string) and the soft form that `fute.blackbox.predict.predict` gives.
    files: dataset -> lock of the model that was fine-tuned on it, next to its folder.
    output: lock of the batch; its files, `.keys` and sidecars are written next to it.
    """
    made_from = {item.key: {"finetuned": files[item.dataset], "corpus": corpus} for item in spec.items}
    batch = FolderBatch(output, made_from)
    units = [f"{item.key}/{LABELS}" for item in spec.items]
    batch.adopt(units)
    resumed = batch.begun
    missing = set(batch.missing(units))
    rows, device = read_rows(corpus), compute_device()
    with heed_sigterm() as stop_requested, Track(f"{spec.model} on U", len(missing) * len(rows), "texts") as track:
        for item in spec.items:
            if f"{item.key}/{LABELS}" not in missing:
                continue
            box = to_device(load_finetuned(files[item.dataset], item.dataset), device)
            answers = predict(
                box,
                [row.segments for row in rows],
                batch_size=item.batch_size,
                autocast=item.autocast,
                progress=track.advance,
            )
            labels = [{"id": row.id, **answer} for row, answer in zip(rows, answers, strict=True)]
            data = gzip_bytes(jsonl_bytes(labels))
            batch.put(f"{item.key}/{LABELS}", lambda path, data=data: path.write_bytes(data))
            if box.task.task == "span":
                unanswered = sum(answer["prediction"] == UNANSWERABLE for answer in answers)
                print(f"{item.dataset}: {unanswered} of {len(answers)} texts have no answer")
            if stop_requested():
                raise Preempted(f"stopped by SIGTERM; labels up to {item.dataset} are kept; run again to continue")
    settings = spec.model_dump(mode="json")
    with Step(__name__, settings=settings, inputs=[corpus, *files.values()]) as step:
        step.resumed = resumed
        batch.write(step, spec.model, {item.dataset: item.key for item in spec.items}, units)
