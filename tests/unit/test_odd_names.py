"""Tiny runs whose ids and labels are words that readers of CSV or YAML take for something else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.categories import CLASSES
from support.vectors import put_vector

from fute import paths
from fute.artifacts import Step, csv_bytes, gzip_bytes, jsonl_bytes
from fute.config.datasets import DatasetSettings
from fute.config.sections import is_id
from fute.csv_files import read_table, read_texts
from fute.data.normalise_test_step import normalise_test
from fute.data.rows import read_rows
from fute.data.sources import source_identity
from fute.data.splits import SplitSettings
from fute.evaluation.geometry_step import GeometrySettings, geometry
from fute.evaluation.lm_evaluation_step import TransferSettings, lm_evaluation
from fute.evaluation.lm_similarities_step import LmSimilaritySettings, lm_similarities
from fute.evaluation.selection_step import SelectionSettings, selection
from fute.evaluation.similarities_step import SimilaritySettings, similarities
from fute.evaluation.transfer_matrix_step import MatrixSettings, TransferDataset, sources_of, transfer_matrix
from fute.front.rank import rank_run
from fute.paper.efficiency import COST_COLUMNS, COUNT_COLUMNS
from fute.paper.efficiency_step import EfficiencySettings, efficiency
from fute.paper.figure_step import FigureSettings, figure
from fute.paper.report_step import LlmTexts, LmTexts, ReportSettings, report
from fute.paper.table3_step import TableSettings, table3
from fute.paper.terminal import show
from fute.paper.transfer_table_step import TransferTableSettings, transfer_table

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


# --- fine-tuned language models -------------------------------------------------------------------------

LM_MODELS = ("none", "1", "01")
LM_DATASETS = {
    name: TransferDataset(title=f"The set {name}", group="qa" if name in ("1e3", "true") else "cr")
    for name in ("null", "nan", "true", "1", "01", "1e3")
}


def test_models_and_datasets_of_such_ids_go_through_to_the_report_of_transfer(capsys):
    place = {name: number for number, name in enumerate(LM_DATASETS)}
    vectors = [put_angle(paths.dte("s", "tupate", name), 0) for name in LM_DATASETS]
    boxes = tuple(product(LM_MODELS, LM_DATASETS))
    vectors += [put_angle(paths.mte("s", "tupate", *box), 10 + 10 * place[box[1]]) for box in boxes]
    lm_similarities(
        LmSimilaritySettings(surrogate="s", methods=("tupate",), black_boxes=boxes, targets=tuple(LM_DATASETS)),
        files=vectors, output=EVALUATION / "lm_similarities.csv",
    )  # fmt: skip
    scores = []
    for target, source in product(LM_DATASETS, (None, *LM_DATASETS)):
        if source != target:
            score = 50.0 if source is None else 90.0 - place[source]
            record = {"model": "none", "target": target, "source": source, "seeds": [42], "scores": [score],
                      "majority": 40.0 if source is None else None}  # fmt: skip
            scores.append(Path(f"scores/{target}-{source}.json"))
            scores[-1].parent.mkdir(exist_ok=True)
            scores[-1].write_text(json.dumps(record))
    transfer_matrix(
        MatrixSettings(model="none", datasets=LM_DATASETS), files=scores, output=EVALUATION / "transfer.csv"
    )
    pairs = [(source, target) for target in LM_DATASETS for source in sources_of(target, LM_DATASETS)]
    baselines = [
        {"model": "none", "method": "DataSize", "source": source, "target": target, "score": 1.0 * place[source],
         "in_class": 1.0 * place[source]} for source, target in pairs
    ]  # fmt: skip
    Path("baselines.csv").write_bytes(csv_bytes(baselines))
    files = {name: EVALUATION / f"{name}.csv" for name in ("lm_targets", "lm_direct", "table1", "table2")}
    lm_evaluation(
        TransferSettings(surrogate="s", methods=("tupate",), models=("none",), datasets=LM_DATASETS, draws=10,
                         permutations=100),
        transfer=EVALUATION / "transfer.csv", similarities=EVALUATION / "lm_similarities.csv",
        baselines=Path("baselines.csv"), targets=files["lm_targets"], direct=files["lm_direct"],
        table1=files["table1"], table2=files["table2"],
    )  # fmt: skip
    each = read_table(files["lm_targets"]).query("method == 'FUTE + TuPaTE' and scope == 'all-class'")
    best = {target: next(name for name in LM_DATASETS if name != target) for target in LM_DATASETS}
    assert dict(zip(each["target"], each["best_source"], strict=True)) == best
    assert each["selected"].tolist() == each["best_source"].tolist() and set(each["rho"]) == {1}
    cells = read_table(files["table1"]).query("method == 'FUTE + TuPaTE'")
    assert cells["targets"].tolist() == ["null, nan, 1, 01", "null, nan, 1, 01", "true, 1e3", "true, 1e3"]

    texts = {"title": "T", "caption": "C"}
    transfer_table(TransferTableSettings(table="table1", **texts), cells=files["table1"], targets=files["lm_targets"],
                   similarities=EVALUATION / "lm_similarities.csv", direct=files["lm_direct"],
                   printed=PRINTED / "table1.csv",
                   csv=Path("t.csv"), markdown=Path("t.md"), latex=Path("t.tex"))  # fmt: skip
    assert "none" in set(read_texts(Path("t.csv"))["model"])
    put = {"surrogate": "s", "method": "tupate", "vectors": 1, "measured": 0}
    times = EVALUATION / "efficiency-lm-embeddings.csv"
    times.write_bytes(csv_bytes([put | {"seconds": None, "seconds_each": None}]))
    for name, columns in {"calls": COUNT_COLUMNS, "costs": COST_COLUMNS}.items():
        pd.DataFrame(columns=columns).to_csv(EVALUATION / f"efficiency-lm-{name}.csv", index=False)
    at = dict.fromkeys(("tsne_x", "tsne_y", "pca_x", "pca_y"), 1.0)
    rows = [{"method": "tupate", "model": model, "dataset": name, "title": name, "class": "cr", "view": "raw"} | at
            for model, name in boxes]  # fmt: skip
    (EVALUATION / "lm_coordinates.csv").write_bytes(csv_bytes(rows))
    report(
        ReportSettings(title="T", lede="", note="", settings={}, llm=None, files={},
                       lm=LmTexts(tables={"table1": texts}, figures=())),
        evaluation=EVALUATION, printed=PRINTED, benchmarks=Path("results/benchmarks"), counts=[], inputs=[],
        output=Path("r.html"),
    )  # fmt: skip
    page = Path("r.html").read_text()
    for name in LM_DATASETS:
        assert re.search(rf">\s*{name}\b", page), name
    assert '"none, fine-tuned on 01", "50.0 on its own test rows"' in page, "a point of the map"
    assert ranked("1", capsys) == {model: [n for n in LM_DATASETS if n != "1"] for model in LM_MODELS}
    assert ranked("01", capsys) == {model: [n for n in LM_DATASETS if n != "01"] for model in LM_MODELS}
    show(Path("results"))


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
