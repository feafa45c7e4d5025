"""What a finished run shows in the terminal: the table with its verdicts, and rankings with margins."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from support.synthetic_lm import GATE

from fute.front.rank import rank_run
from fute.paper.terminal import NoResults, show

TESTS = {f"{metric}{end}": 0.5 for metric in ("ndcg", "performance") for end in ("_p", "_p_worse")}
COSINES = {"sa-1": 0.5, "sa-3": 0.9, "sa-7": 0.75, "sa-9": 0.75}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The evaluation of a run with two LLMs on two datasets."""
    folder = tmp_path / "results"
    (folder / "evaluation").mkdir(parents=True)
    similar = [
        {"method": method, "model": model, "prompt": prompt, "dataset": dataset,
         "cosine": cosine if (model, method, dataset) == ("m-a", "tupate", "films") else 1 - cosine,
         "candidates_cosine": cosine - 0.7 if dataset == "series" else float("nan"),
         "largest_entry": cosine if method == "taskemb" else float("nan"), "unknown_tokens": 0.0,
         "task2vec_cosine": cosine / 2 if method == "taskemb" else float("nan")} | GATE
        for method in ("taskemb", "tupate") for model in ("m-b", "m-a") for dataset in ("films", "series")
        for prompt, cosine in COSINES.items()
    ]  # fmt: skip
    controls = [
        {"method": "tupate", "model": model, "dataset": "films", "order_p": p, "sd_order_noise": 0.0123, "order_df": 3,
         "verdict": f"verdict of {model}"}
        for model, p in (("m-a", 0.01), ("m-b", 0.5))
    ]  # fmt: skip
    table3 = [
        {"category": "sa", "model": model, "method": method, "performance": 60.0 + i, "rate": 80.0, "ndcg": 90.0}
        | TESTS | ({"ndcg_p": 0.01, "ndcg_p_worse": 1.0} if method == "FUTE + TuPaTE" else {})
        for model in ("m-a", "m-b")
        for i, method in enumerate(["MI", "FUTE + TaskEmb", "FUTE + TuPaTE", "Oracle", "Random"])
    ]  # fmt: skip
    for name, rows in (("similarities", similar), ("controls", controls), ("table3", table3)):
        pd.DataFrame(rows).to_csv(folder / "evaluation" / f"{name}.csv", index=False)
    return folder


def words(text: str) -> str:
    """The text on one line, as if the terminal were wide."""
    return " ".join(text.split())


def ranked(text: str) -> list[list[str]]:
    """The cells of the printed rows that begin with a rank."""
    rows = [re.findall(r"[^\s│|┃]+", line) for line in text.splitlines()]
    return [cells for cells in rows if cells and cells[0].isdigit()]


def rank(dataset: str, results: Path, method: str) -> None:
    rank_run(dataset, results, "table", method)


def test_rank_prints_ranks_and_margins_in_order(results, capsys):
    rank("films", results, "tupate")
    text = capsys.readouterr().out
    first, second = text.split("Prompts of m-a for films")
    assert "Prompts of m-b for films" in first, "models in the order of the file"
    assert "FUTE + TuPaTE" in second.splitlines()[2] and "TaskEmb" not in text
    assert ranked(second) == [
        ["1", "sa-3", "0.9000", "0.1500"],
        ["2", "sa-7", "0.7500", "0.0000", "~"],  # of equal cosines, the lower number first
        ["2", "sa-9", "0.7500", "0.2500"],
        ["4", "sa-1", "0.5000"],
    ]
    assert [cells[1] for cells in ranked(first)] == ["sa-1", "sa-7", "sa-9", "sa-3"]


def test_rank_counts_rows_without_a_label(results, capsys):
    rank("films", results, "tupate")
    assert "without a label" not in capsys.readouterr().out
    rows = [{"model": model, "prompt": prompt, "dataset": "films", "n": 40,
             "unlabelled": 2 * (prompt == "sa-3" and model == "m-a"), "cut": 0}
            for model in ("m-a", "m-b") for prompt in COSINES]  # fmt: skip
    pd.DataFrame(rows).to_csv(results / "evaluation/performance.csv", index=False)
    rank("films", results, "tupate")
    text = words(capsys.readouterr().out)
    assert text.count("Rows without a label: sa-3 2 of 40.") == 1 and "cut" not in text


def test_rank_says_how_far_order_seeds_move_a_cosine(results, capsys):
    rank("films", results, "tupate")
    text = words(capsys.readouterr().out)
    assert "FUTE + TuPaTE: the order of the training texts moves a score by 0.0123 (standard deviation), so" in text
    assert text.index("verdict of m-b.") < text.index("m-a for films") < text.index("FUTE + TuPaTE: verdict of m-a.")


