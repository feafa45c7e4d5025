"""The order of a run's candidates, what it rests on, and what is said of it: on evaluations written by hand."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from support.synthetic_lm import GATE

from fute.artifacts import gzip_bytes, jsonl_bytes
from fute.front.rank import rank_run
from fute.paper.candidates import EACH, MAJORITY, advice, as_json, kendall, rankings
from fute.paper.ranking import print_rankings
from fute.paper.terminal import NoResults

NAN = float("nan")
NO_GATE = {f"{kind}_learned": "" for kind in ("mte", "dte")}
BY_COVARIANCE = {"p-1": 0.10, "p-2": 0.40, "p-3": 0.42, "p-4": -0.20}
BY_LORA = {"p-1": 0.70, "p-2": 0.71, "p-3": 0.72, "p-4": 0.73}
DRAWS = {
    "p-1": [0.05, -0.05, 0.00, 0.00],
    "p-2": [0.00, 0.00, 0.07, -0.05],
    "p-3": [-0.05, 0.05, 0.00, 0.00],
    "p-4": [0.00, 0.00, -0.05, 0.05],
}
"""LabelCov with four draws of permuted labels."""
ACCURACY = {"p-1": 40.0, "p-2": 70.0, "p-3": 65.0, "p-4": 20.0}


def similar(method: str, cosines: dict[str, float], *, draws: bool = True, **more) -> list[dict]:
    gate = NO_GATE if method == "labelcov" else GATE
    front = {"method": method, "model": "m", "dataset": "stars", "category": "stars"}
    rows = []
    for prompt, cosine in cosines.items():
        row = {"prompt": prompt, "cosine": cosine, "one_order_cosine": cosine, "no_vector": "", "unknown_tokens": 0.0}
        dealt = DRAWS[prompt] if draws and method == "labelcov" else [NAN] * 4
        rows.append(front | row | {f"null-{n}": value for n, value in enumerate(dealt, start=1)} | gate | more)
    return rows


def write(results: Path, **tables: list[dict]) -> Path:
    (results / "evaluation").mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(results / "evaluation" / f"{name}.csv", index=False)
    return results


def control(method: str, **values: float) -> dict:
    none = {"sd_order_noise": NAN, "order_df": NAN}
    return {"method": method, "model": "m", "dataset": "stars"} | none | values


def scored(accuracy: dict[str, float]) -> list[dict]:
    return [{"model": "m", "dataset": "stars", "prompt": p, "n": 50, "accuracy": a} for p, a in accuracy.items()]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Four prompts by two methods. The noise of LabelCov is that of permuted labels, LoRA's that of order seeds."""
    controls = [control("labelcov"), control("tupate-lora", sd_order_noise=0.001, order_df=3)]
    rows = similar("labelcov", BY_COVARIANCE) + similar("tupate-lora", BY_LORA)
    return write(tmp_path, similarities=rows, controls=controls, performance=scored(ACCURACY))


def only(results: Path):
    (ranking,) = rankings(results, ["stars"])
    return ranking


def test_the_first_method_decides_and_the_others_stand_beside_it(results):
    ranking = only(results)
    assert ranking.order == ("p-3", "p-2", "p-1", "p-4")
    assert ranking.methods["labelcov"].ranks.to_dict() == {"p-3": 1, "p-2": 2, "p-1": 3, "p-4": 4}
    assert ranking.methods["tupate-lora"].ranks.to_dict() == {"p-4": 1, "p-3": 2, "p-2": 3, "p-1": 4}
    # of six pairs of prompts the methods order three alike (2-1, 3-1, 3-2)
    assert ranking.agreement == {("labelcov", "tupate-lora"): pytest.approx(0.0)}
    # the order and the accuracies differ in one pair of six (2 and 3)
    assert ranking.check == pytest.approx(4 / 6) and ranking.rows == 50


