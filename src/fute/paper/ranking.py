"""Print the order of a run's candidates for its datasets: by all methods, or by one with its details (`fute rank`)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.console import Console
from rich.table import Table

from fute.artifacts import csv_bytes
from fute.display_names import METHOD_NAMES
from fute.evaluation.transfer_matrix_step import DIRECT
from fute.paper.candidates import MODELS, PROMPTS, Ranking, advice, as_json, as_rows, named
from fute.paper.learning import DID_NOT_LEARN, learning_warnings
from fute.paper.terminal import NoResults, read_evaluation
from fute.paper.unknown_tokens import unknown_token_warnings

BESIDE = {"candidates_cosine": "Centred", "task2vec_cosine": "task2vec"}
"""Column of the similarities -> its header beside the cosine: around the candidates' mean; of TaskEmb, each entry
counting alike."""


def print_rankings(
    rankings: Sequence[Ranking], form: Literal["table", "json", "csv"] = "table", texts: Mapping[str, str] | None = None
) -> None:
    """Print rankings as tables that end in what to do, as one JSON list, or as CSV with one row per candidate.

    texts: candidate -> what stands beside its name in a table, such as the template of a prompt.
    """
    if form == "json":
        print(json.dumps([as_json(ranking) for ranking in rankings], indent=1, ensure_ascii=False))
    elif form == "csv":
        print(csv_bytes([row for ranking in rankings for row in as_rows(ranking)]).decode(), end="")
    else:
        console = Console(width=None if Console().is_terminal else 120)
        for ranking in rankings:
            _print_ranking(ranking, texts or {}, console)


def _print_ranking(ranking: Ranking, texts: Mapping[str, str], console: Console) -> None:
    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    console.print(overview(ranking, texts))
    explain(ranking, say)


def explain(ranking: Ranking, say: Callable[..., None]) -> None:
    """Say what an order rests on, a sentence per call, and at last what to do. say: takes a text and its style."""
    if ranking.first:
        others = ", the first method of the run that takes part" if len(ranking.methods) > 1 or ranking.left_out else ""
        say(f"In the order of {METHOD_NAMES[next(iter(ranking.methods))]}{others}.")
        for name, standing in ranking.methods.items():
            if not math.isnan(standing.noise):
                say(
                    f"{METHOD_NAMES[name]}: {standing.noise_of} move a score by {standing.noise:.4f} (standard "
                    f"deviation), so two scores differ if they are over {standing.bound:.4f} apart."
                )
    for name, reason in ranking.left_out.items():
        say(f"Warning: {METHOD_NAMES[name]} takes no part: it {reason}.", "yellow")
    for (one, other), tau in ranking.agreement.items():
        if not math.isnan(tau):
            say(
                f"{METHOD_NAMES[one]} and {METHOD_NAMES[other]} agree with Kendall's tau {tau:.2f} (1: the same order)."
            )
    if ranking.quality.notna().any():
        best = ranking.quality.max()
        names = named(ranking.kind, [name for name in ranking.order if ranking.quality[name] == best])
        count = f"{ranking.rows} test rows" if ranking.rows else "test rows"
        tau = "" if math.isnan(ranking.check) else f"; Kendall's tau with the order is {ranking.check:.2f}"
        if not math.isnan(ranking.majority):
            tau += f". The most frequent class alone has {ranking.majority:.1f} %"
        say(f"On {count} the best score, {best:.1f} %, is that of {names}{tau}.")
    else:
        say("There are no scores on labelled test rows, so this order cannot be checked.")
    say(f"{advice(ranking)}\n", "bold")


def overview(ranking: Ranking, texts: Mapping[str, str]) -> Table:
    """Table of the candidates in their order, with score and rank by each method."""
    of = {"prompt": f"Prompts of {ranking.model}", "source": f"Sources of {ranking.model}", "model": "Models"}
    table = Table(title=f"{of[ranking.kind]} for {ranking.dataset}", title_justify="left")
    several = len(ranking.methods) > 1
    columns: list[str] = []
    for name in ranking.methods:
        columns += [METHOD_NAMES[name], *(["rank"] if several else [])]
    tokens, shown = ranking.tokens.notna().any(), any(name in texts for name in ranking.order)
    table.add_column("Rank", justify="right")
    table.add_column(ranking.kind.capitalize(), overflow="fold")
    for name in (*columns, *(["To next"] if ranking.first else []), "Test, %", *(["Tokens"] if tokens else [])):
        table.add_column(name, justify="right")
    if shown:
        table.add_column("Text", no_wrap=True, overflow="ellipsis", max_width=40)
    for place, name in enumerate(ranking.order):
        cells: list[str] = []
        for standing in ranking.methods.values():
            rank = DID_NOT_LEARN if math.isnan(standing.ranks[name]) else f"{standing.ranks[name]:g}"
            cells += [_number(standing.scores[name], 4), *([rank] if several else [])]
        if ranking.first:
            apart = {True: "", False: " ~", None: ""}[ranking.told_apart(place)]
            cells.append(_number(ranking.gap(place), 4) + apart)
        cells += [_number(ranking.quality[name], 1), *([_number(ranking.tokens[name], 0)] if tokens else [])]
        unranked = ranking.first is None or math.isnan(ranking.first.ranks[name])
        text = [" ".join(texts.get(name, "").split())] if shown else []
        table.add_row("" if unranked else f"{ranking.first.ranks[name]:g}", name, *cells, *text)
    if any(ranking.told_apart(place) is False for place in range(len(ranking.order))):
        table.caption, table.caption_justify = "~: no more than chance", "left"
    return table


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


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
        for warning in (*learning_warnings(selected, column), *unknown_token_warnings(selected, column)):
            console.print(f"Warning: {warning}", style="yellow", markup=False)
    if not pairs:
        read_evaluation(folder / PROMPTS)  # raises NoResults: the file is missing, and what to run
    if not printed:
        datasets, methods = (", ".join(sorted(set(names))) for names in zip(*pairs, strict=True))
        raise NoResults(f"no similarities for dataset {dataset!r} by {method!r}; there are {datasets}, by {methods}")


def _prompts(rows: pd.DataFrame, model: str, dataset: str, method: str, folder: Path, console: Console) -> None:
    """Print the prompts of an LLM, and the spread of the cosine between order seeds."""
    title = f"{model} on {dataset}, {METHOD_NAMES[method]}"
    console.print(_table(title, "Prompt", rows.set_index("prompt")))
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
    """Say how much of TaskEmb's cosines one entry of the vectors carries."""
    if rows["largest_entry"].notna().any():
        console.print(
            f"One entry of the vectors carries {100 * rows['largest_entry'].min():.1f} to "
            f"{100 * rows['largest_entry'].max():.1f} % of these cosines."
        )