def test_rank_without_a_control_prints_the_ranking_alone(results, capsys):
    rank("series", results, "tupate")
    text = capsys.readouterr().out
    assert len(ranked(text)) == 8 and "order of the training texts" not in text


def test_rank_shows_what_is_left_of_a_cosine(results, capsys):
    """Around the mean of the candidates, and with every entry of TaskEmb's vectors counting alike."""
    rank("series", results, "taskemb")
    text = capsys.readouterr().out
    assert ranked(text)[0] == ["1", "sa-1", "0.5000", "-0.2000", "0.2500", "0.2500"]
    assert ranked(text)[3][-2:] == ["0.2000", "0.4500"]
    assert "FUTE + TaskEmb: one entry of the vectors carries 50.0 to 90.0 % of these scores." in words(text)
    rank("films", results, "tupate")
    text = capsys.readouterr().out
    assert "one entry" not in text and "task2vec" not in text
    rank_run("films", results, "table")
    text = words(capsys.readouterr().out)
    assert "one entry" in text and "task2vec" not in text, "beside several methods there is no room"


def test_rank_of_fine_tuned_models_leaves_the_dataset_itself_out(language_models, capsys):
    rank("topics", language_models, "tupate")
    text = capsys.readouterr().out
    assert "Models for topics" in text.splitlines()[0], "those that were fine-tuned on it, by themselves"
    _, first, second = re.split("Sources of m-. for topics", text)
    assert ranked(first) == [  # scores are means over seeds
        ["1", "letters", "0.7500", "0.2500", "80.5"],
        ["2", "reports", "0.5000", "0.2500", "40.0"],
        ["3", "grammar", "0.2500", "51.0"],
    ]
    assert "Scores are after transfer; without transfer the score is 65.0 %." in words(first)
    assert [cells[1:] for cells in ranked(second)] == [["letters", "0.7500", "0.2500"], ["reports", "0.5000", "0.2500"],
                                                       ["grammar", "0.2500"]], "no transfer was run"  # fmt: skip


def test_rank_of_a_dataset_of_both_experiments(results, language_models, capsys):
    for path in (language_models / "evaluation").iterdir():
        path.rename(results / "evaluation" / path.name)
    similar = pd.read_csv(results / "evaluation/lm_similarities.csv").replace({"target": {"topics": "films"}})
    similar.to_csv(results / "evaluation/lm_similarities.csv", index=False)
    rank("films", results, "tupate")
    text = capsys.readouterr().out
    assert text.index("Prompts of m-a for films") < text.index("Sources of m-a for films")
    with pytest.raises(NoResults, match=r"'flims'; there are films, grammar, series: run the workflow for it, or name"):
        rank("flims", results, "tupate")


def test_a_ranking_from_unknown_tokens_says_so(results, capsys):
    path = results / "evaluation/similarities.csv"
    similar = pd.read_csv(path)
    similar.loc[(similar["method"] == "tupate") & (similar["model"] == "m-b"), "unknown_tokens"] = 0.33
    similar.to_csv(path, index=False)
    rank("films", results, "tupate")
    said = words(capsys.readouterr().out)
    assert "Warning: FUTE + TuPaTE: the surrogate's tokenizer does not know up to 33% of the tokens" in said
    rank("films", results, "taskemb")
    assert "Warning" not in capsys.readouterr().out


def test_a_ranking_names_what_has_no_vector(results, capsys):
    path = results / "evaluation/similarities.csv"
    similar = pd.read_csv(path)
    rows = (similar["method"] == "tupate") & (similar["model"] == "m-b") & (similar["dataset"] == "films")
    similar["no_vector"] = ""
    first = similar.index[rows][0]
    similar.loc[first, ["cosine", "no_vector"]] = 0.0, "the output is the same, 'positive', for all 48 texts"
    similar.to_csv(path, index=False)
    rank("films", results, "tupate")
    said = words(capsys.readouterr().out)
    prompt = similar.loc[first, "prompt"]
    named = (
        f"Warning: FUTE + TuPaTE: one of the two has no vector in m-b {prompt} with films (the output is the same, 'po"
    )
    assert named in said
    assert said.count("no vector") == 2 and f"no vector {prompt} 0.0000" in said.replace("│", "").replace("  ", " ")


def mark(path: Path, chosen: str, column: str) -> None:
    """Let the vectors of some rows fail their gate."""
    similar = pd.read_csv(path)
    similar.loc[similar.eval(chosen), column] = "no"
    similar.to_csv(path, index=False)


