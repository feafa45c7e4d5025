"""Print the order of a run's candidates for its datasets, and what it rests on (`fute rank`)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Literal

from rich.console import Console
from rich.table import Table

from fute.artifacts import csv_bytes
from fute.display_names import METHOD_NAMES
from fute.paper.candidates import Ranking, Standing, advice, as_json, as_rows, named


def print_rankings(
    rankings: Sequence[Ranking], form: Literal["table", "json", "csv"], texts: Mapping[str, str]
) -> None:
    """Print rankings as tables that end in what to do, as one JSON list, or as CSV with one row per candidate.

    texts: candidate -> what stands beside its name in a table, such as the template of a prompt.
    """
    if form == "json":
        print(json.dumps([as_json(ranking) for ranking in rankings], indent=1))
    elif form == "csv":
        print(csv_bytes([row for ranking in rankings for row in as_rows(ranking)]).decode(), end="")
    else:
        # a prompt's `[/INST]` is no markup
        console = Console(width=None if Console().is_terminal else 120, markup=False, emoji=False)
        for ranking in rankings:
            console.print(overview(ranking, texts))
            explain(ranking, partial(console.print, highlight=False, soft_wrap=True))


def explain(ranking: Ranking, say: Callable[..., None]) -> None:
    """Say what an order rests on, a sentence per call, and at last what to do. say: takes a text and its style."""
    if ranking.first:
        others = ", the first method of the run that takes part" if len(ranking.methods) > 1 or ranking.left_out else ""
        say(f"In the order of {METHOD_NAMES[next(iter(ranking.methods))]}{others}.")
        for name, standing in ranking.methods.items():
            for text in _noise_and_entries(standing):
                say(f"{METHOD_NAMES[name]}: {text}.")
    for name, reason in ranking.left_out.items():
        say(f"Warning: {METHOD_NAMES[name]} takes no part: it {reason}.", style="yellow")
    for warning in ranking.warnings:
        say(f"Warning: {warning}", style="yellow")
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
    for note in ranking.notes:
        say(note)
    say(f"{advice(ranking)}\n", style="bold")


def _noise_and_entries(standing: Standing) -> Iterator[str]:
    """How far chance moves the scores of a method, and how much of them one entry of the vectors carries."""
    several = len(standing.ranked) > 1
    if several and standing.permuted:
        yield (
            f"permuted labels move a score by {standing.noise:.4f} (standard deviation), so two scores differ if they "
            f"are over {_range(standing)} apart"
        )
    elif several and standing.noise_of:
        yield (
            f"{standing.noise_of} moves a score by {standing.noise:.4f} (standard deviation), so that alone may put "
            f"two scores {_range(standing)} apart"
        )
    if standing.verdict:
        yield standing.verdict
    if standing.largest_entry.notna().any():
        least, most = (100 * end for end in (standing.largest_entry.min(), standing.largest_entry.max()))
        yield f"one entry of the vectors carries {least:.1f} to {most:.1f} % of these scores"


def _range(standing: Standing) -> str:
    """The least and the largest distance that two candidates must be apart: `0.0812`, `0.0812 to 0.1034`."""
    bounds = [standing.bound(one, other) for one, other in combinations(standing.ranked, 2)]
    ends = (f"{end:.4f}" for end in (min(bounds), max(bounds)))
    return " to ".join(dict.fromkeys(ends))


def overview(ranking: Ranking, texts: Mapping[str, str]) -> Table:
    """Table of the candidates in their order, with score and rank by each method; of one method alone, with its further
    similarities."""
    of = {"prompt": f"Prompts of {ranking.model}", "source": f"Sources of {ranking.model}", "model": "Models"}
    table = Table(title=f"{of[ranking.kind]} for {ranking.dataset}", title_justify="left")
    several = len(ranking.methods) > 1
    columns: list[str] = []
    for name, standing in ranking.methods.items():
        columns += [METHOD_NAMES[name], *(["rank"] if several else standing.beside)]
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
            more = [_rank(standing, name)] if several else [_number(value, 4) for value in standing.beside.loc[name]]
            cells += [_number(standing.scores[name], 4), *more]
        if ranking.first:
            apart = {True: "", False: " ~", None: ""}[ranking.told_apart(place)]
            cells.append(_number(ranking.gap(place), 4) + apart)
        cells += [_number(ranking.quality[name], 1), *([_number(ranking.tokens[name], 0)] if tokens else [])]
        text = [" ".join(texts.get(name, "").split())] if shown else []
        table.add_row(_rank(ranking.first, name) if ranking.first else "", name, *cells, *text)
    if any(ranking.told_apart(place) is False for place in range(len(ranking.order))):
        table.caption, table.caption_justify = "~: chance can explain it", "left"
    return table


def _rank(standing: Standing, name: str) -> str:
    """The rank of a candidate, or why it has none."""
    return standing.unranked.get(name) or f"{standing.ranks[name]:g}"


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:z.{digits}f}"
