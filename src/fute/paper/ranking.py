"""Rank the prompts of a finished run, or its fine-tuned language models, for one of its datasets (`fute rank`)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from fute.display_names import METHOD_NAMES
from fute.evaluation.transfer_matrix_step import DIRECT
from fute.paper.terminal import NoResults, read_evaluation
from fute.paper.unknown_tokens import unknown_token_warnings

PROMPTS = "similarities.csv"
MODELS = "lm_similarities.csv"


def rank(dataset: str, results: Path, method: str) -> None:
    """Print a run's rankings for a dataset by cosine(MTE, DTE): of every LLM's prompts, of every model's sources.

    The margin is the distance to the next cosine, since a cosine alone says nothing. Beside it stands the cosine around
    the mean of the candidates, without what all of them share. Raises NoResults, which lists the datasets and methods
    of the run, if there is no ranking.
    """
    folder = results / "evaluation"
    console = Console()
    pairs: set[tuple[str, str]] = set()
    printed = False
    needed = ("method", "model", "cosine", "candidates_cosine", "largest_entry", "unknown_tokens")
    for name, column, show in ((PROMPTS, "dataset", _prompts), (MODELS, "target", _models)):
        if not (folder / name).is_file():
            continue
        similar = read_evaluation(folder / name, column, *needed)
        pairs |= set(zip(similar[column], similar["method"], strict=True))
        selected = similar[(similar[column] == dataset) & (similar["method"] == method)]
        for model, rows in selected.groupby("model", sort=False):
            printed = True
            show(rows, model, dataset, method, folder, console)
        for row in selected[selected.get("no_vector", pd.Series("", selected.index)) != ""].itertuples():
            who = f"{row.model} {row.prompt if column == 'dataset' else row.source}"
            text = f"Warning: {who} or {dataset} has no vector ({row.no_vector}), so its similarity counts as 0"
            console.print(text, style="yellow", markup=False)
        for warning in unknown_token_warnings(selected, column):
            console.print(f"Warning: {warning}", style="yellow", markup=False)
    if not pairs:
        read_evaluation(folder / PROMPTS)  # raises NoResults: the file is missing, and what to run
    if not printed:
        datasets, methods = (", ".join(sorted(set(names))) for names in zip(*pairs, strict=True))
        raise NoResults(f"no similarities for dataset {dataset!r} by {method!r}; there are {datasets}, by {methods}")


def _prompts(rows: pd.DataFrame, model: str, dataset: str, method: str, folder: Path, console: Console) -> None:
    """Print the prompts of an LLM, and the spread of the cosine between order seeds."""
    console.print(_table(f"{model} on {dataset}, {METHOD_NAMES[method]}", "Prompt", rows.set_index("prompt")))
    _say_largest_entry(rows, console)
    _print_counts(model, dataset, folder, console)
    controls = read_evaluation(folder / "controls.csv", "method", "model", "dataset", "sd_residual", "verdict")
    check = controls[(controls["dataset"] == dataset) & (controls["method"] == method) & (controls["model"] == model)]
    if len(check) and pd.notna(check["sd_residual"].iloc[0]):
        console.print(
            f"The order of training texts moves a cosine by {check['sd_residual'].iloc[0]:.4f} (standard deviation): "
            f"{check['verdict'].iloc[0]}."
        )


def _print_counts(model: str, dataset: str, folder: Path, console: Console) -> None:
    """Print, where there are any, how many evaluation rows have no label or a cut text, by prompt."""
    path = folder / "performance.csv"
    if not path.is_file():
        return
    performance = read_evaluation(path, "model", "prompt", "dataset", "n")
    rows = performance[(performance["model"] == model) & (performance["dataset"] == dataset)]
    for column, words in (("unlabelled", "Rows without a label"), ("cut", "Rows whose text was cut")):
        if column in rows and rows[column].any():
            counts = [f"{row.prompt} {getattr(row, column)} of {row.n}" for row in rows[rows[column] > 0].itertuples()]
            console.print(f"{words}: {', '.join(counts)}.")


def _models(rows: pd.DataFrame, model: str, dataset: str, method: str, folder: Path, console: Console) -> None:
    """Print the sources that a model was fine-tuned on, with scores after transfer if the run has them."""
    rows = rows[rows["source"] != dataset]
    matrix = read_evaluation(folder / "transfer.csv", "model", "source", "target", "score")
    runs = matrix[(matrix["model"] == model) & (matrix["target"] == dataset)]
    scores = runs.groupby("source")["score"].mean()
    title = f"Sources of {model} for {dataset}, {METHOD_NAMES[method]}"
    console.print(_table(title, "Fine-tuned on", rows.set_index("source"), scores if len(scores) else None))
    _say_largest_entry(rows, console)
    if DIRECT in scores:
        console.print(f"Scores are in percent, after transfer; without transfer the score is {scores[DIRECT]:.1f}.")


def _say_largest_entry(rows: pd.DataFrame, console: Console) -> None:
    """Say of TaskEmb's cosines how much of them one entry of the vectors carries."""
    if rows["largest_entry"].notna().any():
        console.print(
            f"One entry of the vectors carries {100 * rows['largest_entry'].min():.1f} to "
            f"{100 * rows['largest_entry'].max():.1f} % of these cosines."
        )


def _table(title: str, what: str, rows: pd.DataFrame, scores: pd.Series | None = None) -> Table:
    """Table of names by falling cosine (equal ones in their order), with their scores if given.

    rows: by name, with the columns `cosine` and `candidates_cosine`, which is printed beside it, where there is one.
    """
    rows = rows.sort_values("cosine", ascending=False, kind="stable")
    cosines, centred = rows["cosine"], rows["candidates_cosine"]
    more = [*(["Centred"] if centred.notna().all() else []), *(["Score"] if scores is not None else [])]
    table = Table(title=title, title_justify="left")
    for name in ("Rank", what, "Cosine", "Margin", *more):
        table.add_column(name, justify="left" if name == what else "right")
    margins = cosines.diff(-1)
    for position, (name, cosine) in enumerate(cosines.items(), start=1):
        margin = "" if position == len(cosines) else f"{margins[name]:.4f}"
        cells = {"Centred": f"{centred[name]:.4f}", "Score": f"{scores[name]:.1f}" if scores is not None else ""}
        table.add_row(str(position), str(name), f"{cosine:.4f}", margin, *(cells[column] for column in more))
    return table
