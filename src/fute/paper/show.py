"""What a person sees of a finished run in the terminal: Table 3, verdicts, a ranking for one dataset."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from fute.names import METHOD_NAMES
from fute.paper.formats import print_table
from fute.paper.report import duration
from fute.paper.report_step import timings
from fute.paper.tables import table3_frame
from fute.paper.verdicts import verdict_sentences


class NoResults(FileNotFoundError):
    """Nothing to show: the run has not finished."""


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise NoResults(f"{path} is not there; run the workflow first (make demo, or snakemake --cores all)")
    return pd.read_csv(path)


def show(results: Path) -> None:
    """Print Table 3, what it says of the embedding methods, step times, and where the files are."""
    console = Console(width=None if Console().is_terminal else 120)
    table3 = _read(results / "evaluation" / "table3.csv")
    controls = _read(results / "evaluation" / "controls.csv")
    print_table(table3_frame(table3), console, title="Table 3: zero-shot prompt selection")
    for sentence in verdict_sentences(table3, controls):
        if sentence.split(":")[0] in METHOD_NAMES.values():
            console.print(f"- {sentence}", markup=False)
    times = timings(results / "benchmarks")
    if len(times):
        console.print("\nTime by step: " + ", ".join(f"{r.rule} {duration(r.seconds)}" for r in times.itertuples()))
    console.print("\nFiles:")
    for path, what in (
        ("paper/report.html", "everything on one page"),
        ("paper/tables", "Table 3 as CSV, Markdown, LaTeX"),
        ("paper/figures", "Figures 4 and A2"),
        ("evaluation", "similarities, selections, controls"),
    ):
        console.print(f"  {results / path}  ({what})", highlight=False, markup=False)


def rank(dataset: str, results: Path, method: str) -> None:
    """Print the prompts of every LLM ranked for one dataset by cosine(MTE, DTE), with margins.

    A margin is the distance to the next prompt; it is shown beside the spread between order seeds, because a
    cosine says nothing by itself.
    """
    similar = _read(results / "evaluation" / "similarities.csv")
    controls = _read(results / "evaluation" / "controls.csv")
    own = similar[(similar["dataset"] == dataset) & (similar["method"] == method)]
    if own.empty:
        known = ", ".join(sorted(set(similar["dataset"])))
        methods = ", ".join(sorted(set(similar["method"])))
        raise NoResults(f"no similarities for dataset {dataset!r} by {method!r}; there are {known}, by {methods}")
    console = Console()
    for model, rows in own.groupby("model", sort=False):
        rows = rows.sort_values("cosine", ascending=False, kind="stable").reset_index(drop=True)
        check = controls[
            (controls["dataset"] == dataset) & (controls["method"] == method) & (controls["model"] == model)
        ]
        table = Table(title=f"{model} on {dataset}, {METHOD_NAMES[method]}", title_justify="left")
        for name in ("Rank", "Prompt", "Cosine", "Margin"):
            table.add_column(name, justify="left" if name == "Prompt" else "right")
        margins = rows["cosine"].diff(-1)
        for position, row in rows.iterrows():
            margin = "" if pd.isna(margins[position]) else f"{margins[position]:.4f}"
            table.add_row(str(int(position) + 1), row["prompt"], f"{row['cosine']:.4f}", margin)
        console.print(table)
        if len(check) and pd.notna(check["sd_orders"].iloc[0]):
            console.print(
                f"Between order seeds the cosine varies by {check['sd_orders'].iloc[0]:.4f} (standard deviation): "
                f"{check['verdict'].iloc[0]}."
            )
