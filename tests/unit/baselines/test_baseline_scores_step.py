"""The baseline step on small label files: the functions it calls, and values worked by hand."""

from __future__ import annotations

import json
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fute.artifacts import Step
from fute.baselines import prompts as baselines
from fute.baselines.baseline_scores_step import baseline_scores
from fute.config.llm_baselines import LABELLED, LLM_BASELINES, PAPER_BASELINES
from fute.paper.cells import row_order
from fute.paper.table3 import METHODS

RANKING = Path("results/baselines/m/self-select-sa.json")
OUTPUT = Path("results/baselines/m/films.json")
# class probabilities of three prompts on four rows: sure and varied, sure of one class, unsure
P = {
    "sa-1": [[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]],
    "sa-3": [[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2]],
    "sa-12": [[0.5, 0.5], [0.4, 0.6], [0.5, 0.5], [0.4, 0.6]],
}
NLL = {"sa-1": [0.0, log(3), 0.0, log(3)], "sa-3": [log(5)] * 4, "sa-12": [0.0] * 4}


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    """A folder with the labels of three prompts and the model's own choice."""
    monkeypatch.chdir(tmp_path)
    for name in P:
        write_labels(name, rows_of(name))
    write_ranking("sa-12", "sa-1")


def rows_of(prompt: str) -> list[dict[str, Any]]:
    # before calibration, class 0 had twice its weight
    return [
        {"id": f"films/{i}", "probabilities": p, "log_scores": [log(2 * p[0]) - 3, log(p[1]) - 3], "mean_nll": nll}
        for i, (p, nll) in enumerate(zip(P[prompt], NLL[prompt], strict=True))
    ]


def label_file(prompt: str) -> Path:
    return Path(f"results/labels/m/{prompt}/films.jsonl.gz")


def write_labels(prompt: str, rows: list[dict[str, Any]]) -> None:
    with Step("fute.batching", settings={}) as step:
        step.jsonl(label_file(prompt), rows)


def write_ranking(*names: str) -> None:
    with Step("fute.batching", settings={}) as step:
        step.json(RANKING, {"ranking": list(names), "fell_back": False})


def run(prompts: tuple[str, ...] = tuple(P)) -> dict[str, list[float]]:
    baseline_scores(labels=[label_file(name) for name in prompts], ranking=RANKING, output=OUTPUT)
    written = json.loads(OUTPUT.read_text())
    assert written["prompts"] == list(prompts)
    return written["scores"]


def entropy(*p: float) -> float:
    return -sum(x * log(x) for x in p)


def test_scores_worked_by_hand():
    scores = run()
    assert scores["MI"] == pytest.approx(
        [log(2) - entropy(0.9, 0.1), 0, entropy(0.45, 0.55) - (log(2) + entropy(0.4, 0.6)) / 2], abs=1e-8
    )
    local = [entropy(0.9, 0.1), entropy(0.8, 0.2), (log(2) + entropy(0.4, 0.6)) / 2]
    assert scores["LocalE"] == pytest.approx(local, abs=1e-8)
    # predictions: two of each class; one class only; two ties, which go to the lower class, and two of the other
    assert scores["GlobalE"] == pytest.approx([log(2), 0, log(2)], abs=1e-8)
    assert scores["SPELL"] == pytest.approx([-2, -5, -1], abs=1e-8)
    assert scores["Self-Select"] == [-2, -3, -1], "the unnamed prompt is last"


def test_scores_are_those_of_the_functions():
    p, nll, scores = np.array(list(P.values())), np.array(list(NLL.values())), run()
    expected = {
        "MI": baselines.mutual_information(p),
        "LocalE": baselines.local_entropy(p),
        "GlobalE": baselines.global_entropy(p),
        "ZPS-Log": baselines.zero_label(p, "log"),
        "ZPS-Prob": baselines.zero_label(p, "prob"),
        "ZPS-Vote": baselines.zero_label(p, "vote"),
        "SPELL": baselines.spell(nll),
    }
    for name, values in expected.items():
        assert scores[name] == pytest.approx(values, abs=1e-8), name
    assert len(scores) == 10