def test_gaps_are_compared_with_what_permuting_does_to_the_same_two(results):
    ranking = only(results)
    bound = ranking.first.bound("p-3", "p-2")
    distances = np.subtract(DRAWS["p-3"], DRAWS["p-2"])
    # Student's t of a distance around 0, from four draws
    assert bound == pytest.approx(stats.t.ppf(1 - EACH / 2, 4) * np.sqrt((distances**2).mean()))
    assert [ranking.gap(place) for place in range(3)] == pytest.approx([0.02, 0.30, 0.30])
    assert [ranking.told_apart(place) for place in range(4)] == [False, True, True, None]
    assert ranking.tied_with_best == ("p-3", "p-2")
    assert ranking.first.noise == pytest.approx(np.sqrt(np.var(list(DRAWS.values()), axis=0, ddof=1).mean()))


def test_among_candidates_that_cannot_be_told_apart_the_test_rows_choose(results):
    assert advice(only(results)) == (
        "use prompt p-2; LabelCov cannot tell prompts p-3 and p-2 apart, and none of these has a better score on the "
        "test rows than p-2"
    )
    (results / "evaluation/performance.csv").unlink()
    assert advice(only(results)) == "use prompt p-3; LabelCov cannot tell prompts p-3 and p-2 apart"


def test_the_order_of_texts_alone_tells_nobody_apart(results, capsys):
    (ranking,) = rankings(results, ["stars"], "tupate-lora")
    bound = stats.t.ppf(1 - EACH / 2, 3) * np.sqrt(2) * 0.001
    assert ranking.first.bound("p-4", "p-3") == pytest.approx(bound) and bound < 0.01
    assert [ranking.told_apart(place) for place in range(3)] == [None] * 3 and ranking.tied_with_best == ("p-4",)
    (results / "evaluation/performance.csv").unlink()
    (ranking,) = rankings(results, ["stars"], "tupate-lora")
    assert advice(ranking) == (
        "use prompt p-4; by FUTE + TuPaTE by LoRA it is ahead of every other prompt by more than the order of the "
        "training texts can explain; if with other texts, too, is not known without null_draws"
    )
    print_rankings([ranking], "table", {})
    said = " ".join(capsys.readouterr().out.split())
    assert "moves a score by 0.0010 (standard deviation), so that alone may put two scores 0.0059 apart" in said
    rows = similar("tupate-lora", BY_LORA | {"p-3": 0.729})
    write(results, similarities=rows)
    assert only(results).told_apart(0) is False and only(results).tied_with_best == ("p-4", "p-3")


def test_a_best_prompt_that_stands_alone(results):
    write(results, similarities=similar("labelcov", BY_COVARIANCE | {"p-3": 0.9}))
    (results / "evaluation/performance.csv").unlink()
    assert advice(only(results)) == (
        "use prompt p-3; by LabelCov it is ahead of every other prompt by more than permuted labels can explain"
    )


@pytest.mark.parametrize(("accuracy", "said"), [(70.0, "which the test rows do not show"),
                                                (90.0, "and the test rows show it, too")])  # fmt: skip
def test_what_the_test_rows_say_of_a_best_prompt(results, accuracy, said):
    write(results, similarities=similar("labelcov", BY_COVARIANCE | {"p-3": 0.9}))
    write(results, performance=scored(ACCURACY | {"p-3": accuracy}))
    assert advice(only(results)).endswith(f"by more than permuted labels can explain, {said}")


