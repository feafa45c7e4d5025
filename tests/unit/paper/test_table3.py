"""Table 3: layout, writers, the paper's printed numbers beside it, and the sentences on it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from support.categories import TITLES

from fute.csv_files import read_texts
from fute.paper.cells import MISSING, REFERENCE_ROWS, best_cells
from fute.paper.formats import escape_latex, print_table, to_csv, to_latex, to_markdown
from fute.paper.table3 import (
    METHODS,
    beside_paper,
    interval_frame,
    p_value_frame,
    paper_models,
    table3_frame,
)
from fute.paper.verdicts import verdict_sentences

PRINTED = Path(__file__).parents[3] / "resources/paper/table3.csv"
REFERENCES = REFERENCE_ROWS[:3]
TESTS = [f"{metric}{end}" for metric in ("ndcg", "performance") for end in ("_p", "_p_worse")]


@pytest.fixture
def printed() -> pd.DataFrame:
    return read_texts(PRINTED)


def ours(models=("m-a",), methods=METHODS + REFERENCES, categories=("nli", "sa")) -> pd.DataFrame:
    """Made-up rows, last first: performance counts the rows, so that every cell differs."""
    keys = [(c, m, t) for c in categories for m in models for t in methods][::-1]
    frame = pd.DataFrame(keys, columns=["category", "model", "method"])
    frame["performance"] = [30.0 + i / 4 for i in range(len(frame))]
    frame["rate"], frame["ndcg"] = frame["performance"] + 20, frame["performance"] + 40
    for metric in ("performance", "rate", "ndcg"):
        frame[f"{metric}_lo"], frame[f"{metric}_hi"] = frame[metric] - 1, frame[metric] + 1
    return frame.assign(**dict.fromkeys(TESTS, 0.5))


def paper_as_ours(printed: pd.DataFrame) -> pd.DataFrame:
    """The printed table in the long form of ours."""
    rows = [
        {"category": row["category"].lower(), "model": model, "method": row["method"]}
        | {metric: float(row[f"{model}_{metric}"]) for metric in ("performance", "rate", "ndcg")}
        for _, row in printed.iterrows()
        for model in ("mixtral_8x7b", "llama2_70b", "llama2_13b")
    ]
    return pd.DataFrame(rows)


def test_layout_is_the_papers(printed):
    frame = table3_frame(paper_as_ours(printed), TITLES)
    assert list(frame.index) == list(zip(printed["category"], printed["method"], strict=True))
    assert list(frame.columns) == [
        (model, metric)
        for model in ("llama2_13b", "llama2_70b", "mixtral_8x7b")
        for metric in ("Performance", "Rate", "NDCG")
    ]
    expected = printed.drop(columns="suspect_cells").to_csv(index=False, lineterminator="\n")
    assert to_csv(frame) == expected


def test_variants_and_references_follow_the_papers_rows():
    methods = ("Random", "FUTE + TuPaTE (centred)", "Oracle", "MI", "LocalE (uncalibrated)", "SPELL")
    frame = table3_frame(ours(methods=methods, categories=("sa",)), TITLES)
    assert [method for _, method in frame.index] == [
        "MI",
        "SPELL",
        "LocalE (uncalibrated)",
        "FUTE + TuPaTE (centred)",
        "Oracle",
        "Random",
    ]


def test_paper_models_come_first_then_ours_as_they_come():
    frame = table3_frame(ours(models=("z-model", "mixtral-8x7b", "a-model", "llama-2-13b-chat")), TITLES)
    # rows of the made-up table stand last first
    models = ["llama-2-13b-chat", "mixtral-8x7b", "a-model", "z-model"]
    assert list(dict.fromkeys(frame.columns.get_level_values("model"))) == models


def test_values_and_intervals_fall_in_their_cells():
    frame, intervals = table3_frame(ours(), TITLES), interval_frame(ours(), TITLES)
    for row in ours().itertuples():
        cell = (row.category.upper(), row.method)
        assert frame.loc[cell, ("m-a", "Rate")] == row.rate
        assert intervals.loc[cell, ("m-a", "NDCG")] == f"{row.ndcg - 1:.1f}–{row.ndcg + 1:.1f}"


def test_missing_cells_and_intervals_are_dashes():
    rows = ours(models=("m-a", "m-b")).query("not (model == 'm-b' and method == 'MI')").copy()
    rows.loc[rows["method"] == "SPELL", "rate_hi"] = float("nan")
    assert interval_frame(rows, TITLES).loc[("SA", "SPELL"), ("m-a", "Rate")] == MISSING
    text = to_markdown(table3_frame(rows, TITLES), title="T", caption="C")
    assert re.search(r"\| SA \| MI \| – \| – \| – \|( [\d.*]+ \|){3}\n", text)
    assert to_csv(table3_frame(rows, TITLES)).splitlines()[1].startswith("SA,MI,,,,")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(category="qa"), "unknown category qa"),
        (lambda f: f.replace({"method": {"MI": "Magic"}}), "unknown method 'Magic'"),
    ],
)
def test_wrong_input_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        table3_frame(change(ours()), TITLES)


def test_best_cells_ignore_references_and_join_values_that_print_alike():
    frame = ours(categories=("sa",), methods=("MI", "SPELL", "GlobalE", "Oracle"))
    frame = frame.set_index("method").loc[["MI", "SPELL", "GlobalE", "Oracle"]].reset_index()
    frame["performance"] = [61.04, 61.02, 60.0, 90.0]
    best = best_cells(table3_frame(frame, TITLES))["m-a", "Performance"].droplevel("category")
    assert best.to_dict() == {"MI": True, "GlobalE": False, "SPELL": True, "Oracle": False}


def test_a_zero_has_no_minus():
    index = pd.MultiIndex.from_tuples([("m", "MI")], names=["model", "method"])
    columns = pd.MultiIndex.from_tuples([("sst2", "NDCG"), ("cb", "NDCG")], names=["model", "metric"])
    frame = pd.DataFrame([[-0.04, -0.06]], index=index, columns=columns)
    assert to_csv(frame).splitlines()[1] == "m,MI,0.0,-0.1"
    assert to_markdown(frame, title="T", caption="C").count("| **0.0** | **-0.1** |") == 1


def test_markdown_is_a_regular_grid_with_note_and_intervals():
    text = to_markdown(
        table3_frame(ours(), TITLES),
        title="Table 3",
        caption="A caption.",
        more={"95 % intervals": interval_frame(ours(), TITLES)},
        note="Small run.",
    )
    assert text.index("**Small run.**") < text.index("| SA |")
    assert "## 95 % intervals" in text
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert widths == {6}
    assert text.count("**") == 2 * (1 + 6)  # the note, and one best cell in each of three columns and two categories


def test_markdown_keeps_words_of_ones_own_in_their_cell_and_their_line():
    titles = {"sa": "Films\n| [x](http://y) <b>", "nli": "NLI"}
    text = to_markdown(table3_frame(ours(), titles), title="T", caption="On *Films*\n", note="Small\n\nrun.\n")
    assert "**Small run.**" in text and "On \\*Films\\*" in text
    assert r"| Films \| \[x\](http://y) \<b\> |" in text
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert widths == {6}


def test_latex_is_balanced_escaped_and_regular():
    frame = table3_frame(ours(models=("a_b & 50%", "m-b")), TITLES)
    text = to_latex(frame, caption="Rates in % of #1 & more", label="tab:3", note="Small_run")
    assert r"\multicolumn{3}{c}{a\_b \& 50\%}" in text
    assert r"\caption{Rates in \% of \#1 \& more \textbf{Small\_run}}" in text
    unescaped = re.sub(r"\\[\\&%#_{}$]", "", text.replace(r"\\", ""))
    assert not re.search(r"[%#_$]", unescaped)
    depth = 0
    for character in unescaped:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert re.findall(r"\\begin\{(\w+\*?)\}", text) == re.findall(r"\\end\{(\w+\*?)\}", text)[::-1]
    body = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {6}
    assert len(body) == 1 + 2 * 13
    assert text.count(r"\textbf{") == 1 + 12
    assert r"\begin{tabular}{lrrrrrr}" in text
    assert r"\cmidrule(lr){2-4} \cmidrule(lr){5-7}" in text


def test_latex_escapes_every_special_character():
    assert escape_latex(r"\{}~^$") == r"\textbackslash{}\{\}\textasciitilde{}\textasciicircum{}\$"
    assert escape_latex("a\n\nb\n") == "a b", "an empty line ends a cell or caption"


def test_terminal_table_prints_every_row():
    console = Console(file=io.StringIO(), width=100)
    print_table(table3_frame(ours(models=("m[a]",)), TITLES), console, title="Table 3 [not evidence]")
    text = console.file.getvalue()
    assert "Table 3 [not evidence]" in text and "m[a]" in text
    for method in METHODS + REFERENCES:
        assert sum(line.strip().startswith(method + " ") for line in text.splitlines()) == 2


def test_printed_resource_holds_the_papers_cells(printed):
    cells = printed.set_index(["category", "method"])
    first = cells.loc[("SA", "MI"), ["llama2_13b_performance", "llama2_13b_rate", "llama2_13b_ndcg"]]
    assert list(first) == ["88.0", "94.4", "59.0"]
    assert cells.loc[("NLI", "FUTE + TuPaTE"), "llama2_70b_ndcg"] == "81.8"
    assert cells.loc[("SA", "MI"), "mixtral_8x7b_rate"] == "85.1"
    assert list(printed["method"]) == list(METHODS) * 2


def test_suspect_cells_are_those_whose_ratio_cannot_be(printed):
    """Performance over rate is the mean best performance: about the same in every row of a block."""
    suspects = set()
    for category, block in printed.groupby("category"):
        for model in ("llama2_13b", "llama2_70b", "mixtral_8x7b"):
            implied = 100 * block[f"{model}_performance"].astype(float) / block[f"{model}_rate"].astype(float)
            off = (implied - implied.median()).abs() > 3
            suspects |= {(category, method, model) for method in block.loc[off, "method"]}
    marked = {
        (row["category"], row["method"], cell.rsplit("_", 1)[0])
        for _, row in printed.iterrows()
        for cell in filter(None, row["suspect_cells"].split("|"))
    }
    assert marked == suspects


def test_known_models_stand_beside_their_printed_column(printed):
    table = beside_paper(ours(models=("llama-2-70b-chat", "own")), printed, TITLES)
    assert list(dict.fromkeys(table.columns.get_level_values("model"))) == [
        "llama-2-70b-chat (ours)",
        "Llama-2 70B (paper)",
        "own (ours)",
        "Llama-2 13B (paper)",
        "Mixtral 8x7B (paper)",
    ]
    assert list(table.loc[("SA", "LocalE"), "Llama-2 70B (paper)"]) == ["88.3†", "88.7†", "57.5"]
    assert list(table.loc[("SA", "Oracle"), "Llama-2 70B (paper)"]) == [MISSING] * 3
    assert (table["own (ours)"] != MISSING).all(axis=None)
    assert table.map(lambda cell: cell.endswith("†")).to_numpy().sum() == 4


def test_the_papers_numbers_stand_beside_a_category_of_another_title():
    printed = read_texts(PRINTED)
    named = beside_paper(ours(categories=("sa",)), printed, {"sa": "Sentiment"})
    plain = beside_paper(ours(categories=("sa",)), printed, {"sa": "SA"})
    assert named.loc["Sentiment"].equals(plain.loc["SA"])
    assert named.loc[("Sentiment", "MI"), ("Llama-2 13B (paper)", "Performance")] == "88.0"


def test_models_map_one_to_one_or_not_at_all():
    assert paper_models(["meta-llama/Llama-2-13b-chat-hf", "mixtral-8x7b-instruct-v0.1", "smollm2-135m"]) == {
        "meta-llama/Llama-2-13b-chat-hf": "llama2_13b",
        "mixtral-8x7b-instruct-v0.1": "mixtral_8x7b",
    }
    assert paper_models(["llama-2-13b", "llama-2-13b-chat"]) == {}


def test_p_values_are_of_methods_choices_and_rankings():
    rows = ours(methods=("MI", "FUTE + TuPaTE", "Random"), categories=("sa",))
    rows["ndcg_p"], rows["performance_p"] = [0.0004, 0.0123, float("nan")], [1.0, float("nan"), 0.5]
    rows["spearman_p"] = [0.9, 0.04, 0.25]
    frame = p_value_frame(rows, TITLES)  # rows come last first: Random, FUTE + TuPaTE, MI
    assert list(frame.columns) == [("m-a", "Performance"), ("m-a", "Spearman"), ("m-a", "NDCG")]
    assert frame.loc[("SA", "MI")].tolist() == ["0.500", "0.250", MISSING]
    assert frame.loc[("SA", "FUTE + TuPaTE")].tolist() == [MISSING, "0.040", "0.012"] and len(frame) == 2


def verdict_rows(**values: list[float]) -> pd.DataFrame:
    """Two blocks of one method, with the p-values of its tests against random rankings."""
    rows = ours(models=("m-a",), methods=("FUTE + TuPaTE",))
    rows = rows.sort_values("category", ascending=False, ignore_index=True)
    return rows.assign(**values)


def controls(*p: float) -> pd.DataFrame:
    names = ("sst2", "cb", "anli")[: len(p)]
    said = ["said" if value == value else "" for value in p]
    return pd.DataFrame({"method": "tupate", "model": "m-a", "dataset": names, "order_p": p, "verdict": said})


def test_verdict_counts_p_values_up_to_the_level():
    rows = verdict_rows(
        ndcg_p=[0.05, 0.99], ndcg_p_worse=[0.96, 0.01], performance_p=[0.06, 0.5], performance_p_worse=[0.95, 0.9],
        ndcg_minus_random_lo=-1.0, performance_minus_random_lo=3.0, performance_minus_random_hi=9.0,
    )  # fmt: skip
    (sentence,) = verdict_sentences(rows, controls(0.05, 0.0004), TITLES)
    assert sentence == (
        "FUTE + TuPaTE: NDCG beats random rankings in 1 of 2 blocks (SA m-a) and loses to random rankings "
        "in 1 of 2 blocks (NLI m-a); performance cannot be told from random rankings in any of 2 blocks. "
        "Prompts can be told from the noise of order seeds on all 2 targets (largest p 0.050)."
    )


def test_verdict_names_targets_within_noise():
    rows = verdict_rows(**dict.fromkeys(TESTS, float("nan")))
    (sentence,) = verdict_sentences(rows, controls(0.06, 0.001, 0.5), TITLES)
    assert sentence == (
        "FUTE + TuPaTE: NDCG has no test against random rankings; performance has no test against random rankings. "
        "Prompts cannot be told from the noise of order seeds on 2 of 3 targets: "
        "p is over 0.05 for m-a on sst2 (0.060) and anli (0.500)."
    )


@pytest.mark.parametrize("empty", [pd.DataFrame(), controls(float("nan")), controls(1.0).assign(method="taskemb")])
def test_verdict_without_controls_claims_nothing(empty):
    (sentence,) = verdict_sentences(verdict_rows(), empty, TITLES)
    assert sentence.endswith("No control over order seeds was run, so the selection is not shown to differ from noise.")


def test_labelcov_which_has_no_order_is_not_compared_with_the_noise_of_one():
    rows = ours(methods=("LabelCov", "LabelCov (centred on candidates)"))
    for sentence in verdict_sentences(rows, controls(float("nan")).assign(method="labelcov"), TITLES):
        assert sentence.startswith("LabelCov") and "order seeds" not in sentence


def test_verdict_of_one_target_and_of_prompts_that_are_all_alike():
    (sentence,) = verdict_sentences(verdict_rows(), controls(0.05), TITLES)
    assert sentence.endswith(" Prompts can be told from the noise of order seeds on 1 target (p 0.050).")
    alike = controls(0.05, float("nan")).assign(verdict=["said", "all prompts have the same similarities"])
    (sentence,) = verdict_sentences(verdict_rows(), alike, TITLES)
    assert sentence.endswith(
        " on 1 target (p 0.050). All prompts have the same similarity for m-a on cb, so there is nothing to select by."
    )
    (sentence,) = verdict_sentences(verdict_rows(), alike[1:], TITLES)
    assert "No control" not in sentence and "order seeds" not in sentence


def test_references_get_no_verdict_and_baselines_no_control():
    sentences = verdict_sentences(ours(), controls(1.0), TITLES)
    assert [sentence.partition(":")[0] for sentence in sentences] == list(METHODS)[::-1]
    variant = ours(methods=("FUTE + TuPaTE (centred)",))
    assert "No control over order seeds" in verdict_sentences(variant, controls(9.0), TITLES)[0]
    assert [("order seeds" in sentence) for sentence in sentences[::-1]] == [False] * 8 + [True] * 2