def test_uncalibrated_scores_come_from_the_raw_scores():
    raw = np.array(list(P.values())) * [2, 1]
    raw /= raw.sum(axis=-1, keepdims=True)
    scores = run()
    assert scores["LocalE (uncalibrated)"] == pytest.approx(baselines.local_entropy(raw), abs=1e-8)
    # twice the weight turns the third prompt's predictions into class 0 throughout
    assert scores["GlobalE (uncalibrated)"] == pytest.approx([log(2), 0, 0], abs=1e-8)
    assert scores["LocalE"] != scores["LocalE (uncalibrated)"]


def test_rounded_probabilities_are_taken():
    rows = rows_of("sa-1")
    rows[0]["probabilities"] = [0.9004, 0.1]
    write_labels("sa-1", rows)
    assert run()["LocalE"][0] == pytest.approx(
        (entropy(0.9004 / 1.0004, 0.1 / 1.0004) + 3 * entropy(0.9, 0.1)) / 4, abs=1e-8
    )


def test_the_authors_slips_can_be_repeated():
    plain = run()
    baseline_scores(
        labels=[label_file(name) for name in P], ranking=RANKING, output=OUTPUT, zps_flip=True, list_as_scores=True
    )
    slipped = json.loads(OUTPUT.read_text())["scores"]
    for name in ("ZPS-Log", "ZPS-Prob", "ZPS-Vote"):
        assert slipped[name] == pytest.approx([1 - score for score in plain[name]]), name
    assert slipped["Self-Select"] == [3, 1, 2], "the ranking 3, 1 with the unnamed 2 behind it, as scores"
    changed = {name for name in plain if plain[name] != slipped[name]}
    assert changed <= {"ZPS-Log", "ZPS-Prob", "ZPS-Vote", "Self-Select"}


def test_prompts_stand_in_the_order_given():
    forward, backward = run(), run(tuple(reversed(P)))
    for name in ("MI", "LocalE", "SPELL", "Self-Select"):
        assert backward[name] == list(reversed(forward[name])), name


@pytest.mark.parametrize("spoil", [lambda rows: rows[::-1], lambda rows: rows[:-1]])
def test_prompts_labelled_on_different_rows_are_refused(spoil):
    write_labels("sa-3", spoil(rows_of("sa-3")))
    with pytest.raises(ValueError, match=r"results/labels/m: prompts were labelled on different rows; delete"):
        run()
    assert not OUTPUT.exists()


def test_the_record_names_what_was_read():
    run()
    record = json.loads(Path(f"{OUTPUT}.prov.json").read_text())["record"]
    assert record["params"] == {"prompts": list(P), "zps_flip": False, "list_as_scores": False}
    assert [entry["path"] for entry in record["inputs"]] == sorted([*(str(label_file(n)) for n in P), str(RANKING)])
    assert all("record_sha256" in entry for entry in record["inputs"])


def test_rows_without_a_label_enter_no_score():
    """A row that is only bounded would have the highest entropy, so that a prompt without coverage came first."""
    rows = rows_of("sa-1")
    rows[1] |= {"probabilities": [0.5, 0.5], "log_scores": [-0.1, -0.1], "prediction": None, "uncalibrated": None}
    write_labels("sa-1", rows)
    scores = run()
    assert scores["LocalE"][0] == pytest.approx(entropy(0.9, 0.1), abs=1e-8)
    # three rows are left, two of class 0
    assert scores["GlobalE"][0] == pytest.approx(entropy(1 / 3, 2 / 3), abs=1e-8)
    mean = [(0.9 + 0.9 + 0.1) / 3, (0.1 + 0.1 + 0.9) / 3]
    assert scores["MI"][0] == pytest.approx(entropy(*mean) - entropy(0.9, 0.1), abs=1e-8)
    # of the confident prompts, the third alone is heard on row 1, and ties on row 3 go to class 0
    assert scores["ZPS-Vote"] == pytest.approx([2 / 4, 1, 2 / 4])
    assert scores["LocalE (uncalibrated)"][0] != pytest.approx(log(2))
    assert scores["SPELL"] == pytest.approx([-2, -5, -1], abs=1e-8), "likelihoods do not depend on labels"
    assert json.loads(OUTPUT.read_text())["labelled"] == [3, 4, 4]