def test_a_best_prompt_no_better_than_permuted_labels(results):
    best = np.max(list(DRAWS.values()), axis=0)
    ceiling = best.mean() + stats.t.ppf(1 - EACH, 3) * best.std(ddof=1) * np.sqrt(5 / 4)
    assert only(results).first.ceiling == pytest.approx(ceiling) and 0.09 < ceiling < 0.1
    scores = {"p-1": -0.1, "p-2": 0.09, "p-3": 0.08, "p-4": -0.3}
    write(results, similarities=similar("labelcov", scores))
    only_for_want = (
        "use prompt p-2 only for want of a better one: by LabelCov, its answers to U agree with the dataset no more "
        "than permuted ones do; LabelCov cannot tell prompts p-2, p-3 and p-1 apart, and none of these has a better "
        "score on the test rows than p-2"
    )
    assert advice(only(results)) == only_for_want
    write(results, similarities=similar("labelcov", scores | {"p-2": 0.1}))
    assert advice(only(results)).startswith("use prompt p-2; LabelCov cannot")
    write(results, similarities=similar("labelcov", scores))
    ranked = replace(only(results), majority=60.0)
    assert advice(ranked) == only_for_want + (
        "; no prompt is better on the test rows than always saying the most frequent class by more than chance can "
        "explain"
    )
    assert advice(replace(ranked, majority=30.0)).startswith("use prompt p-2; "), "the test rows say that it is better"


@pytest.mark.parametrize(("rows", "first", "is_lead"), [(50, 48.0, False), (50, 36.0, True), (20, 36.0, False)])
def test_the_test_rows_are_followed_only_where_their_lead_is_more_than_chance(results, rows, first, is_lead):
    write(results, similarities=similar("labelcov", BY_COVARIANCE | {"p-3": 0.9}))
    ranked = replace(only(results), rows=rows)
    ranked.quality["p-3"] = first
    follow = (
        f"use prompt p-2; on the {rows} test rows it is right on 70.0 % and p-3, the first by LabelCov, on {first} %, "
        "more than chance can explain"
    )
    assert (advice(ranked) == follow) == is_lead
    assert advice(ranked).startswith("use prompt p-2" if is_lead else "use prompt p-3")
    assert advice(replace(ranked, rows=0)).startswith("use prompt p-3"), "the number of rows is not known"


def answered(results: Path, gold: str, **said: str) -> None:
    """Test rows and what prompts say of them, a letter per row; `-`: no label."""
    for path, letters in (("data/stars/test", gold), *((f"labels/m/{p}/stars", text) for p, text in said.items())):
        key = "label" if path.startswith("data") else "prediction"
        rows = [{"id": n, key: None if letter == "-" else letter} for n, letter in enumerate(letters)]
        file = results / f"{path}.jsonl.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip_bytes(jsonl_bytes(rows)))


def test_answers_to_the_same_rows_are_compared_row_by_row(results):
    gold = "a" * 30 + "b" * 20
    said = {"p-1": "b" * 30 + "a" * 20, "p-2": gold, "p-3": gold[:43] + "a" * 7, "p-4": "-" + "a" * 49}
    answered(results, gold, **said)
    ranking = only(results)
    assert ranking.right.sum().to_dict() == {MAJORITY: 30, "p-1": 0, "p-2": 50, "p-3": 43, "p-4": 29}
    # McNemar's exact test, mid-p: seven rows on which p-2 alone is right
    assert replace(ranking, majority=60.0).p_ahead("p-2", MAJORITY) == pytest.approx(0.5**20 / 2)
    assert ranking.p_ahead("p-2", "p-3") == pytest.approx(0.5**7 / 2)
    assert ranking.p_ahead("p-3", "p-2") == pytest.approx(1 - 0.5**7 / 2)
    assert ranking.p_ahead("p-2", "p-2") == 0.5
    write(results, similarities=similar("labelcov", BY_COVARIANCE | {"p-3": 0.9}))
    assert advice(only(results)).startswith("use prompt p-2; on the 50 test rows it is right on")
    assert advice(replace(only(results), right=None)).startswith("use prompt p-3"), "70 % and 65 %, as if of others"
    answered(results, gold[1:])
    with pytest.raises(ValueError, match=r"p-1/stars.jsonl.gz: its rows are not those of .*; remove it, and run"):
        only(results)


