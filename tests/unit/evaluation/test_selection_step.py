"""The selection step on small label files: against scikit-learn, direct calls and values worked by hand."""

from __future__ import annotations

import json
from math import log, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score
from support.categories import CLASSES

from fute.artifacts import Step, read_jsonl
from fute.csv_files import read_table
from fute.evaluation.selection import Block, average_blocks, selection_table
from fute.evaluation.selection_step import SelectionSettings, selection
from fute.paper.figures import coloured, draw_figure
from fute.paper.table3_step import TableSettings, table3

SETTINGS = {
    "models": ("m-a", "m-b"),
    "prompts": {"sa": ("sa-1", "sa-3", "sa-12"), "nli": ("nli-1", "nli-7")},
    "datasets": {"sa": ("films", "series"), "nli": ("notices",)},
    "methods": ("taskemb", "tupate"),
    "calibration": "unsup",
    "classes": CLASSES,
    "metrics": dict.fromkeys(CLASSES, "accuracy"),
    "draws": 50,
    "seed": 7,
}
BLOCKS = [
    (category, model, dataset)
    for category, datasets in SETTINGS["datasets"].items()
    for model in SETTINGS["models"]
    for dataset in datasets
]
BASELINES = ("MI", "LocalE", "SPELL", "LocalE (uncalibrated)", "GlobalE (uncalibrated)")
SIMILARITIES = Path("results/evaluation/similarities.csv")
N = 8


def gold(category: str, dataset: str) -> list[str]:
    # the third class of NLI never occurs in gold, and in no answer of a prompt that does not err
    names = CLASSES[category][:2]
    return [names[(i + len(dataset)) % 2] for i in range(N)]


def answers(category: str, model: str, prompt: str, dataset: str) -> list[str]:
    """A prompt of number k errs on its first k rows, with the class that follows; one model errs on two more."""
    classes, true = CLASSES[category], gold(category, dataset)
    wrong = int(prompt.split("-")[1]) % 7 + 2 * (model == "m-b")
    return [classes[(classes.index(t) + (i < wrong)) % len(classes)] for i, t in enumerate(true)]


def label_rows(category: str, model: str, prompt: str, dataset: str) -> list[dict[str, Any]]:
    reasons = prompt == "sa-12"
    return [
        {
            "id": f"{dataset}/{i}",
            "prediction": answer,
            "uncalibrated": CLASSES[category][0],
            "coverage": 0.25 * (i % 2 + 1),
            "top_is_verbalizer": i < 2,
            "mean_nll": log(2 + i % 2),
        }
        | ({"reasoning": "so", "reasoning_tokens": i, "reasoning_truncated": i == 0} if reasons else {})
        for i, answer in enumerate(answers(category, model, prompt, dataset))
    ]


def write(path: str, rows: list[dict[str, Any]]) -> None:
    with Step("fute.batching", settings={}) as step:
        step.jsonl(Path(path), rows)


