"""One HTML page that says what was run, what came out and how far it can be trusted.

The page needs no network and no script: images are data URIs, the style is inline. Here tables become
sections; how they look is in `page`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined

from fute.names import LEAST_SEPARATION, METHOD_NAMES
from fute.paper.cells import best_cells, require_columns, require_percent
from fute.paper.grids import Grid, list_grid, prompt_grid, table_grid
from fute.paper.page import TEMPLATE
from fute.paper.tables import (
    CATEGORIES,
    SUSPECT_NOTE,
    beside_paper,
    interval_frame,
    paper_models,
    table3_frame,
)
from fute.paper.verdicts import verdict_sentences

_BESIDE_LABELS = {
    "method": "Method",
    "ndcg": "NDCG",
    "ndcg_linear": "NDCG, linear gain",
    "random_ndcg": "NDCG at random",
    "ceiling_ndcg": "NDCG ceiling",
    "random_performance": "Performance at random",
    "spearman": "Spearman",
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
    "ceiling_ndcg": "NDCG ceiling",
    "spearman": "Spearman",
    "margin": "Margin",
    "n_rows": "Rows",
}
_CONTROL_LABELS = {
    "dataset": "Target",
    "sd_prompts": "SD, prompts",
    "sd_orders": "SD, orders",
    "ratio": "Ratio",
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
class ReportFigure:
    """A figure of the page: its PNG file and what to say of it; `alt` is read to those who cannot see it."""

    png: Path
    title: str
    caption: str
    alt: str

    @property
    def source(self) -> str:
        """The image as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png.read_bytes()).decode("ascii")