def test_a_method_that_did_not_learn_takes_no_part(results, capsys):
    rows = similar("tupate-lora", BY_LORA, dte_learned="no") + similar("labelcov", BY_COVARIANCE)
    write(results, similarities=rows)
    ranking = only(results)
    assert list(ranking.methods) == ["labelcov"] and ranking.left_out == {"tupate-lora": "did not learn stars"}
    write(results, similarities=similar("tupate-lora", BY_LORA, dte_learned="no"))
    ranking = only(results)
    assert not ranking.methods and ranking.order == tuple(BY_LORA) and ranking.tied_with_best == ()
    assert advice(ranking).startswith(
        "no prompt can be recommended: FUTE + TuPaTE by LoRA did not learn stars; take more labelled rows"
    )
    print_rankings([ranking], "table", {})
    said = capsys.readouterr().out
    assert "Warning: FUTE + TuPaTE by LoRA takes no part: it did not learn stars.\n" in said
    assert "In the order of" not in said and "To next" not in said


def test_a_candidate_that_was_not_learned_has_no_rank_and_stands_last(results):
    rows = similar("labelcov", BY_COVARIANCE)
    rows[2] |= {"cosine": 0.0, "no_vector": "the output is the same for all texts"}
    write(results, similarities=rows)
    ranking = only(results)
    assert ranking.order == ("p-2", "p-1", "p-4", "p-3") and pd.isna(ranking.first.ranks["p-3"])
    assert ranking.gap(2) != ranking.gap(2) and ranking.told_apart(2) is None
    rows[0]["no_vector"] = rows[1]["no_vector"] = "the same"
    write(results, similarities=rows)
    assert only(results).left_out == {"labelcov": "has vectors to compare for 1 of 4 candidates"}
    assert "the method labelcov" not in advice(only(results)), "which is the one that has none"
    assert advice(replace(only(results), majority=40.0)).startswith(
        "use prompt p-2 by the test rows alone, of which it gets more right than always saying the most frequent class "
        "by more than chance can explain: LabelCov has vectors to compare for 1 of 4 candidates; take more labelled"
    )
    rows[0]["mte_learned"] = "no"
    write(results, similarities=rows)
    assert only(results).left_out == {"labelcov": "has vectors to compare for 1 of 4 candidates"}, (
        "no vector weighs more"
    )
    rows[0]["no_vector"] = ""
    write(results, similarities=rows)
    assert only(results).left_out == {"labelcov": "learned 1 of 4 candidates"}


def test_without_controls_nothing_is_called_apart(results):
    write(results, similarities=similar("labelcov", BY_COVARIANCE, draws=False), controls=[control("taskemb")])
    ranking = only(results)
    assert ranking.told_apart(0) is None and ranking.tied_with_best == ("p-3",)
    unknown = "how far chance moves the scores of LabelCov is not known, as the run has no null_draws"
    assert advice(ranking) == f"use prompt p-2; no prompt has a better score on the test rows; {unknown}"
    (results / "evaluation/performance.csv").unlink()
    assert advice(only(results)) == f"use prompt p-3; {unknown}"


def test_equal_candidates_and_single_ones(results, capsys):
    write(results, similarities=similar("labelcov", dict.fromkeys(("p-1", "p-2"), 0.5)))
    assert only(results).first.ranks.to_dict() == {"p-1": 1, "p-2": 1}
    write(results, performance=scored(ACCURACY | {"p-1": 68.0}))
    assert advice(only(results)).startswith("use prompt p-2; LabelCov cannot tell prompts p-1 and p-2 apart, and none")
    write(results, performance=scored(ACCURACY | {"p-1": 70.0}))
    assert advice(only(results)) == "nothing to choose by: prompts p-1 and p-2 score alike on these data"
    write(results, similarities=similar("labelcov", {"p-1": 0.5}))
    assert advice(only(results)) == "there is one prompt, p-1: name a second one to choose from"
    rank_run("stars", results, "table")
    assert "permuted labels" not in capsys.readouterr().out, "which move distances, and there is none"