def baseline(category: str) -> dict[str, list[float]]:
    """Scores that differ by method and prompt."""
    number = len(SETTINGS["prompts"][category])
    return {name: [float((i + k) % number) for i in range(number)] for k, name in enumerate(BASELINES)}


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    similar = []
    for category, model, dataset in BLOCKS:
        test = [{"id": f"{dataset}/{i}", "segments": ["x"], "label": c} for i, c in enumerate(gold(category, dataset))]
        write(f"results/data/{dataset}/test.jsonl.gz", test)
        for k, prompt in enumerate(SETTINGS["prompts"][category]):
            write(f"results/labels/{model}/{prompt}/{dataset}.jsonl.gz", label_rows(category, model, prompt, dataset))
            for method in SETTINGS["methods"]:
                # only TaskEmb has the mean over tensors
                tensors = 0.1 * k if method == "taskemb" else nan
                similar.append({"method": method, "model": model, "prompt": prompt, "dataset": dataset,
                                "cosine": 0.9 - 0.1 * k, "centred_cosine": -0.1 + 0.1 * k,
                                "tensor_mean_cosine": tensors, "candidates_cosine": nan,
                                "nulls_cosine": nan, "task2vec_cosine": nan})  # fmt: skip
        path = Path(f"results/baselines/{model}/{dataset}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"prompts": SETTINGS["prompts"][category], "scores": baseline(category)}))
    SIMILARITIES.parent.mkdir(parents=True)
    # rows come in any order
    pd.DataFrame(similar[::-1]).to_csv(SIMILARITIES, index=False)


def run(**changes: Any) -> dict[str, pd.DataFrame]:
    out = {name: Path(f"results/evaluation/{name}.csv") for name in ("performance", "selection", "table3")}
    files = [p for folder in ("data", "labels", "baselines") for p in sorted(Path("results", folder).rglob("*"))
             if p.suffix in (".gz", ".json") and not p.name.endswith(".prov.json")]  # fmt: skip
    named = {"selected" if name == "selection" else name: path for name, path in out.items()}
    selection(SelectionSettings(**SETTINGS | changes), files=files, similarities=SIMILARITIES, **named)
    return {name: pd.read_csv(path, keep_default_na=True) for name, path in out.items()}


def expected_block(category: str, model: str, dataset: str) -> Block:
    classes, prompts = CLASSES[category], SETTINGS["prompts"][category]
    index = classes.index
    scores = {name: np.array(values) for name, values in baseline(category).items()}
    steps = np.arange(len(prompts)) / 10
    scores |= {"FUTE + TaskEmb": 0.9 - steps, "FUTE + TuPaTE": 0.9 - steps,
               "FUTE + TaskEmb (centred)": steps - 0.1, "FUTE + TuPaTE (centred)": steps - 0.1,
               "FUTE + TaskEmb (tensor mean)": steps}  # fmt: skip
    return Block(
        prompts, classes, np.array([index(c) for c in gold(category, dataset)]),
        np.array([[index(c) for c in answers(category, model, p, dataset)] for p in prompts]), scores,
    )  # fmt: skip


def of(frame: pd.DataFrame, **keys: str) -> pd.DataFrame:
    for column, value in keys.items():
        frame = frame[frame[column] == value]
    return frame.reset_index(drop=True)


def test_performance_worked_by_hand():
    rows = run()["performance"]
    assert len(rows) == 2 * (3 * 2 + 2 * 1)
    # prompt 1 of m-a errs on 1 of 8 rows, prompt 3 of m-b on 5; two classes, four rows each
    first = of(rows, model="m-a", prompt="sa-1", dataset="films").iloc[0]
    assert (first["n"], first["accuracy"], first["uncalibrated_accuracy"]) == (8, 87.5, 50)
    # gold 4 + 4, predicted 3 + 5, right 3 + 4: F1 of 6/7 and 8/9
    assert first["macro_f1"] == pytest.approx(100 * (6 / 7 + 8 / 9) / 2)
    assert of(rows, model="m-b", prompt="sa-3", dataset="films")["accuracy"].item() == 37.5
    assert (first["coverage"], first["top_is_verbalizer"], first["perplexity"]) == (0.375, 0.25, 2.5)
    assert sorted([first["share_negative"], first["share_positive"]]) == [3 / 8, 5 / 8]
    assert np.isnan(first["share_neutral"]), "a class of the other category"


def test_performance_is_scikit_learns():
    rows = run()["performance"]
    for row in rows.itertuples():
        true = gold(row.category, row.dataset)
        said = answers(row.category, row.model, row.prompt, row.dataset)
        assert row.accuracy == pytest.approx(100 * accuracy_score(true, said))
        assert row.macro_f1 == pytest.approx(100 * f1_score(true, said, average="macro"))


def test_a_row_without_a_label_is_wrong_and_counted():
    plain = run()
    assert not {"unlabelled", "bounded", "cut"} & set(plain["performance"]), "columns of what there is none of"
    rows = label_rows("sa", "m-a", "sa-1", "films")
    right = [
        i for i, (row, true) in enumerate(zip(rows, gold("sa", "films"), strict=True)) if row["prediction"] == true
    ]
    for i in right[:2]:
        rows[i] |= {"prediction": None, "uncalibrated": None, "bounded": list(CLASSES["sa"])}
    rows[right[2]] |= {"cut": True}
    write("results/labels/m-a/sa-1/films.jsonl.gz", rows)
    frames = run()
    row = of(frames["performance"], model="m-a", prompt="sa-1", dataset="films").iloc[0]
    before = of(plain["performance"], model="m-a", prompt="sa-1", dataset="films").iloc[0]
    assert (row["unlabelled"], row["bounded"], row["cut"]) == (2, 2, 1)
    assert row["accuracy"] == before["accuracy"] - 100 * 2 / N
    said = ["none" if r["prediction"] is None else r["prediction"] for r in rows]
    true = gold("sa", "films")
    assert row["macro_f1"] == pytest.approx(
        100 * f1_score(true, said, average="macro", labels=list(CLASSES["sa"]), zero_division=0)
    )
    assert frames["performance"]["unlabelled"].sum() == 2
    chosen = of(frames["selection"], model="m-a", dataset="films").set_index("method")
    assert chosen.loc["FUTE + TuPaTE", "performance"] == row["accuracy"], "sa-1 has the highest cosine"


def test_spell_that_was_not_asked_for_is_in_no_table():
    for path in Path("results/labels").rglob("*.jsonl.gz"):
        rows = [{k: v for k, v in row.items() if k != "mean_nll"} for row in read_jsonl(path)]
        write(path.as_posix(), rows)
    for path in Path("results/baselines").rglob("*.json"):
        scores = json.loads(path.read_text())
        scores["scores"].pop("SPELL")
        path.write_text(json.dumps(scores))
    frames = run()
    assert "SPELL" not in set(frames["table3"]["method"]) and "MI" in set(frames["table3"]["method"])
    assert frames["performance"]["perplexity"].isna().all()


def test_reasoning_is_counted_where_there_is_some():
    rows = run()["performance"]
    facts = ["reasoning_truncated", "reasoning_empty", "reasoning_one_token"]
    assert rows.loc[rows["prompt"] == "sa-12", facts].eq(1 / 8).all().all()
    assert rows.loc[rows["prompt"] != "sa-12", facts].isna().all().all()


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_selection_and_averages_are_those_of_the_functions(metric):
    frames = run(metrics={"sa": "accuracy", "nli": metric})
    tables = {}
    for category, model, dataset in BLOCKS:
        used = metric if category == "nli" else "accuracy"
        table = selection_table(expected_block(category, model, dataset), metric=used, draws=50, seed=7)
        tables.setdefault((category, model), []).append((dataset, table))
        written = of(frames["selection"], category=category, model=model, dataset=dataset)
        compare(written, table.frame)
    for (category, model), parts in tables.items():
        compare(of(frames["table3"], category=category, model=model), average_blocks(parts))


def compare(written: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert list(written.columns[:3]) == ["category", "model", "dataset"] or "datasets" in written
    shared = written[list(expected.columns)]
    text = [name for name in expected if not pd.api.types.is_numeric_dtype(expected[name])]
    pd.testing.assert_frame_equal(shared[text].fillna(""), expected[text], check_dtype=False)
    pd.testing.assert_frame_equal(shared.drop(columns=text), expected.drop(columns=text), check_dtype=False, rtol=1e-8)


def test_an_embedding_chooses_the_prompt_of_the_highest_cosine():
    rows = of(run()["selection"], model="m-a", dataset="films").set_index("method")
    # cosines fall with the prompt's position, centred ones rise
    assert rows.loc["FUTE + TuPaTE", "selected"] == "sa-1" and rows.loc["FUTE + TuPaTE", "performance"] == 87.5
    assert rows.loc["FUTE + TuPaTE (centred)", "selected"] == "sa-12"
    # prompt 12 errs on 12 % 7 = 5 rows of 8, prompt 3 on 3: the order by cosine is that by performance
    assert rows.loc["FUTE + TuPaTE (centred)", "performance"] == 37.5
    assert rows.loc["FUTE + TuPaTE", "ndcg"] == pytest.approx(100)
    assert rows.loc["Oracle", "performance"] == 87.5 and rows.loc["Random", "performance"] == pytest.approx(62.5)


def test_a_view_that_a_method_lacks_makes_no_row():
    methods = set(run()["selection"]["method"])
    assert "FUTE + TaskEmb (tensor mean)" in methods and "FUTE + TuPaTE (tensor mean)" not in methods


def test_uncalibrated_baselines_stand_beside_calibrated_ones_only():
    assert {m for m in run()["table3"]["method"] if "uncalibrated" in m} == {
        "LocalE (uncalibrated)", "GlobalE (uncalibrated)"
    }  # fmt: skip
    assert not {m for m in run(calibration="none")["table3"]["method"] if "uncalibrated" in m}


def test_labels_of_other_rows_are_refused():
    path = "results/labels/m-a/sa-3/series.jsonl.gz"
    write(path, label_rows("sa", "m-a", "sa-3", "series")[::-1])
    with pytest.raises(ValueError, match=f"{path}: rows are not those of the evaluation rows of series"):
        run()
    assert not Path("results/evaluation/table3.csv").exists()


def test_baselines_of_other_prompts_are_refused():
    path = Path("results/baselines/m-b/notices.json")
    path.write_text(json.dumps({"prompts": ["nli-7", "nli-1"], "scores": {"MI": [0.1, 0.2]}}))
    with pytest.raises(ValueError, match=r"results/baselines/m-b/notices\.json: scores other prompts than \('nli-1'"):
        run()


def test_the_seed_and_the_number_of_draws_are_recorded():
    run()
    record = json.loads(Path("results/evaluation/table3.csv.prov.json").read_text())["record"]
    assert record["seeds"] == {"bootstrap": 7} and record["params"]["draws"] == 50
    assert record["counts"] == {"rows": len(pd.read_csv("results/evaluation/table3.csv"))}


def test_a_category_of_ten_classes_goes_through_to_table_3_and_a_figure():
    """Stand-in labels of two prompts, right on 9 and on 5 of 10 rows, one row per class."""
    classes = tuple(f"topic {letter}" for letter in "abcdefghij")
    rows = [{"id": f"texts/{i}", "segments": ["x"], "label": name} for i, name in enumerate(classes)]
    write("results/data/texts/test.jsonl.gz", rows)
    similar = []
    for prompt, right in (("topics-1", 5), ("topics-2", 9)):
        said = [c if i < right else classes[(i + 1) % 10] for i, c in enumerate(classes)]
        rows = [{"id": f"texts/{i}", "prediction": c, "uncalibrated": c, "coverage": 0.5, "top_is_verbalizer": True,
                 "mean_nll": 1.0} for i, c in enumerate(said)]  # fmt: skip
        write(f"results/labels/m-a/{prompt}/texts.jsonl.gz", rows)
        similar.append({"method": "tupate", "model": "m-a", "prompt": prompt, "dataset": "texts", "cosine": right / 10,
                        "mte_learned": "", "dte_learned": "", "unknown_tokens": 0.0}
                       | dict.fromkeys(("centred_cosine", "tensor_mean_cosine", "candidates_cosine", "nulls_cosine",
                                        "task2vec_cosine"), nan))  # fmt: skip
    scores = Path("results/baselines/m-a/texts.json")
    scores.parent.mkdir(parents=True, exist_ok=True)
    Path("own").mkdir()
    scores.write_text(json.dumps({"prompts": ["topics-1", "topics-2"], "scores": {"MI": [1.0, 0.0]}}))
    pd.DataFrame(similar).to_csv("own/similarities.csv", index=False)
    one = {"topics": ("topics-1", "topics-2")}
    settings = SETTINGS | {
        "models": ("m-a",), "prompts": one, "datasets": {"topics": ("texts",)}, "methods": ("tupate",),
        "classes": {"topics": classes}, "metrics": {"topics": "macro_f1"},
    }  # fmt: skip
    out = {name: Path(f"own/{name}.csv") for name in ("performance", "selected", "table3")}
    files = [*Path("results/data/texts").glob("*.gz"), *Path("results/labels").rglob("texts.jsonl.gz"), scores]
    selection(SelectionSettings(**settings), files=sorted(files), similarities=Path("own/similarities.csv"), **out)
    performance = read_table(out["performance"]).set_index("prompt")
    assert performance["accuracy"].to_dict() == {"topics-1": 50.0, "topics-2": 90.0}
    assert [name for name in performance if name.startswith("share_")] == [f"share_{name}" for name in classes]
    chosen = read_table(out["selected"]).set_index("method")["selected"]
    assert chosen["FUTE + TuPaTE"] == "topics-2" and chosen["MI"] == "topics-1"

    # category ids sort another way than the run states them
    titles = (("topics", "Topics"), ("a-category", "A"))
    files = {name: Path(f"own/paper/table3.{name}") for name in ("csv", "markdown", "latex")}
    table3(TableSettings(title="T", caption="C", categories=titles), cells=out["table3"],
           similarities=Path("own/similarities.csv"), **files)  # fmt: skip
    lines = files["csv"].read_text().splitlines()
    expected = 100 * f1_score(classes, [*classes[:9], classes[0]], average="macro")
    assert f"Topics,FUTE + TuPaTE,{expected:.1f}" in "\n".join(lines) and "Topics,MI," in "\n".join(lines)
    looks = coloured({"topics": ("Topics", None)} | {f"c-{n}": (f"C {n}", None) for n in range(9)})
    assert len({colour for _, colour in looks.values()}) == 10
    places = {f"{view}_{axis}": [0.0, 1.0, 2.0, 4.0] for view in ("tsne", "pca") for axis in "xy"}
    points = pd.DataFrame({"category": "topics", "model": "m-a", "number": [1, 2, 3, 4], **places})
    assert len(draw_figure("fig4", points, (0.6, 0.4), statistics={}, categories=looks)[".pdf"]) > 1000