def test_a_vector_that_did_not_learn_is_marked(results, capsys):
    path = results / "evaluation/similarities.csv"
    rank("films", results, "tupate")
    assert "did not learn" not in capsys.readouterr().out
    mark(path, "method == 'tupate' and model == 'm-a' and prompt == 'sa-7'", "mte_learned")
    rank("films", results, "tupate")
    text = capsys.readouterr().out
    first, second = text.split("Prompts of m-a for films")
    assert "did not learn" not in first and second.count("did not learn") == 1
    assert [cells[1] for cells in ranked(second)] == ["sa-3", "sa-9", "sa-1"], "it has no rank"
    rank("films", results, "taskemb")
    assert "did not learn" not in capsys.readouterr().out


def test_a_run_whose_datasets_did_not_learn_says_so_first(results, language_models, capsys):
    mark(results / "evaluation/similarities.csv", "method == 'tupate' and dataset == 'films'", "dte_learned")
    mark(language_models / "evaluation/lm_similarities.csv", "target == 'topics'", "dte_learned")
    for folder, table, name in ((results, "Table 3", "films"), (language_models, "Table 1", "topics")):
        show(folder)
        text = words(capsys.readouterr().out)
        said = f"Warning: FUTE + TuPaTE: on held-out rows, the surrogate knows no more of {name} than the shares"
        assert text.startswith(said) and "(1 of 2 dataset embeddings did not learn)" in text
        assert text.index(said) < text.index(table)


def test_an_unknown_dataset_or_method_says_what_there_is(results):
    with pytest.raises(NoResults, match=r"no similarities for dataset 'flims'; there are films, series: run the workf"):
        rank("flims", results, "tupate")
    with pytest.raises(ValueError, match=r"by 'textemb'; there are those by taskemb, tupate: name one of these$"):
        rank("films", results, "textemb")


def test_a_dataset_with_one_candidate_has_no_order(language_models):
    path = language_models / "evaluation/lm_similarities.csv"
    similar = pd.read_csv(path).query("model == 'm-a' and source in ['topics', 'letters']")
    similar.to_csv(path, index=False)
    with pytest.raises(NoResults, match="topics: the run has one candidate for it, and so no order; name a second one"):
        rank("topics", language_models, "tupate")


def test_show_prints_table_verdicts_times_and_places(results, capsys):
    folder = results / "benchmarks" / "label_batch"
    folder.mkdir(parents=True)
    for name, seconds in (("a", 100), ("b", 25)):
        (folder / f"{name}.tsv").write_text(f"s\th:m:s\n{seconds}\t0:01:40\n")
    record = results / "paper/tables/table3.csv.prov.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"record": {"params": {"categories": [["sa", "Reviews"]]}}}))
    show(results)
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line.strip().startswith("FUTE + TuPaTE")]
    one = words(text)
    assert "- FUTE + TuPaTE: NDCG beats random rankings in 2 of 2 blocks (Reviews m-a and Reviews m-b)" in one
    assert "on 1 of 2 targets: p is over 0.05 for m-b on films (0.500)" in one
    assert "- MI:" not in one, "verdicts of the embeddings only"
    assert re.search(r"Time by step: label_batch 2\s?m(in)? 0?5\s?s", one), one
    for name in ("report.html", "tables", "figures"):
        assert f"{results}/paper/{name}" in "".join(text.split()), "a path is whole"


def test_a_damaged_record_of_table_3_is_named(results):
    record = results / "paper/tables/table3.csv.prov.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    with pytest.raises(ValueError, match=r"table3\.csv\.prov\.json cannot be read .*; remove it, and run the workflow"):
        show(results)


def test_show_without_times_leaves_them_out(results, capsys):
    show(results)
    assert "Time by step" not in capsys.readouterr().out


