"""Tiny runs whose ids and labels are words that readers of CSV or YAML take for something else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.categories import CLASSES
from support.vectors import put_vector

from fute import paths
from fute.artifacts import Step, gzip_bytes, jsonl_bytes
from fute.config.datasets import DatasetSettings
from fute.config.sections import is_id
from fute.csv_files import read_table, read_texts
from fute.data.normalise_test_step import normalise_test
from fute.data.rows import read_rows
from fute.data.sources import source_identity
from fute.data.splits import SplitSettings
from fute.evaluation.geometry_step import GeometrySettings, geometry
from fute.evaluation.selection_step import SelectionSettings, selection
from fute.evaluation.similarities_step import SimilaritySettings, similarities
from fute.front.rank import rank_run
from fute.paper.efficiency_step import EfficiencySettings, efficiency
from fute.paper.figure_step import FigureSettings, figure
from fute.paper.report_step import LlmTexts, ReportSettings, report
from fute.paper.table3_step import TableSettings, table3
from fute.paper.terminal import show

WORDS = ("null", "nan", "NA", "none", "true", "1", "01", "1e3", "-")
IDS = tuple(word for word in WORDS if re.fullmatch(r"[a-z0-9][a-z0-9.-]*", word))
PRINTED = Path(__file__).parents[2] / "resources/paper"
EVALUATION = Path("results/evaluation")
N = 6


def test_which_words_are_ids():
    assert IDS == ("null", "nan", "none", "true", "1", "01", "1e3")
    assert [is_id(word) for word in IDS] == list(IDS)
    for word in set(WORDS) - set(IDS):
        with pytest.raises(ValueError, match="is no id"):
            is_id(word)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    EVALUATION.mkdir(parents=True)


def put_angle(path: str, degrees: float) -> Path:
    """A vector at an angle: the larger the difference of two angles, the lower their cosine."""
    vector = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return put_vector(path, [vector, vector], start=(0, 0))


def put_rows(path: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    with Step("fute.batching", settings={}) as step:
        step.jsonl(Path(path), rows)
    return Path(path)


def ranked(dataset: str, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """Model -> the names that `fute rank` prints for a dataset, in their order."""
    capsys.readouterr()
    rank_run(dataset, Path("results"), "table", "tupate")
    tables: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        cells = line.strip("│┃ ").split()
        if title := re.match(r"(Prompts|Sources) of (\S+) for |Models for ", line):
            names = tables.setdefault(title[2], []) if title[2] else []
        elif cells and cells[0].isdecimal() and "│" in line:
            names.append(cells[2])
    return tables


# --- prompts of LLMs ------------------------------------------------------------------------------------

MODELS, DATASETS = ("1", "01"), ("nan", "null")
# the wrong answers of a prompt are as many as its place, and its vector is as far from those of the datasets
BEST = {prompt: place for place, prompt in enumerate(IDS)}


def test_prompts_models_and_datasets_of_such_ids_go_through_to_the_report(capsys):
    gold = ["positive", "negative"] * (N // 2)
    labels, vectors = [], []
    for dataset in DATASETS:
        rows = [{"id": f"{dataset}/{i}", "segments": ["x"], "label": label} for i, label in enumerate(gold)]
        labels.append(put_rows(paths.rows(dataset, "test"), rows))
        vectors.append(put_angle(paths.dte("s", "tupate", dataset), 0))
    for model, prompt in product(MODELS, IDS):
        vectors.append(put_angle(paths.mte("s", "tupate", model, prompt), 10 + 10 * BEST[prompt]))
        for corpus in (*DATASETS, "sa"):
            rows = [
                {"id": f"{corpus}/{i}", "prediction": right if i >= BEST[prompt] else "negative", "mean_nll": 1.0,
                 "uncalibrated": right, "coverage": 1.0, "top_is_verbalizer": True, "prompt_tokens": 3}
                for i, right in enumerate(gold)
            ]  # fmt: skip
            labels.append(put_rows(paths.labels(model, prompt, corpus), rows))
    scored = []
    for model, dataset in product(MODELS, DATASETS):
        path = Path(paths.prompt_scores(model, dataset))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"prompts": IDS, "scores": {"MI": [float(-BEST[p]) for p in IDS]}}))
        scored.append(path)

    each = {"prompts": {"sa": IDS}, "datasets": {"sa": DATASETS}, "models": MODELS, "methods": ("tupate",)}
    files = {
        name: EVALUATION / f"{name}.csv" for name in ("similarities", "controls", "performance", "selection", "table3")
    }
    similarities(
        SimilaritySettings(surrogate="s", control_methods=(), variants=(), **each),
        files=vectors, cosines=files["similarities"], controls=files["controls"],
    )  # fmt: skip
    evaluated = [path for path in labels if path.name != "sa.jsonl.gz"]
    metrics = dict.fromkeys(CLASSES, "accuracy")
    selection(
        SelectionSettings(calibration="none", classes=CLASSES, metrics=metrics, draws=10, seed=1, **each),
        files=[*evaluated, *scored], similarities=files["similarities"],
        performance=files["performance"], selected=files["selection"], table3=files["table3"],
    )  # fmt: skip
    chosen = read_table(files["selection"]).query("method == 'FUTE + TuPaTE'")
    assert list(zip(chosen["model"], chosen["dataset"], chosen["selected"], strict=True)) == [
        (model, dataset, "null") for model, dataset in product(MODELS, DATASETS)
    ]
    mean = read_table(files["table3"]).query("method == 'FUTE + TuPaTE'")
    assert mean["model"].tolist() == list(MODELS) and set(mean["datasets"]) == {", ".join(DATASETS)}
    assert mean["performance"].tolist() == [100.0] * len(MODELS)
    assert list(read_table(files["performance"])["prompt"]) == [
        prompt for _, _, prompt in product(MODELS, DATASETS, IDS)
    ]

    tables = {ending: Path(f"results/paper/tables/table3.{ending}") for ending in ("csv", "md", "tex")}
    settings = TableSettings(title="T", caption="C", categories=(("sa", "SA"),))
    table3(settings, cells=files["table3"], similarities=files["similarities"],
           csv=tables["csv"], markdown=tables["md"], latex=tables["tex"])  # fmt: skip
    heads = read_texts(tables["csv"]).columns
    assert [head for head in heads if head.endswith("_ndcg")] == [f"{model}_ndcg" for model in MODELS]

    points = {prompt: ("sa", place + 1, False) for prompt, place in BEST.items()}
    places = {"statistics": EVALUATION / "geometry.csv", "coordinates": EVALUATION / "coordinates.csv"}
    geometry(GeometrySettings(prompts=points, seed=1), files=vectors[len(DATASETS) :], **places)
    assert set(read_table(places["coordinates"])["prompt"]) == set(IDS)
    drawing = {"fig4": {"figure": "fig4", "method": "tupate", "view": "raw"}}
    drawn = FigureSettings(drawings=drawing, looks=(("sa", "SA", None),))
    figure(drawn, coordinates=places["coordinates"], geometry=places["statistics"],
           folder=Path("results/paper/figures"))  # fmt: skip

    out = {name: EVALUATION / f"efficiency-llm-{name}.csv" for name in ("embeddings", "calls", "costs")}
    out["markdown"] = Path("efficiency.md")
    efficiency(EfficiencySettings(prompts=dict.fromkeys(IDS, "sa"), title="T", caption="C"), files=labels,
               benchmarks=Path("results/benchmarks"), **out)  # fmt: skip
    counted = read_texts(out["calls"])
    assert counted["model"].tolist() == sorted(MODELS) and set(counted["prompts"]) == {str(len(IDS))}

    report(
        ReportSettings(title="T", lede="", note="", settings={}, lm=None, files={},
                       llm=LlmTexts(table3_caption="C", categories=(("sa", "SA"),), colours={}, prompts={},
                                    figures=())),
        evaluation=EVALUATION, printed=PRINTED, benchmarks=Path("results/benchmarks"), counts=[], inputs=[],
        output=Path("r.html"),
    )  # fmt: skip
    page = Path("r.html").read_text()
    assert "No benchmark files" in page, "nothing was measured, and that is said"
    assert f"prompt null of {MODELS[0]}" in page, "a point of the map"
    for name in (*MODELS, *DATASETS, *IDS):
        assert re.search(rf">\s*{name}\s*<|· {name}\b", page), name
    assert ranked("nan", capsys) == {model: list(IDS) for model in MODELS}
    show(Path("results"))
    assert "FUTE + TuPaTE" in capsys.readouterr().out


# --- classes --------------------------------------------------------------------------------------------


def test_classes_of_such_names_stay_apart():
    rows = [{"text": f"text {n} of {word}", "label": word} for n, word in enumerate(WORDS)]
    Path("data/d").mkdir(parents=True)
    for split in ("train", "test"):
        Path(f"data/d/{split}.jsonl.gz").write_bytes(gzip_bytes(jsonl_bytes(rows)))
    entry = DatasetSettings(
        title="D", category="cr", fields=("text",), label_field="label", labels={word: word for word in WORDS},
        classes=WORDS, splits={"train": "train", "test": "test"},
    )  # fmt: skip
    settings = SplitSettings(
        dataset="d", entry=entry, source="files", test_rows=None, train_rows=None, dev_share=0, seed=1
    )
    source = source_identity("d", entry, "files", Path("data"))
    with pytest.raises(ValueError, match="training rows hold a text of the test split"):
        normalise_test(settings, source=source, root=Path("data"), own={}, test=Path("t.jsonl.gz"), lock=Path("t.lock"))
    Path("data/d/train.jsonl.gz").write_bytes(gzip_bytes(jsonl_bytes([{"text": "another text", "label": "01"}])))
    source = source_identity("d", entry, "files", Path("data"))
    normalise_test(settings, source=source, root=Path("data"), own={}, test=Path("t.jsonl.gz"), lock=Path("t.lock"))
    assert [row.label for row in read_rows(Path("t.jsonl.gz"))] == list(WORDS)
