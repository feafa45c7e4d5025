"""Sections of the LLM experiment: Table 3, selections, prompts, similarities, controls, Figures 4 and A2, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from fute.display_names import LEVEL, METHOD_NAMES
from fute.paper.cells import best_cells
from fute.paper.figures import coloured
from fute.paper.grids import list_grid, prompt_grid, table_grid
from fute.paper.interactive_map import Map
from fute.paper.report_costs import cost_section
from fute.paper.report_maps import llm_maps
from fute.paper.report_parts import ReportFigure, Section, named
from fute.paper.similarity_warnings import similarity_warnings
from fute.paper.table3 import SUSPECT_NOTE, beside_paper, interval_frame, paper_models, table3_frame
from fute.paper.verdicts import MOST_NAMED, verdict_sentences
from fute.wording import listed

LOW_COVERAGE = 0.2
"""Mean probability of the classes' words under which a prompt is named: its labels are read from the little left."""

_BESIDE_LABELS = {
    "method": "Method",
    "ndcg": "NDCG",
    "ndcg_linear": "NDCG, linear gain",
    "random_ndcg": "NDCG at random",
    "true_order_ndcg": "NDCG, estimated true order",
    "reliability": "Reliability",
    "ndcg_p": "NDCG, p",
    "performance_p": "Performance, p",
    "random_performance": "Performance at random",
    "spearman": "Spearman",
    "spearman_p": "Spearman, p",
    "margin": "Margin",
}
_SELECTION_LABELS = {
    "method": "Method",
    "selected": "Prompt",
    "performance": "Performance",
    "rate": "Rate",
    "ndcg": "NDCG",
    "accuracy": "Accuracy",
    "macro_f1": "Macro-F1",
    "true_order_ndcg": "NDCG, estimated true order",
    "ndcg_p": "NDCG, p",
    "performance_p": "Performance, p",
    "spearman": "Spearman",
    "spearman_p": "Spearman, p",
    "margin": "Margin",
    "n_rows": "Rows",
}
_CONTROL_LABELS = {
    "dataset": "Target",
    "sd_prompts": "SD, prompts",
    "sd_order_noise": "SD, order noise",
    "order_f": "F",
    "order_p": "p",
    "verdict": "Verdict",
    "null_mean": "Null, mean",
    "null_max": "Null, highest",
    "null_sd_prompts": "Null, SD prompts",
    "share_above_null": "Share above null",
    "null_spearman": "Null, Spearman",
    "abc_spearman": "A/B/C labels, Spearman",
    "norm_spearman": "Norm, Spearman",
}


@dataclass(frozen=True)
class LlmResults:
    """Results of the LLM experiment for the page.

    table3, selection, performance, similarities, controls: the files of these names in results/evaluation; scores in
    percent, coverage and shares as fractions. similarities and controls may have no rows. printed: the paper's
    Table 3, as for `table3.printed_frame`. titles: category -> its name, in the order of tables. coordinates: the
    file of this name there. colours: category -> its colour, None for the next that is free. prompts: id -> template.
    costs: title -> table, from `efficiency.as_pages`.
    """

    table3: pd.DataFrame
    table3_caption: str
    printed: pd.DataFrame
    selection: pd.DataFrame
    performance: pd.DataFrame
    similarities: pd.DataFrame
    controls: pd.DataFrame
    costs: Mapping[str, pd.DataFrame]
    figures: Sequence[ReportFigure]
    titles: Mapping[str, str]
    coordinates: pd.DataFrame = field(default_factory=pd.DataFrame)
    colours: Mapping[str, str | None] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)

    def maps(self) -> list[Map]:
        """Maps of the prompts; none without coordinates."""
        if self.coordinates.empty:
            return []
        looks = coloured({name: (title, self.colours.get(name)) for name, title in self.titles.items()})
        tables = self.coordinates, self.similarities, self.performance
        return list(llm_maps(*tables, prompts=self.prompts, categories=looks))


def llm_sections(results: LlmResults) -> list[Section]:
    """Sections of the experiment, in order."""
    return [
        _table3_section(results),
        Section(
            "reading",
            "What Table 3 shows",
            sentences=verdict_sentences(results.table3, results.controls, results.titles),
        ),
        *_paper_section(results),
        _selection_section(results),
        _prompt_section(results),
        _similarity_section(results),
        _control_section(results),
        Section("figures", "Figures 4 and A2", figures=results.figures),
        cost_section("efficiency", "What embeddings and prompts cost", results.costs),
    ]


def _table3_section(results: LlmResults) -> Section:
    frame = table3_frame(results.table3, results.titles)
    intervals = interval_frame(results.table3, results.titles)
    main = table_grid(frame, results.table3_caption, small=intervals, strong=best_cells(frame))
    beside = list_grid(
        named(results.table3.drop(columns=["ndcg_lo", "ndcg_hi"]), results.titles),
        "What the scores can be held against, averaged over the datasets of the category.",
        name="method",
        groups=["category", "model", "datasets"],
        labels=_BESIDE_LABELS,
    )
    texts = [
        "Under each value stands its 95 % bootstrap interval over test rows. It says how well the value is known for "
        "these prompts, not if it is better than chance. NDCG is high even for a random ranking when prompts perform "
        "alike, and even the true ranking stays under 100 when the test rows are few: read it between its value at "
        "random and the value that the true order of the prompts is estimated to reach. Reliability is the share of "
        "the differences between prompts that is not sampling noise. A p-value is the chance that prompts permuted at "
        "random, in the same way on all datasets, do at least as well; several methods are not corrected for."
    ]
    return Section("table3", "Table 3: choosing a prompt", texts, tables=[main, beside])


