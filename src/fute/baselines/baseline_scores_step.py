"""Score the prompts of one LLM for one dataset by every baseline."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
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
    p = np.array([_distributions(prompt_rows) for prompt_rows in rows])
    raw = np.array([[normalise(row["log_scores"]) for row in prompt_rows] for prompt_rows in rows])
    labelled, labelled_raw = _mask(rows, "prediction"), _mask(rows, "uncalibrated")
    known_rows = partial(_known_rows, prompts, known, train)
    computed = _of_distributions(p, labelled, zps_flip=zps_flip) | {
        "LocalE (uncalibrated)": lambda: local_entropy(raw, labelled_raw),
        "GlobalE (uncalibrated)": lambda: global_entropy(raw, labelled_raw),
        "Self-Select": lambda: self_select_scores(
            _own_ranking(prompts, ranking), len(prompts), list_as_scores=list_as_scores
        ),
        "SPELL": lambda: spell([[row["mean_nll"] for row in prompt_rows] for prompt_rows in rows]),
        "Accuracy on labelled rows": lambda: np.array(
            [accuracy([row["prediction"] for row in said], right) for said, right in known_rows()]
        ),
        "LEEP": lambda: np.array([leep(_distributions(said), right) for said, right in known_rows()]),
    }
    asked = {LLM_BASELINES[name] for name in baselines}
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


def _of_distributions(p: np.ndarray, labelled: np.ndarray, *, zps_flip: bool) -> dict[str, Callable[[], np.ndarray]]:
    """Baseline -> its scores, of those that read nothing but class probabilities, (prompts, rows, classes)."""

    def by_mean() -> np.ndarray:
        return calibrate_by_mean(p, labelled)

    return {
        "MI": lambda: mutual_information(p, labelled),
        "LocalE": lambda: local_entropy(p, labelled),
        "GlobalE": lambda: global_entropy(p, labelled),
        "ZPS-Log": lambda: zero_label(p, "log", labelled, flip=zps_flip),
        "ZPS-Prob": lambda: zero_label(p, "prob", labelled, flip=zps_flip),
        "ZPS-Vote": lambda: zero_label(p, "vote", labelled, flip=zps_flip),
        "MDL": lambda: description_length(p, labelled),
        "MI (hard)": lambda: mutual_information(p, labelled, hard=True),
        "GlobalE (soft)": lambda: global_entropy(p, labelled, hard=False),
        "MI (CBM)": lambda: mutual_information(by_mean(), labelled),
        "MI (hard, CBM)": lambda: mutual_information(by_mean(), labelled, hard=True),
        "GlobalE (CBM)": lambda: global_entropy(by_mean(), labelled),
        "MDL (CBM)": lambda: description_length(by_mean(), labelled),
        "ZPS-Log (CBM)": lambda: zero_label(by_mean(), "log", labelled),
    }


def _own_ranking(prompts: Sequence[str], ranking: Path | None) -> list[int]:
    """Numbers of the prompts that the LLM named, best first."""
    if ranking is None:
        raise ConfigError("baseline self-select needs the LLM's own ranking: give --ranking")
    return [prompts.index(name) + 1 for name in json.loads(ranking.read_text(encoding="utf8"))["ranking"]]


def _known_rows(
    prompts: Sequence[str], known: Sequence[Path], train: Path | None
) -> list[tuple[list[dict[str, Any]], list[str]]]:
    """What each prompt says of training rows, without those that it gives no label; and the right labels of these."""
    if train is None or [path.parent.name for path in known] != prompts:
        raise ConfigError("baselines accuracy and leep need labels of training rows: give --known and --train")
    right = {row["id"]: row["label"] for row in read_jsonl(train)}
    labelled = [[row for row in read_jsonl(path) if row["prediction"] is not None] for path in known]
    return [(said, [right[row["id"]] for row in said]) for said in labelled]


def _distributions(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Class probabilities of rows, (rows, classes); stored ones are rounded, so their sum may differ from 1."""
    p = np.array([row["probabilities"] for row in rows])
    return p / p.sum(axis=-1, keepdims=True)


def _mask(rows: Sequence[Sequence[dict[str, Any]]], decision: str) -> np.ndarray:
    """True where a prompt labels a row, (prompts, rows). decision: the field of the label."""
    return np.array([[row.get(decision, "") is not None for row in prompt_rows] for prompt_rows in rows])
