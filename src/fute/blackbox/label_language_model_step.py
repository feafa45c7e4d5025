"""Label U with a fine-tuned language model."""

from __future__ import annotations

from pathlib import Path

from fute.artifacts import Step
from fute.blackbox.heads import load_black_box, to_device
from fute.blackbox.predict import predict
from fute.data.rows import read_rows
from fute.data.text2text import UNANSWERABLE
from fute.device import compute_device
from fute.progress import Track
from fute.specs.finetuning import LabelSettings


def label_language_model(settings: LabelSettings, *, folder: Path, lock: Path, corpus: Path, output: Path) -> None:
    """Write a fine-tuned model's output for each text of U, in U's order.

    Each row holds id, `prediction` (the target string) and the soft form that `fute.blackbox.predict.predict` gives.
    """
    rows = read_rows(corpus)
    device = compute_device()
    box = to_device(load_black_box(folder), device)
    with Track(f"{settings.model} of {settings.dataset} on U", len(rows), "texts") as track:
        answers = predict(
            box,
            [row.segments for row in rows],
            batch_size=settings.batch_size,
            autocast=settings.autocast,
            progress=track.advance,
        )
    with Step(__name__, settings=settings.model_dump(), inputs=[corpus, lock]) as step:
        step.jsonl(output, [{"id": row.id, **answer} for row, answer in zip(rows, answers, strict=True)])
    if box.task.task == "span":
        unanswered = sum(answer["prediction"] == UNANSWERABLE for answer in answers)
        print(f"{settings.dataset}: {unanswered} of {len(answers)} texts have no answer")