def _paper_section(results: LlmResults) -> list[Section]:
    """The section beside the paper's numbers; none for a run of categories that the paper does not have."""
    if not {name.upper() for name in results.titles} & set(results.printed["category"]):
        return []
    beside = beside_paper(results.table3, results.printed, results.titles)
    mapped = paper_models(results.table3["model"])
    texts = ["The paper's numbers stand as printed, for the eye only: nothing is subtracted."]
    if not mapped:
        texts.append("None of the models of this run is one of the paper's, so its columns answer another question.")
    grid = table_grid(beside, f"Table 3, ours and printed. {SUSPECT_NOTE}")
    return [Section("paper", "Beside the paper", texts, tables=[grid])]


def _selection_section(results: LlmResults) -> Section:
    grid = list_grid(
        named(results.selection, results.titles),
        "The prompt each method selects, and how it does on the test rows.",
        name="method",
        groups=["category", "model", "dataset"],
        labels=_SELECTION_LABELS,
    )
    return Section("selection", "Selection per dataset", tables=[grid])


def _prompt_section(results: LlmResults) -> Section:
    frame = results.performance
    shares = {
        column: column.replace("_", " ", 1).capitalize() for column in frame.columns if column.startswith("share")
    }
    labels = {
        "prompt": "Prompt",
        "n": "Rows",
        "unlabelled": "Rows without a label",
        "bounded": "Rows with an unseen class",
        "cut": "Rows with a cut text",
        "coverage": "Coverage",
        "top_is_verbalizer": "Top token is a verbalizer",
        "uncalibrated_accuracy": "Accuracy, uncalibrated",
        "perplexity": "Perplexity",
        "reasoning_truncated": "Reasoning cut off",
        "reasoning_empty": "Reasoning empty",
        "reasoning_one_token": "Reasoning of one token",
        **shares,
    }
    tables = []
    for category, rows in named(frame, results.titles).groupby("category", sort=False):
        values = {"accuracy": "Accuracy", "macro_f1": "Macro-F1"}
        tables.append(prompt_grid(rows, f"{category}: accuracy and macro-F1 of every prompt, in percent.", values))
        caption = f"{category}: probability mass on the verbalizers, and share of rows given each class."
        tables.append(list_grid(rows, caption, name="prompt", groups=["model", "dataset"], labels=labels))
    return Section("prompts", "Performance of the prompts", _coverage_warnings(frame), tables=tables)


def _coverage_warnings(performance: pd.DataFrame) -> list[str]:
    """One sentence for each LLM under some of whose prompts the words of the classes have little probability."""
    low = performance[performance["coverage"] < LOW_COVERAGE]
    return [
        f"Coverage of {model} is under {LOW_COVERAGE:g} with {listed(prompts.unique().tolist(), MOST_NAMED)}: it would "
        "seldom answer with a word of a class, and its labels are the likeliest of unlikely words. Words that it does "
        "write (verbalizers) would tell more."
        for model, prompts in low.astype({"prompt": str}).groupby("model", sort=False)["prompt"]
    ]


def _similarity_section(results: LlmResults) -> Section:
    if results.similarities.empty:
        return Section("similarities", "Similarities", ["This run computed no task embeddings."])
    texts = [
        "Cosine of the embedding of a model with a prompt and the embedding of a dataset. Centred: both less "
        "the start that all TuPaTE trainings share. On candidates, on nulls: both less the mean of the vectors of "
        "all prompts, or of prompts whose labels were permuted. Tensor mean: mean of the cosines of the single weight "
        "tensors. task2vec: every entry counts alike. Largest entry: the share of TaskEmb's cosine that one entry "
        "carries; near 1, the cosine compares two numbers. Bold: highest of its model; the first of these is selected."
    ]
    keys = ["surrogate", "method", "category"]
    texts += similarity_warnings(results.similarities, "dataset")
    labels = {"cosine": "Cosine", "largest_entry": "Largest entry", "centred_cosine": "Centred",
              "candidates_cosine": "On candidates", "nulls_cosine": "On nulls", "tensor_mean_cosine": "Tensor mean",
              "task2vec_cosine": "task2vec"}  # fmt: skip
    tables = []
    for (surrogate, method, category), rows in named(results.similarities, results.titles).groupby(keys, sort=False):
        # Methods have different further cosines: TaskEmb has no shared start, TuPaTE no single tensors.
        values = {name: label for name, label in labels.items() if name in rows and rows[name].notna().any()}
        made_with = "encoder" if method == METHOD_NAMES["labelcov"] else "surrogate"
        tables.append(prompt_grid(rows, f"{category}: {method}, {made_with} {surrogate}.", values))
    return Section("similarities", "Similarities", texts, tables=tables)


def _control_section(results: LlmResults) -> Section:
    title = "Controls"
    found = results.controls.reindex(columns=[name for name in _CONTROL_LABELS if name != "dataset"])
    if not (found.notna() & (found != "")).any(axis=None):
        missing = "No control was run, so no selection by embedding is shown to differ from noise."
        return Section("controls", title, [missing])
    text = (
        "The categories separate by their label words and input form alone, so clusters prove little. Order noise "
        "is what the order of the training texts adds to single prompts, after what it adds to all of them. F compares "
        f"prompts with it; if p is over {LEVEL:g}, prompts cannot be told from noise. Null: cosine after the labels "
        "of each prompt were permuted over the texts. A/B/C labels: rank correlation with the similarities when "
        "letters replace the class names, in the prompts' vectors and the dataset's. Norm: rank correlation of "
        "similarity and distance from the start."
    )
    grid = list_grid(
        named(results.controls, results.titles),
        "Controls per target.",
        name="dataset",
        groups=["method", "model"],
        labels=_CONTROL_LABELS,
    )
    return Section("controls", title, [text], tables=[grid])
