"""Take the labels of one (model, prompt, corpus) from their batch, in the corpus's order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fute.artifacts import StaleFile, Step, read_jsonl
from fute.batching import check_sources
from fute.config.sections import Section
from fute.llm.batch_lines import cell_lines
from fute.llm.class_scores import calibrate, decided, normalise
from fute.llm.labelled_rows import drawn
from fute.llm.unlabelled import UnlabelledError, check_unlabelled

DIGITS = 8
"""Significant digits of stored probabilities: more than the stored class log-scores have."""


class ExtractSettings(Section):
    """Settings of step `extract_labels`: one cell of a batch.

    calibration: see `calibration_offset`. rows: of the corpus that were labelled, see `drawn`; None: all.
    """

    key: str
    prompt: str
    number: int
    classes: tuple[str, ...]
    calibration: Literal["none", "unsup"]
    rows: int | None = None


def calibration_offset(log_scores: np.ndarray) -> np.ndarray:
    """Mean class log-score of one (model, prompt) over its U, (classes,).

    After subtracting it, labels differ between texts even if a prompt gives nearly always the same class. The same
    offset is used for U and every evaluation set. log_scores: (texts, classes), of texts on which every class was seen.
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
    A row without a decision has the prediction None. Where classes were not seen, `bounded` lists them: their
    probabilities are upper bounds.
    Raises StaleFile if the batch was made from another model or corpus, or does not hold the cell; UnlabelledError if
    more than a tenth of the rows have no label, or no text of U is fit to calibrate with.
    """
    head, lines = cell_lines(batch, settings.key)
    made_from = {"model": head["model_lock_sha256"], "corpus": head["corpora"][corpus_id]}
    check_sources(batch, made_from, {"model": lock, "corpus": corpus})
    every_id = [row["id"] for row in read_jsonl(corpus)]
    ids = [every_id[place] for place in drawn(every_id, settings.rows)]
    if [line["id"] for line in lines] != ids:
        raise StaleFile(f"{batch}: rows of cell {settings.key[:16]} are not those of {corpus}; delete the batch")
    raw = np.array([line["log_scores"] for line in lines])
    seen = np.array([line.get("seen", [True] * raw.shape[1]) for line in lines])
    complete = seen.all(axis=1)
    if settings.calibration == "none":
        offset = np.zeros(raw.shape[1])
    elif offset_in is not None:
        offset = np.array(json.loads(offset_in.read_text(encoding="utf8"))["offset"])
    elif complete.any():
        offset = calibration_offset(raw[complete]).round(6)  # as it is stored and read for the other corpora
    else:
        raise UnlabelledError(
            f"model {lock.name.removesuffix('.lock.json')}, prompt {settings.prompt} on {corpus_id}: on none of the "
            f"{len(ids)} texts were words of every class among the returned tokens, so nothing can be calibrated: set "
            "llm.calibration: none, or choose verbalizers that the model writes"
        )
    labels = [_label(settings, *each, offset) for each in zip(lines, raw, seen, strict=True)]
    unlabelled = [label["first_token"] for label in labels if label["prediction"] is None]
    check_unlabelled(
        unlabelled, len(ids), prompt=settings.prompt, corpus=corpus_id, lock=lock, calibrated=bool(offset.any())
    )
    inputs = [batch, corpus, lock, *([offset_in] if offset_in else [])]
    with Step(__name__, settings=settings.model_dump(), inputs=inputs) as step:
        if unlabelled:
            step.facts = {"unlabelled": len(unlabelled)}
        step.jsonl(output, labels)
        if offset_out is not None:
            step.json(
                offset_out,
                {
                    "calibration": settings.calibration,
                    "classes": settings.classes,
                    "offset": offset.tolist(),
                    "texts": len(ids) if settings.calibration == "none" else int(complete.sum()),
                },
            )


def _label(
    settings: ExtractSettings, line: dict[str, Any], scores: np.ndarray, seen: np.ndarray, offset: np.ndarray
) -> dict[str, Any]:
    """The label of one text, from its line in the batch. scores, seen, offset: (classes,)."""
    shifted = calibrate(scores, offset)
    said = {"prediction": decided(shifted, seen), "uncalibrated": decided(scores, seen)}
    bounded = [name for name, was_seen in zip(settings.classes, seen, strict=True) if not was_seen]
    return (
        {name: value for name, value in line.items() if name not in ("key", "index", "unit", "at", "seen")}
        | {
            "prompt": settings.number,
            "classes": settings.classes,
            # not to a number of decimals: logarithms are taken of small ones, and close ones must not become equal
            "probabilities": [float(f"{p:.{DIGITS}g}") for p in normalise(shifted)],
        }
        | {name: None if best is None else settings.classes[best] for name, best in said.items()}
        | ({"bounded": bounded} if bounded else {})
    )
