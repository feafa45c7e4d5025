"""Score the prompts of one LLM for one dataset by every baseline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fute.artifacts import Step, read_jsonl
from fute.baselines.prompts import (
    global_entropy,
    local_entropy,
    mutual_information,
    self_select_scores,
    spell,
    zero_label,
)
from fute.llm.class_scores import normalise


def baseline_scores(
    *, labels: Sequence[Path], ranking: Path, output: Path, zps_flip: bool = False, list_as_scores: bool = False
) -> None:
    """Score the prompts of one (LLM, dataset).

    labels: one file per prompt, in the order of prompt numbers. ranking: the LLM's own ranking (Self-Select).
    zps_flip, list_as_scores: repeat errors of the authors' code, see `zero_label` and `self_select_scores`.
    LocalE and GlobalE are also computed without calibration, because calibration flattens both by construction.
    Raises ValueError if the prompts were labelled on different rows.
    """
    rows = [read_jsonl(path) for path in labels]
    prompts = [path.parent.name for path in labels]
    ids = [[row["id"] for row in prompt_rows] for prompt_rows in rows]
    if any(other != ids[0] for other in ids):
        raise ValueError(
            f"{labels[0].parent.parent}: prompts were labelled on different rows; delete these labels and run again"
        )
    p = np.array([[row["probabilities"] for row in prompt_rows] for prompt_rows in rows])
    raw = np.array([[normalise(row["log_scores"]) for row in prompt_rows] for prompt_rows in rows])
    # Stored probabilities are rounded, so their sum may differ from 1.
    p /= p.sum(axis=-1, keepdims=True)
    nll = np.array([[row["mean_nll"] for row in prompt_rows] for prompt_rows in rows])
    preferred = json.loads(ranking.read_text(encoding="utf8"))["ranking"]
    scores = {
        "MI": mutual_information(p),
        "LocalE": local_entropy(p),
        "GlobalE": global_entropy(p),
        "ZPS-Log": zero_label(p, "log", flip=zps_flip),
        "ZPS-Prob": zero_label(p, "prob", flip=zps_flip),
        "ZPS-Vote": zero_label(p, "vote", flip=zps_flip),
        "Self-Select": self_select_scores(
            [prompts.index(name) + 1 for name in preferred], len(prompts), list_as_scores=list_as_scores
        ),
        "SPELL": spell(nll),
        "LocalE (uncalibrated)": local_entropy(raw),
        "GlobalE (uncalibrated)": global_entropy(raw),
    }
    settings = {"prompts": prompts, "zps_flip": zps_flip, "list_as_scores": list_as_scores}
    with Step(__name__, settings=settings, inputs=[*labels, ranking]) as step:
        step.json(
            output,
            {"prompts": prompts, "scores": {k: [round(float(v), 9) for v in s] for k, s in scores.items()}},
        )
