"""`fute rank` of a run's folder: its own datasets, and only results of its own candidates."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from support.own_runs import make_runs
from support.synthetic_lm import GATE

from fute.config.run import load_run
from fute.front.places import PROJECT
from fute.front.rank import rank_run
from fute.paper.terminal import NoResults


@pytest.fixture(autouse=True)
def runs(here: Path) -> None:
    make_runs(["Yes? {text}", "No? {text}"])
    Path("results/evaluation").mkdir(parents=True)


def write(name: str, rows: list[dict]) -> None:
    pd.DataFrame(rows).to_csv(Path("results/evaluation") / f"{name}.csv", index=False)


def read(name: str) -> list[dict]:
    return pd.read_csv(Path("results/evaluation") / f"{name}.csv").to_dict("records")


def prompts(*ids: str) -> None:
    front = {"method": "labelcov", "model": "smollm2-135m", "dataset": "mine-data"}
    none = float("nan")
    rest = {"category": "mine", "candidates_cosine": none, "largest_entry": none, "unknown_tokens": none}
    rest |= {"one_order_cosine": none}
    draws = [{"null-1": 0.001 * n, "null-2": 0.002 * n} for n in range(len(ids))]
    write("similarities", [front | {"prompt": name, "cosine": n / 10} | rest | draws[n] | GATE
                           for n, name in enumerate(ids)])  # fmt: skip
    controls = {"sd_order_noise": none, "order_df": none, "verdict": ""}
    write("controls", [front | controls])


def test_the_prompts_of_a_run_with_their_words(capsys):
    capsys.readouterr()
    prompts("mine-1", "mine-2")
    rank_run("mine", Path("results"), "table")
    said = " ".join(capsys.readouterr().out.split())
    assert "Prompts of smollm2-135m for mine-data" in said and "No? {text}" in said
    assert said.endswith(
        "use prompt mine-2; by LabelCov it is ahead of every other prompt by more than permuted labels can explain"
    )


def test_words_of_a_prompt_are_no_markup(capsys):
    templates = [f"{text} {{text}}" for text in ("[INST] :smile: [/INST]", "[red]No?[/]")]
    Path("p.yaml").write_text(json.dumps([{"template": template} for template in templates]))
    prompts("mine-1", "mine-2")
    capsys.readouterr()
    rank_run("mine", Path("results"), "table")
    said = capsys.readouterr().out
    assert all(template in said for template in templates)


def test_results_of_other_prompts_are_not_shown():
    prompts("mine-1", "mine-3")
    with pytest.raises(NoResults, match=r"mine: the results are of other prompts \(mine-2, mine-3\): `fute run mine`"):
        rank_run("mine", Path("results"), "table")


def record_of(path: str, **record: object) -> None:
    Path(f"{path}.prov.json").parent.mkdir(parents=True, exist_ok=True)
    Path(f"{path}.prov.json").write_text(json.dumps({"record": record}))


def test_results_of_other_words_are_not_shown(capsys):
    prompts("mine-1", "mine-2")
    run = load_run(Path("mine/run.yaml"), PROJECT / "config")
    words = [prompt.model_dump(mode="json") for prompt in run.prompts.values()]
    batch = "results/labels/smollm2-135m/batches/b.jsonl.gz"
    cells = [{"key": key, "prompt": name} for key, name in (("k1", "mine-2"), ("k2", "old"))]
    # under the ids that they had when they were asked
    record_of(batch, params={"labels": cells, "prompts": {"mine-2": words[0], "old": words[1] | {"note": "a note"}}})
    for number in (1, 2):
        labels = f"results/labels/smollm2-135m/mine-{number}/mine.jsonl.gz"
        record_of(labels, inputs=[{"path": "results/unsup/x"}, {"path": batch}], params={"key": f"k{number}"})
    rank_run("mine", Path("results"), "table")
    assert "No? {text}" in capsys.readouterr().out
    Path("p.yaml").write_text("[{template: 'Yes? {text}'}, {template: 'Not? {text}'}]")
    with pytest.raises(
        NoResults, match=r"^mine: the results are of other words of mine-2: `fute run mine` brings them"
    ):
        rank_run("mine", Path("results"), "table")
    Path("p.yaml").write_text("[{template: 'No? {text}'}, {template: 'Yes? {text}'}]")
    with pytest.raises(NoResults, match=r"the results are of other words of mine-2, mine-1: "):
        rank_run("mine", Path("results"), "table")


@pytest.mark.parametrize("name", ["mine.jsonl.gz", "mine.jsonl.gz.prov.json"])
def test_a_damaged_file_is_named(name):
    prompts("mine-1", "mine-2")
    path = Path("results/labels/smollm2-135m/mine-1") / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x1f\x8b nothing")
    with pytest.raises(ValueError, match=rf"^{path} cannot be read \(.*; remove it, and run the workflow again"):
        rank_run("mine", Path("results"), "table")


def test_before_it_ran_it_says_what_to_run():
    missing = (
        r"^mine has no results yet \(results/evaluation/similarities.csv is missing\): `fute run mine` makes them$"
    )
    with pytest.raises(NoResults, match=missing):
        rank_run("mine", Path("results"), "table")
    with pytest.raises(NoResults, match=r"^start has no results yet \(.*: `fute run start` makes them$"):
        rank_run("start", Path("results"), "table")
    prompts("another-1", "another-2")
    write("similarities", [{**row, "dataset": "another-data"} for row in read("similarities")])
    other = r"^mine has no results yet \(results/evaluation: no similarities for dataset 'mine-data'\): `fute run mine`"
    with pytest.raises(NoResults, match=other):
        rank_run("mine", Path("results"), "table")


def test_a_name_that_is_no_run_and_no_dataset():
    for name in ("mien", "mine/run.yaml"):
        said = (
            rf"^{name}: is no folder with a run\.yaml, so it should be a dataset of a finished run, whose results are "
            r"in results \(--results names another folder\); results/evaluation"
        )
        with pytest.raises(NoResults, match=said):
            rank_run(name, None, "table")


def test_one_method_of_a_run(capsys):
    prompts("mine-1", "mine-2")
    capsys.readouterr()
    rank_run("mine", Path("results"), "csv", "labelcov")
    assert "mine-2" in capsys.readouterr().out.splitlines()[1]
    for name in ("mine", "mine-data"):
        with pytest.raises(ValueError, match=r"by .tupat.; there are those by labelcov: name one of these$"):
            rank_run(name, Path("results"), "table", "tupat")


def test_models_to_start_from(capsys):
    capsys.readouterr()
    front = {"test": "start", "method": "labelcov", "target": "start", "source": "start", "unknown_tokens": 0.0}
    cosines = {"bert-base": (0.5, 60.0), "gpt2": (0.3, 70.0), "minilm-l6": (0.1, 80.0)}
    write("planted_similarities", [front | {"model": model, "cosine": cosine, "quality": score} | GATE
                                   for model, (cosine, score) in cosines.items()])  # fmt: skip
    for model, (_, score) in cosines.items():
        path = Path(f"results/finetuned/{model}/start.score.json")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"metric": "accuracy", "rows": 100, "majority": 50.0, "mean": score}))
    rank_run("start", Path("results"), "table")
    said = " ".join(capsys.readouterr().out.split())
    assert "Models for start" in said and "On 100 test rows the best score, 80.0 %, is that of model minilm-l6" in said
    assert "Kendall's tau with the order is -1.00. The most frequent class alone has 50.0 %." in said
    assert said.endswith(
        "use model minilm-l6; on the 100 test rows it is right on 80.0 % and bert-base, the first by LabelCov, on "
        "60.0 %, more than chance can explain"
    )
    warning = "LabelCov reads the texts with minilm-l6, and scores of models made from it come out higher"
    assert warning in said
    file = Path("start/run.yaml")
    file.write_text(file.read_text() + "\nlabelcov: {encoder: t5-base}\n")
    rank_run("start", Path("results"), "table")
    assert warning not in " ".join(capsys.readouterr().out.split())