def test_kendall_counts_pairs_that_both_rank():
    one = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0, "d": NAN})
    assert kendall(one, pd.Series({"a": 1.0, "b": 3.0, "c": 2.0, "d": 4.0})) == pytest.approx(1 / 3)
    assert pd.isna(kendall(one, pd.Series({"a": 1.0, "d": 2.0}))) and pd.isna(kendall(one, one * 0 + 1))


def test_scores_are_compared_with_the_most_frequent_class(results, capsys):
    folder = results / "data/stars"
    folder.mkdir(parents=True)
    (folder / "counts.json").write_text(json.dumps({"test": {"classes": {"1": 35, "2": 15}}}))
    assert only(results).majority == 70.0
    assert advice(only(results)) == (
        "use prompt p-2; LabelCov cannot tell prompts p-3 and p-2 apart, and none of these has a better score on the "
        "test rows than p-2; no prompt is better on the test rows than always saying the most frequent class by more "
        "than chance can explain"
    )
    rank_run("stars", results, "table")
    assert "The most frequent class alone has 70.0 %." in " ".join(capsys.readouterr().out.split())
    (folder / "counts.json").write_text(json.dumps({"test": {"classes": {"1": 21, "2": 21, "3": 8}}}))
    assert "most frequent" not in advice(only(results))


def test_tokens_are_read_from_the_labels_of_u(results):
    folder = results / "labels/m/p-2"
    folder.mkdir(parents=True)
    rows = [{"prompt_tokens": 30}, {"prompt_tokens": 40, "reasoning_tokens": 10}]
    (folder / "stars.jsonl.gz").write_bytes(gzip_bytes(jsonl_bytes(rows)))
    assert only(results).tokens.dropna().to_dict() == {"p-2": 40.0}
    (folder / "stars.jsonl.gz").write_bytes(gzip_bytes(jsonl_bytes([{"prompt_tokens": None}])))
    assert only(results).tokens.dropna().empty, "a server did not count"


def test_the_table_ends_in_what_to_do(results, capsys):
    rank_run("stars", results, "table")
    lines = " ".join(capsys.readouterr().out.split())
    assert lines.endswith("none of these has a better score on the test rows than p-2")
    assert "Prompts of m for stars" in lines and "~: chance can explain it" in lines
    assert "permuted labels move a score by 0.0431 (standard deviation)" in lines
    assert "two scores differ if they are over 0.1748 to 0.2730 apart" in lines
    assert (
        "On 50 test rows the best score, 70.0 %, is that of prompt p-2; Kendall's tau with the order is 0.67." in lines
    )
    assert "agree with Kendall's tau 0.00" in lines


def test_a_ranking_without_labels_on_test_rows_says_that_it_cannot_be_checked(results, capsys):
    (results / "evaluation/performance.csv").unlink()
    rank_run("stars", results, "table")
    assert "no scores on labelled test rows, so this order cannot be checked" in " ".join(
        capsys.readouterr().out.split()
    )


def test_json_has_the_values_of_the_table(results, capsys):
    rank_run("stars", results, "json")
    (value,) = json.loads(capsys.readouterr().out)
    assert value == as_json(only(results))
    assert value["candidates"][0] == {
        "place": 1, "candidate": "p-3", "labelcov_score": 0.42, "labelcov_rank": 1.0, "tupate-lora_score": 0.72,
        "tupate-lora_rank": 2.0, "gap": pytest.approx(0.02), "told_apart": False, "accuracy": 65.0,
        "tokens_per_text": None,
    }  # fmt: skip
    assert value["methods"]["labelcov"] == {
        "noise": pytest.approx(0.0431, abs=1e-4), "noise_of": "permuted labels",
        "permuted_labels_at_most": pytest.approx(0.0906, abs=1e-4),
    }  # fmt: skip
    assert value["cannot_be_told_from_best"] == ["p-3", "p-2"] and value["test_rows"] == 50


