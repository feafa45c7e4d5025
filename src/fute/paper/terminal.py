"""Show a finished run in the terminal: its tables and verdicts."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from rich.console import Console
from rich.table import Table

from fute.artifacts import sidecar_path
from fute.csv_files import TableError, read_table
from fute.display_names import METHOD_NAMES, duration
from fute.paper import table3
from fute.paper.formats import print_table
from fute.paper.learning import COLUMNS, learning_warnings
from fute.paper.planted import COLUMNS as PLANTED_COLUMNS
from fute.paper.planted import planted_cells
from fute.paper.report_step import timings
from fute.paper.transfer_tables import LAYOUTS, METRICS, transfer_frame
from fute.paper.transfer_verdicts import direct_sentences, transfer_sentences
from fute.paper.verdicts import LABELS, verdict_sentences

T = TypeVar("T")


class NoResults(FileNotFoundError):
    """The run has no results to show, because it has not finished."""


def read_evaluation(path: Path, *columns: str) -> pd.DataFrame:
    """A file of the evaluation, with at least these columns. Raises NoResults, with what to do."""
    again = (
        f"make it by running the workflow (make demo, or snakemake --cores all), or alone: snakemake --cores 1 {path}"
    )
    if not path.is_file():
        raise NoResults(f"{path} is missing; {again}")
    try:
        frame = read_table(path)
    except TableError as error:
        raise NoResults(f"{path} cannot be read ({error}); remove it, and {again}") from None
    if missing := [name for name in columns if name not in frame]:
        raise NoResults(f"{path} has no column {missing[0]!r}; remove it, and {again}")
    return frame


def read_result(path: Path, read: Callable[[Path], T]) -> T:
    """A file of results by one of its readers. Raises ValueError, which says what to do."""
    try:
        return read(path)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); remove it, and run the workflow again") from None


def read_json(path: Path) -> Any:
    """The value of a JSON file of results. Raises ValueError."""
    return read_result(path, lambda file: json.loads(file.read_bytes()))


def show(results: Path) -> None:
    """Print those of Tables 1 to 3 that the run has, sentences on the embedding methods, times, and paths of files."""
    console = Console(width=None if Console().is_terminal else 120, markup=False, emoji=False)
    evaluation = results / "evaluation"
    tables = [name for name in ("table1", "table3") if (evaluation / f"{name}.csv").is_file()]
    planted = evaluation / "planted.csv"
    if not tables and not planted.is_file():
        raise NoResults(
            f"{evaluation}: neither table1.csv nor table3.csv exists; run the workflow first (make demo, or snakemake "
            "--cores all), or name the folder of a run's results by --results; those of `fute run` are in the project's"
        )
    for name, target in (("lm_similarities", "target"), ("similarities", "dataset")):
        if (evaluation / f"{name}.csv").is_file():
            similar = read_evaluation(evaluation / f"{name}.csv", "method", "model", target, *COLUMNS)
            for warning in learning_warnings(similar, target):
                console.print(f"Warning: {warning}", style="yellow")
    if planted.is_file():
        similar = read_evaluation(evaluation / "planted_similarities.csv", "method", "target", *COLUMNS)
        _show_planted(read_evaluation(planted), similar, console)
    if "table1" in tables:
        _show_transfer(evaluation, console)
    if "table3" in tables:
        _show_prompts(results, console)
    times = timings(results / "benchmarks")
    if len(times):
        console.print("\nTime by step: " + ", ".join(f"{r.rule} {duration(r.seconds)}" for r in times.itertuples()))
    console.print("\nFiles:")
    for path, what in (
        ("paper/report.html", "everything on one page"),
        ("paper/tables", "the tables as CSV, Markdown, LaTeX"),
        ("paper/figures", "the figures as PDF, PNG, CSV"),
        ("evaluation", "similarities, rankings, controls"),
    ):
        console.print(f"  {results / path}  ({what})", highlight=False)


def _show_transfer(evaluation: Path, console: Console) -> None:
    """Print Tables 1 and 2, and the direct scores compared with the majority baseline."""
    for name, layout in LAYOUTS.items():
        cells = read_evaluation(evaluation / f"{name}.csv", "model", "cell", "method", *METRICS, *_tested(METRICS))
        if len(cells):
            own = layout.of(cells)
            print_table(transfer_frame(cells, own), console, title=f"{layout.name.capitalize()}: transferability")
            _print_verdicts(transfer_sentences(cells, own), console)
    direct = read_evaluation(evaluation / "lm_direct.csv", "model", "target", "direct", "majority", "counted")
    for sentence in direct_sentences(direct):
        console.print(f"- {sentence}\n", highlight=False)


def _show_prompts(results: Path, console: Console) -> None:
    evaluation = results / "evaluation"
    columns = ("category", "model", "method", *table3.METRICS, *_tested(LABELS))
    cells = read_evaluation(evaluation / "table3.csv", *columns)
    titles = _titles(results / "paper/tables/table3.csv", cells)
    print_table(table3.table3_frame(cells, titles), console, title="Table 3: zero-shot prompt selection")
    _print_verdicts(verdict_sentences(cells, read_evaluation(evaluation / "controls.csv"), titles), console)


def _tested(metrics: Iterable[str]) -> list[str]:
    """Columns with the p-values of some metrics."""
    return [f"{metric}{end}" for metric in metrics for end in ("_p", "_p_worse")]


def _titles(written: Path, cells: pd.DataFrame) -> dict[str, str]:
    """Names of the categories as in the table that was written, by its record; ids where there is none yet."""
    record = sidecar_path(written)
    names = read_json(record)["record"]["params"]["categories"] if record.is_file() else []
    return dict(names) if names else {name: name for name in dict.fromkeys(cells["category"])}


def _show_planted(measured: pd.DataFrame, similarities: pd.DataFrame, console: Console) -> None:
    """Print what the tests with planted black boxes found: the methods that pass and those that fail."""
    # boxes are left out: what says as much noise as a box that is half flipped cannot be learned
    of_datasets = similarities[similarities["method"].isin(METHOD_NAMES)].assign(mte_learned="")
    for warning in learning_warnings(of_datasets, "target"):
        console.print(f"Warning: {warning}", style="yellow")
    table = Table(title="Planted black boxes: is the order that was made found?")
    for name in PLANTED_COLUMNS:
        table.add_column(name, justify="right" if name in PLANTED_COLUMNS[3:7] else "left")
    for cells in planted_cells(measured):
        table.add_row(*cells)
    console.print(table)


def _print_verdicts(sentences: list[str], console: Console) -> None:
    """Print the sentences on the embedding methods; the report has all sentences."""
    for sentence in sentences:
        if sentence.split(":")[0] in METHOD_NAMES.values():
            console.print(f"- {sentence}")