def test_only_the_baselines_that_were_asked_for_are_computed():
    for name in P:
        write_labels(name, [{k: v for k, v in row.items() if k != "mean_nll"} for row in rows_of(name)])
    baseline_scores(labels=[label_file(name) for name in P], output=OUTPUT, baselines=["mi", "local-e"])
    written = json.loads(OUTPUT.read_text())
    assert list(written["scores"]) == ["LocalE", "LocalE (uncalibrated)", "MI"]
    with pytest.raises(ValueError, match="self-select needs the LLM's own ranking"):
        baseline_scores(labels=[label_file(name) for name in P], output=OUTPUT, baselines=["self-select"])


def test_variants_beyond_the_papers_are_computed_on_request():
    further = [name for name in LLM_BASELINES if name not in (*PAPER_BASELINES, *LABELLED)]
    baseline_scores(labels=[label_file(name) for name in P], output=OUTPUT, baselines=further)
    scores = json.loads(OUTPUT.read_text())["scores"]
    assert sorted(scores) == sorted(LLM_BASELINES[name] for name in further)
    p = np.array(list(P.values()))
    assert scores["MDL"] == pytest.approx([-value for value in baselines.local_entropy(p)], abs=1e-8)
    # every row of the second prompt is alike: divided by their mean, it says nothing
    assert scores["MI (CBM)"][1] == pytest.approx(0, abs=1e-8)
    assert scores["MDL (CBM)"][1] == pytest.approx(-log(2), abs=1e-8)
    assert scores["GlobalE (soft)"] == pytest.approx([log(2), entropy(0.8, 0.2), entropy(0.45, 0.55)], abs=1e-8)
    for name in scores:
        assert row_order(name, METHODS, "table 3")[0] == 1, "behind the paper's rows"


def known_files(*without: str) -> dict[str, Any]:
    """Three training rows with labels, and what each prompt says of two of them; `without` a label on the first."""
    train, rows = Path("results/data/films/train.jsonl.gz"), [("a", "bad"), ("b", "good"), ("c", "good")]
    with Step("fute.batching", settings={}) as step:
        step.jsonl(train, [{"id": name, "segments": ["x"], "label": label} for name, label in rows])
    said = {"sa-1": [0.9, 0.4], "sa-3": [0.8, 0.8], "sa-12": [0.3, 0.2]}  # probability of `bad`
    files = []
    for prompt, bad in said.items():
        files.append(Path(f"results/labels/m/{prompt}/films.train.jsonl.gz"))
        lines = [
            {"id": name, "probabilities": [p, 1 - p], "prediction": "bad" if p > 0.5 else "good"}
            for name, p in zip(("a", "c"), bad, strict=True)
        ]
        if prompt in without:
            lines[0]["prediction"] = None
        with Step("fute.batching", settings={}) as step:
            step.jsonl(files[-1], lines)
    return {"known": files, "train": train}


def test_baselines_that_know_labels_worked_by_hand():
    names = {"labels": [label_file(name) for name in P], "output": OUTPUT, "baselines": ["accuracy", "leep"]}
    baseline_scores(**names, **known_files())
    scores = json.loads(OUTPUT.read_text())["scores"]
    assert scores["Accuracy on labelled rows"] == [1, 0.5, 0.5]
    # sa-1: P(bad label | says bad) = 0.9 / 1.3, P(bad label | says good) = 0.1 / 0.7
    first = 0.9 * 0.9 / 1.3 + 0.1 * 0.1 / 0.7
    second = 0.4 * 0.4 / 1.3 + 0.6 * 0.6 / 0.7
    assert scores["LEEP"][0] == pytest.approx((log(first) + log(second)) / 2, abs=1e-8)
    assert scores["LEEP"][1] == pytest.approx(-log(2)), "it says the same of both"
    record = json.loads(Path(f"{OUTPUT}.prov.json").read_text())["record"]
    assert {"results/data/films/train.jsonl.gz", "results/labels/m/sa-3/films.train.jsonl.gz"} <= {
        entry["path"] for entry in record["inputs"]
    }
    baseline_scores(**names, **known_files("sa-1"))
    scores = json.loads(OUTPUT.read_text())["scores"]
    assert scores["Accuracy on labelled rows"] == [1, 0.5, 0.5], "a row without a label does not count"
    with pytest.raises(ValueError, match="need labels of training rows: give --known and --train"):
        baseline_scores(**names)
