"""Take a fine-tuned model out of its batch, with the scores of all its seeds, which may lie in several batches."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fute.artifacts import Step, replace_folder
from fute.blackbox.cell_files import CellFiles, place
from fute.blackbox.folders import MODEL, RUN, folder_of
from fute.blackbox.scores import score_record
from fute.data.model_folder import unfinished_folder
from fute.specs.finetuning import ExtractFinetuned


def extract_finetuned(
    settings: ExtractFinetuned, *, batches: Sequence[Path], files: Mapping[str, Path],
    lock: Path, curve: Path, score: Path,
) -> None:  # fmt: skip
    """Publish a fine-tuned model: its weights, the loss of every step, and the scores without transfer, one per seed.

    files: what the fine-tunings were made from: `model` (its lock), `train`, `test`. lock: output with one sha256 per
    file of weights, which go into the folder beside it, complete or not at all. curve, score: outputs, too.
    Raises StaleFile if no batch holds one of the fine-tunings, or if it was made from other files or holds other bytes
    than it lists.
    """
    cells = [CellFiles(batches, settings.keys[seed], files) for seed in settings.seeds]
    runs = [json.loads(cell.path(RUN).read_text(encoding="utf8")) for cell in cells]
    kept, folder = cells[0], folder_of(lock)
    unfinished = unfinished_folder(folder, None)
    for name in runs[0]["files"]:
        place(kept.path(f"{MODEL}/{name}"), unfinished / name)
    replace_folder(folder, unfinished)
    source, seeds = {"finetuned": settings.dataset}, list(settings.seeds)
    with Step(__name__, settings=settings.model_dump(mode="json"), inputs=[*batches, *files.values()]) as step:
        step.json(lock, {"model": settings.model, "source": source, "files": runs[0]["files"]})
        step.json(curve, {"losses": runs[0]["losses"]})
        step.json(score, score_record(settings.model, None, settings.dataset, seeds, runs))