def _table(title: str, what: str, rows: pd.DataFrame, scores: pd.Series | None = None) -> Table:
    """Table of names by falling cosine (equal ones in their order), with their scores if given.

    rows: by name, with the columns `cosine`, `mte_learned`, `dte_learned`, and those of `BESIDE`, which are printed
    beside the cosine where there are such similarities. Vectors that did not learn are marked.
    """
    rows = rows.sort_values("cosine", ascending=False, kind="stable")
    cosines = rows["cosine"]
    failed = (rows["mte_learned"] == "no") | (rows["dte_learned"] == "no")
    beside = {
        header: rows[column] for column, header in BESIDE.items() if column in rows and rows[column].notna().all()
    }
    more = [*beside, *(["Score"] if scores is not None else []), *(["Mark"] if failed.any() else [])]
    table = Table(title=title, title_justify="left")
    for name in ("Rank", what, "Cosine", "Margin", *more):
        table.add_column(name, justify="left" if name in (what, "Mark") else "right")
    margins = cosines.diff(-1)
    for position, (name, cosine) in enumerate(cosines.items(), start=1):
        margin = "" if position == len(cosines) else f"{margins[name]:.4f}"
        cells = {header: f"{similar[name]:.4f}" for header, similar in beside.items()}
        cells |= {"Score": f"{scores[name]:.1f}" if scores is not None else ""}
        cells |= {"Mark": DID_NOT_LEARN if failed[name] else ""}
        table.add_row(str(position), str(name), f"{cosine:.4f}", margin, *(cells[column] for column in more))
    return table