@pytest.fixture
def language_models(tmp_path: Path) -> Path:
    """The evaluation of a run with the language-model experiment alone, without domain targets."""
    folder = tmp_path / "lm" / "results"
    (folder / "evaluation").mkdir(parents=True)
    far = {"rho_p": 0.01, "rho_p_worse": 1.0}
    tests = {f"{metric}{end}": 0.5 for metric in ("rho", "ndcg") for end in ("_p", "_p_worse")}
    cells = [
        {"model": "m-a", "cell": "cr-in-class", "method": method, "rho": 1.5 + i, "ndcg": 80.0 + i}
        | tests | (far if method == "FUTE + TuPaTE" else {})
        for i, method in enumerate(["DataSize", "TaskEmb", "FUTE + TuPaTE", "Random"])
    ]  # fmt: skip
    direct = {"model": "m-a", "target": ["topics", "grammar"], "direct": [70.0, 0.0], "majority": [25.0, 0.0],
              "best_transferred": [71.0, 0.0], "counted": [True, False]}  # fmt: skip
    similar = [
        {"method": "tupate", "model": model, "source": source, "target": target, "cosine": cosine,
         "unknown_tokens": 0.0, "candidates_cosine": float("nan"), "largest_entry": float("nan")} | GATE
        for model in ("m-a", "m-b") for target in ("topics", "grammar")
        for source, cosine in (("topics", 1.0), ("grammar", 0.25), ("letters", 0.75), ("reports", 0.5))
    ]  # fmt: skip
    scores = {"none": (60.0, 70.0), "grammar": (50.0, 52.0), "letters": (80.0, 81.0), "reports": (40.0, 40.0)}
    runs = [
        {"model": "m-a", "target": "topics", "source": source, "seed": seed, "score": score}
        for source, pair in scores.items() for seed, score in enumerate(pair)
    ]  # fmt: skip
    frames = {"table1": pd.DataFrame(cells), "lm_direct": pd.DataFrame(direct)}
    frames |= {"lm_similarities": pd.DataFrame(similar), "transfer": pd.DataFrame(runs)}
    for name, frame in (frames | {"table2": frames["table1"].head(0)}).items():
        frame.to_csv(folder / "evaluation" / f"{name}.csv", index=False)
    return folder


def test_show_of_the_language_model_experiment_alone(language_models, capsys):
    show(language_models)
    text = capsys.readouterr().out
    assert "Table 1" in text and "Table 2" not in text and "Table 3" not in text
    one = words(text)
    assert "- FUTE + TuPaTE: ρ beats random rankings in its block (CR in-class m-a)" in one
    assert "- TaskEmb:" not in one, "verdicts of FUTE's embeddings only"
    assert "of topics 70.0 (25.0), grammar 0.0 (0.0)" in one
    assert "no run does on grammar, left out of the means" in one


@pytest.mark.parametrize(("name", "column"), [("table1", "rho_p"), ("lm_direct", "majority"), ("table3", "rate")])
def test_a_file_of_an_older_version_is_named_with_what_it_lacks(results, language_models, name, column):
    path = (results if name == "table3" else language_models) / f"evaluation/{name}.csv"
    pd.read_csv(path).drop(columns=column).to_csv(path, index=False)
    with pytest.raises(NoResults, match=rf"{name}\.csv has no column '{column}'; remove it, and make it by running"):
        show(path.parents[1])


def test_show_of_both_experiments(results, language_models, capsys):
    for path in (language_models / "evaluation").iterdir():
        path.rename(results / "evaluation" / path.name)
    show(results)
    text = capsys.readouterr().out
    assert text.index("Table 1") < text.index("Table 3")


def test_show_of_planted_tests_alone(tmp_path, capsys):
    rows = "flips,tupate-lora,cosine,spearman,5,{},1,0.13,1,0,0.00833,True\nown,tupate,cosine,mrr,8,mean,,,,,,False\n"
    head = "test,method,similarity,measure,boxes,target,value,lo,hi,chance,p,passes\n"
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/planted.csv").write_text(
        head + rows.format("mean") + rows.format("a").split("\n")[0] + "\n"
    )
    similar = "test,method,model,source,target,dte_learned,mte_learned\nflips,tupate-lora,f,own,a,{},no\n"
    similar += "own,label-histogram,m,a,a,,\n"
    (tmp_path / "evaluation/planted_similarities.csv").write_text(similar.format("yes"))
    show(tmp_path)
    shown = capsys.readouterr().out
    assert "did not learn" not in shown, "a box whose answers are noise is not to be learned"
    (tmp_path / "evaluation/planted_similarities.csv").write_text(similar.format("no"))
    show(tmp_path)
    assert "1 of 1 dataset embeddings did not learn" in " ".join(capsys.readouterr().out.split())
    assert shown.count("TuPaTE by LoRA") == 1, "rows of single targets are in the file"
    assert "0.13 to 1.00" in shown and "passes" in shown and "not defined" in shown and "fails" in shown


def test_before_a_run_has_finished_it_says_what_to_run(tmp_path):
    message = r"run the workflow first \(make demo, or snakemake --cores all\), or name the folder .* by --results;"
    with pytest.raises(NoResults, match=rf"neither table1\.csv nor table3\.csv exists; {message}"):
        show(tmp_path)
    with pytest.raises(NoResults, match=r"similarities\.csv is missing; make it by running the workflow \(make demo, "):
        rank("films", tmp_path, "tupate")
