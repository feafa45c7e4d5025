"""Score the prompts of one LLM for one dataset by every baseline."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fute.artifacts import StaleFile, Step, read_jsonl
from fute.baselines.prompts import (
    calibrate_by_mean,
    description_length,
    global_entropy,
    local_entropy,
    mutual_information,
    self_select_scores,
    spell,
    zero_label,
)
from fute.baselines.transferability import accuracy, leep
from fute.config.llm_baselines import LLM_BASELINES, PAPER_BASELINES
from fute.config.sections import ConfigError
from fute.llm.class_scores import normalise


def baseline_scores(
    *, labels: Sequence[Path], output: Path, ranking: Path | None = None,
    known: Sequence[Path] = (), train: Path | None = None,
    baselines: Sequence[str] = tuple(PAPER_BASELINES), zps_flip: bool = False, list_as_scores: bool = False,
) -> None:  # fmt: skip
    """Score the prompts of one (LLM, dataset).

    labels: one file per prompt, in the order of prompt numbers. ranking: the LLM's own ranking (for Self-Select).
    known, train: for the baselines that know labels, one file per prompt with its labels of training rows, and these
    rows. baselines: ids of those that are computed.
    zps_flip, list_as_scores: repeat errors of the authors' code, see `zero_label` and `self_select_scores`.
    LocalE and GlobalE are also computed without calibration, because calibration flattens both by construction.
    Rows without a label enter no score of classes; where there are any, `labelled` holds the number of the others, one
    per prompt, as `bounded` holds that of rows whose probabilities are bounds in part. SPELL and Self-Select do not
    depend on labels.
    Raises StaleFile if the prompts were labelled on different rows, ConfigError for a baseline without its files.
    """
    rows = [read_jsonl(path) for path in labels]
    prompts = [path.parent.name for path in labels]
    ids = [[row["id"] for row in prompt_rows] for prompt_rows in rows]
    if any(other != ids[0] for other in ids):
        raise StaleFile(
            f"{labels[0].parent.parent}: prompts were labelled on different rows; delete these labels and run again"
        )
    p = np.array([[row["probabilities"] for row in prompt_rows] for prompt_rows in rows])
    raw = np.array([[normalise(row["log_scores"]) for row in prompt_rows] for prompt_rows in rows])
    # Stored probabilities are rounded, so their sum may differ from 1.
    p /= p.sum(axis=-1, keepdims=True)
    labelled = _mask(rows, "prediction")
    labelled_raw = _mask(rows, "uncalibrated")

    def self_selection() -> np.ndarray:
        if ranking is None:
            raise ConfigError("baseline self-select needs the LLM's own ranking: give --ranking")
        preferred = json.loads(ranking.read_text(encoding="utf8"))["ranking"]
        numbers = [prompts.index(name) + 1 for name in preferred]
        return self_select_scores(numbers, len(prompts), list_as_scores=list_as_scores)

    def on_known_rows(score: Callable[[list[dict[str, Any]], list[str]], float]) -> np.ndarray:
        if train is None or [path.parent.name for path in known] != prompts:
            raise ConfigError("baselines accuracy and leep need labels of training rows: give --known and --train")
        right = {row["id"]: row["label"] for row in read_jsonl(train)}
        said = [[row for row in read_jsonl(path) if row["prediction"] is not None] for path in known]
        return np.array([score(rows, [right[row["id"]] for row in rows]) for rows in said])

    def by_mean() -> np.ndarray:
        return calibrate_by_mean(p, labelled)

    computed: dict[str, Callable[[], np.ndarray]] = {
        "MI": lambda: mutual_information(p, labelled),
        "LocalE": lambda: local_entropy(p, labelled),
        "GlobalE": lambda: global_entropy(p, labelled),
        "ZPS-Log": lambda: zero_label(p, "log", labelled, flip=zps_flip),
        "ZPS-Prob": lambda: zero_label(p, "prob", labelled, flip=zps_flip),
        "ZPS-Vote": lambda: zero_label(p, "vote", labelled, flip=zps_flip),
        "Self-Select": self_selection,
        "SPELL": lambda: spell([[row["mean_nll"] for row in prompt_rows] for prompt_rows in rows]),
        "MDL": lambda: description_length(p, labelled),
        "MI (hard)": lambda: mutual_information(p, labelled, hard=True),
        "GlobalE (soft)": lambda: global_entropy(p, labelled, hard=False),
        "MI (CBM)": lambda: mutual_information(by_mean(), labelled),
        "MI (hard, CBM)": lambda: mutual_information(by_mean(), labelled, hard=True),
        "GlobalE (CBM)": lambda: global_entropy(by_mean(), labelled),
        "MDL (CBM)": lambda: description_length(by_mean(), labelled),
        "ZPS-Log (CBM)": lambda: zero_label(by_mean(), "log", labelled),
        "Accuracy on labelled rows": lambda: on_known_rows(
            lambda rows, right: accuracy([row["prediction"] for row in rows], right)
        ),
        "LEEP": lambda: on_known_rows(lambda rows, right: leep(_distributions(rows), right)),
        "LocalE (uncalibrated)": lambda: local_entropy(raw, labelled_raw),
        "GlobalE (uncalibrated)": lambda: global_entropy(raw, labelled_raw),
    }
    asked = {LLM_BASELINES[name] for name in baselines}  # type: ignore[index]
    scores = {name: compute() for name, compute in computed.items() if name.removesuffix(" (uncalibrated)") in asked}
    written = {"prompts": prompts, "scores": {k: [round(float(v), 9) for v in s] for k, s in scores.items()}}
    if not labelled.all():
        written["labelled"] = labelled.sum(axis=1).tolist()
    if any("bounded" in row for prompt_rows in rows for row in prompt_rows):
        written["bounded"] = [sum("bounded" in row for row in prompt_rows) for prompt_rows in rows]
    settings = {"prompts": prompts, "zps_flip": zps_flip, "list_as_scores": list_as_scores}
    if tuple(baselines) != tuple(PAPER_BASELINES):
        settings["baselines"] = list(baselines)
    used = [ranking] if ranking is not None and "Self-Select" in asked else []
    used += [*known, *([train] if train else [])]
    with Step(__name__, settings=settings, inputs=[*labels, *used]) as step:
        step.json(output, written)


def _distributions(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Class probabilities of rows, (rows, classes); stored ones are rounded, so their sum may differ from 1."""
    p = np.array([row["probabilities"] for row in rows])
    return p / p.sum(axis=-1, keepdims=True)


def _mask(rows: Sequence[Sequence[dict[str, Any]]], decision: str) -> np.ndarray:
    """True where a prompt labels a row, (prompts, rows). decision: the field of the label."""
    return np.array([[row.get(decision, "") is not None for row in prompt_rows] for prompt_rows in rows])
