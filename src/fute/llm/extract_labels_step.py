"""Take the labels of one (model, prompt, corpus) from their batch, in the corpus's order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from fute.artifacts import Step, read_jsonl, sha256_file
from fute.llm.batch_lines import cell_lines
from fute.llm.class_scores import calibrate, normalise, predict


class ExtractSettings(BaseModel):
    """Settings of step `extract_labels`: one cell of a batch. calibration: see `calibration_offset`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    prompt: str
    number: int
    classes: tuple[str, ...]
    calibration: Literal["none", "unsup"]


def _check_source(batch: Path, kind: str, recorded: str, path: Path) -> None:
    if recorded != sha256_file(path):
        raise ValueError(
            f"{batch}: was labelled from another {kind} than {path} is now; delete the batch, its .keys and its "
            "sidecars, then run again"
        )


def calibration_offset(log_scores: np.ndarray) -> np.ndarray:
    """Mean class log-score of one (model, prompt) over all of its U, (classes,).

    After subtracting it, labels differ between texts even if a prompt gives nearly always the same class. The same
    offset is used for U and every evaluation set. log_scores: (texts, classes).
    """
    return np.asarray(log_scores, dtype=np.float64).mean(axis=0)


def extract_labels(
    settings: ExtractSettings,
    *,
    corpus_id: str,
    batch: Path,
    corpus: Path,
    lock: Path,
    output: Path,
    offset_in: Path | None = None,
    offset_out: Path | None = None,
) -> None:
    """Write the labels of one (model, prompt, corpus) in the corpus's order, calibrated if the settings say so.

    offset_out: given for U, where the calibration offset is computed and stored. offset_in: the stored offset, given
    for every other corpus if `calibration` is "unsup".
    Raises ValueError if the batch was made from another model or corpus, or does not hold the cell.
    """
    head, lines = cell_lines(batch, settings.key)
    _check_source(batch, "model", head["model_lock_sha256"], lock)
    _check_source(batch, "corpus", head["corpora"][corpus_id], corpus)
    rows = read_jsonl(corpus)
    if [line["id"] for line in lines] != [row["id"] for row in rows]:
        raise ValueError(f"{batch}: rows of cell {settings.key[:16]} are not those of {corpus}; delete the batch")
    raw = np.array([line["log_scores"] for line in lines])
    if settings.calibration == "none":
        offset = np.zeros(raw.shape[1])
    elif offset_in is not None:
        offset = np.array(json.loads(offset_in.read_text(encoding="utf8"))["offset"])
    else:
        offset = calibration_offset(raw).round(6)  # as it is stored and read for the other corpora
    labels = []
    for line, scores in zip(lines, raw, strict=True):
        answer = {k: v for k, v in line.items() if k not in ("key", "index")}
        shifted = calibrate(scores, offset)
        labels.append(
            answer
            | {
                "prompt": settings.number,
                "classes": settings.classes,
                "probabilities": [round(float(p), 6) for p in normalise(shifted)],
                "prediction": settings.classes[predict(shifted)],
                "uncalibrated": settings.classes[predict(scores)],
            }
        )
    inputs = [batch, corpus, lock, *([offset_in] if offset_in else [])]
    with Step(__name__, settings=settings.model_dump(), inputs=inputs) as step:
        step.jsonl(output, labels)
        if offset_out is not None:
            step.json(
                offset_out,
                {
                    "calibration": settings.calibration,
                    "classes": settings.classes,
                    "offset": offset.tolist(),
                    "texts": len(rows),
                },
            )