def test_json_is_ascii_so_that_no_terminal_spoils_it(results, capsys):
    print_rankings([replace(only(results), notes=("é 🙂",))], "json", {})
    text = capsys.readouterr().out
    assert text.isascii() and json.loads(text)[0]["notes"] == ["é 🙂"]


def test_csv_has_one_row_per_candidate(results, capsys):
    rank_run("stars", results, "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["candidate"] for row in rows] == ["p-3", "p-2", "p-1", "p-4"]
    assert (rows[0]["labelcov_score"], rows[0]["told_apart"], rows[3]["gap"]) == ("0.42", "False", "")


def lm_rows() -> list[dict]:
    own = {"a": 0.3, "b": 0.5, "c": 0.1}
    front = {"method": "labelcov", "target": "stars", "no_vector": "", "unknown_tokens": 0.0} | NO_GATE
    rows = [front | {"model": model, "source": "stars", "cosine": cosine} for model, cosine in own.items()]
    rows += [front | {"model": "a", "source": source, "cosine": c} for source, c in (("films", 0.2), ("news", 0.6))]
    return [*rows, front | {"model": "b", "source": "news", "cosine": 0.2}]


def test_models_of_the_target_and_sources_are_two_rankings(tmp_path):
    runs = [{"model": "a", "target": "stars", "source": source, "seed": seed, "score": score + seed}
            for source, score in (("films", 50.0), ("news", 60.0), ("none", 55.0)) for seed in (0, 1)]  # fmt: skip
    results = write(tmp_path, lm_similarities=lm_rows(), transfer=runs)
    folder = results / "finetuned/b"
    folder.mkdir(parents=True)
    (folder / "stars.score.json").write_text(json.dumps({"mean": 71.5, "metric": "matthews", "rows": 50}))
    models, sources = rankings(results, ["stars"])
    assert (models.kind, models.order, models.quality.dropna().to_dict()) == ("model", ("b", "a", "c"), {"b": 71.5})
    assert (sources.kind, sources.model, sources.order) == ("source", "a", ("news", "films"))
    assert sources.quality.to_dict() == {"films": 50.5, "news": 60.5} and sources.check == pytest.approx(1.0)
    assert (models.rows, pd.isna(models.majority)) == (0, True), "a score of another metric says nothing of rows"
    unknown = "how far chance moves the scores of LabelCov is not known, as only prompts have controls"
    assert advice(models) == f"use model b; no model has a better score on the test rows; {unknown}"
    assert advice(sources) == f"use source news; no source has a better score on the test rows; {unknown}"
    rows = [run | {"score": 61.0} if run["source"] == "none" else run for run in runs]
    write(tmp_path, transfer=rows)
    _, sources = rankings(results, ["stars"])
    worse = "no source gives a better score on the test rows than training without transfer"
    assert advice(sources).endswith(f"{unknown}; {worse}")


def test_boxes_that_were_made_for_a_planted_test_are_no_candidates(tmp_path):
    boxes = [{"test": "flips", "target": "stars", "model": model} for model in ("a", "b", "c")]
    results = write(tmp_path, lm_similarities=lm_rows(), planted_similarities=boxes)
    assert [ranking.kind for ranking in rankings(results, ["stars"])] == ["source"]
    for name in "ab":  # fine-tuned models that are also in the test
        (results / "finetuned" / name).mkdir(parents=True)
        (results / "finetuned" / name / "stars.score.json").write_text(json.dumps({"mean": 71.5}))
    assert rankings(results, ["stars"])[0].order == ("b", "a")


def test_an_unknown_dataset_names_those_that_there_are(results):
    with pytest.raises(NoResults, match=r"no similarities for dataset 'moons'; there are stars: run the workflow"):
        rankings(results, ["moons"])
    with pytest.raises(NoResults, match=r"similarities\.csv is missing; make it by running"):
        rankings(results / "elsewhere", ["stars"])