@dataclass(frozen=True)
class ReportContext:
    """Everything the page shows.

    table3, selection, performance, similarities, controls: the files of these names in results/evaluation;
    scores in percent, coverage and shares as fractions. similarities and controls may have no rows.
    printed: the paper's Table 3, from `tables.read_printed`. settings: what was run, name -> value.
    note: the line that a small run carries, else empty. timings: columns rule, jobs, seconds; may have no
    rows.
    files: path from the repository root -> what it holds.
    """

    title: str
    lede: str
    settings: Mapping[str, str]
    table3: pd.DataFrame
    table3_caption: str
    printed: pd.DataFrame
    selection: pd.DataFrame
    performance: pd.DataFrame
    similarities: pd.DataFrame
    controls: pd.DataFrame
    figures: Sequence[ReportFigure]
    timings: pd.DataFrame
    files: Mapping[str, str]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page; what is empty is not printed."""

    anchor: str
    title: str
    texts: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    tables: list[Grid] = field(default_factory=list)
    figures: Sequence[ReportFigure] = ()
    paths: bool = False


def duration(seconds: float) -> str:
    """`12.3 s`, `4 min 05 s` or `2 h 07 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Categories and methods by the names that are printed."""
    named = {"category": CATEGORIES, "method": METHOD_NAMES}
    return frame.assign(**{column: frame[column].replace(named[column]) for column in named if column in frame})


def _table3_section(context: ReportContext) -> Section:
    frame = table3_frame(context.table3)
    main = table_grid(frame, context.table3_caption, small=interval_frame(context.table3), strong=best_cells(frame))
    beside = list_grid(
        _named(context.table3.drop(columns=["ndcg_lo", "ndcg_hi"])),
        "What the scores can be held against, averaged over the datasets of the category.",
        name="method",
        groups=["category", "model", "datasets"],
        labels=_BESIDE_LABELS,
    )
    texts = [
        "Under each value stands its 95 % bootstrap interval over test rows. NDCG is high even for a random "
        "ranking when prompts perform alike, and even the true ranking stays under 100 when the test rows "
        "are few: read it between its value at random and its ceiling, which is the NDCG of the ranking by "
        "one half of the rows on the other half."
    ]
    return Section("table3", "Table 3: choosing a prompt", texts, tables=[main, beside])


def _paper_section(context: ReportContext) -> Section:
    beside = beside_paper(context.table3, context.printed)
    mapped = paper_models(context.table3["model"])
    texts = ["The paper's numbers stand as printed, for the eye only: nothing is subtracted."]
    if not mapped:
        texts.append("None of the models of this run is one of the paper's, so its columns answer another question.")
    return Section(
        "paper",
        "Beside the paper",
        texts,
        tables=[table_grid(beside, f"Table 3, ours and printed. {SUSPECT_NOTE}")],
    )


def _selection_section(context: ReportContext) -> Section:
    require_percent(context.selection, ["performance", "rate", "ndcg"], "selection")
    grid = list_grid(
        _named(context.selection),
        "The prompt each method selects, and how it does on the test rows.",
        name="method",
        groups=["category", "model", "dataset"],
        labels=_SELECTION_LABELS,
    )
    return Section("selection", "Selection per dataset", tables=[grid])


def _prompt_section(context: ReportContext) -> Section:
    frame = context.performance
    require_columns(frame, ["category", "model", "prompt", "dataset", "accuracy", "macro_f1"], "performance")
    require_percent(frame, ["accuracy", "macro_f1"], "performance")
    shares = {
        column: column.replace("_", " ", 1).capitalize() for column in frame.columns if column.startswith("share")
    }
    labels = {
        "prompt": "Prompt",
        "n": "Rows",
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
    for category, rows in _named(frame).groupby("category", sort=False):
        values = {"accuracy": "Accuracy", "macro_f1": "Macro-F1"}
        tables.append(prompt_grid(rows, f"{category}: accuracy and macro-F1 of every prompt, in percent.", values))
        caption = f"{category}: probability mass on the verbalizers, and share of rows given each class."
        tables.append(list_grid(rows, caption, name="prompt", groups=["model", "dataset"], labels=labels))
    return Section("prompts", "Performance of the prompts", tables=tables)


def _similarity_section(context: ReportContext) -> Section:
    if context.similarities.empty:
        return Section("similarities", "Similarities", ["This run computed no task embeddings."])
    texts = [
        "Cosine of the embedding of a model with a prompt and the embedding of a dataset. Centred: both less "
        "the start that all TuPaTE trainings share. Tensor mean: mean of the cosines of the single weight "
        "tensors. Bold: highest of its model, the prompt that is selected."
    ]
    keys = ["surrogate", "method", "category"]
    require_columns(context.similarities, [*keys, "dataset", "cosine"], "similarities")
    labels = {"cosine": "Cosine", "centred_cosine": "Centred", "tensor_mean_cosine": "Tensor mean"}
    tables = []
    for (surrogate, method, category), rows in _named(context.similarities).groupby(keys, sort=False):
        # Each method has its own second reading: TaskEmb no shared start, TuPaTE no single tensors.
        values = {name: label for name, label in labels.items() if name in rows and rows[name].notna().any()}
        tables.append(prompt_grid(rows, f"{category}: {method}, surrogate {surrogate}.", values))
    return Section("similarities", "Similarities", texts, tables=tables)


def _control_section(context: ReportContext) -> Section:
    title = "Controls"
    if context.controls.empty:
        missing = "No control was run, so no selection by embedding is shown to differ from noise."
        return Section("controls", title, [missing])
    text = (
        "The categories separate by their label words and input form alone, so clusters prove little. The "
        "ratio is the standard deviation of the cosine between prompts over that between order seeds; under "
        f"{LEAST_SEPARATION:g} the selection cannot be told from noise. Null: cosine after the labels of each "
        "prompt were permuted over the texts. A/B/C labels: rank correlation with the similarities when "
        "letters replace the class names. Norm: rank correlation of similarity and distance from the start."
    )
    grid = list_grid(
        _named(context.controls),
        "Controls per target.",
        name="dataset",
        groups=["method", "model"],
        labels=_CONTROL_LABELS,
    )
    return Section("controls", title, [text], tables=[grid])


def _time_section(timings: pd.DataFrame) -> Section:
    if timings.empty:
        return Section("times", "Times", ["No benchmark files were found for this run."])
    require_columns(timings, ["rule", "jobs", "seconds"], "timings")
    total = pd.DataFrame({"rule": ["all"], "jobs": [timings["jobs"].sum()], "seconds": [timings["seconds"].sum()]})
    lines = pd.concat([timings, total], ignore_index=True)
    lines = lines.assign(time=lines["seconds"].map(duration), each=(lines["seconds"] / lines["jobs"]).map(duration))
    labels = {"rule": "Rule", "jobs": "Jobs", "time": "All jobs", "each": "One job"}
    grid = list_grid(
        lines,
        "Wall time by rule; jobs may have run side by side.",
        name="rule",
        groups=[],
        labels=labels,
    )
    return Section("times", "Times", tables=[grid])


def render_report(context: ReportContext) -> str:
    """The page as text. Names from data are escaped. Raises ValueError for tables that lack columns."""
    sections = [
        Section("run", "What was run", pairs=list(context.settings.items())),
        _table3_section(context),
        Section("reading", "What Table 3 shows", sentences=verdict_sentences(context.table3, context.controls)),
        _paper_section(context),
        _selection_section(context),
        _prompt_section(context),
        _similarity_section(context),
        _control_section(context),
        Section("figures", "Figures", figures=context.figures),
        _time_section(context.timings),
        Section("files", "Files", pairs=list(context.files.items()), paths=True),
    ]
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE)
    return page.render(title=context.title, lede=context.lede, note=context.note, sections=sections)
