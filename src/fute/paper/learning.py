"""Warn of surrogates that did not learn the tasks that their vectors stand for (docs/methods.md 6.1)."""

from __future__ import annotations

import pandas as pd

from fute.display_names import METHOD_NAMES
from fute.paper.grids import Grid, list_grid
from fute.paper.verdicts import MOST_NAMED
from fute.wording import listed

DID_NOT_LEARN = "did not learn"
COLUMNS = ("dte_learned", "mte_learned")
"""Columns of similarities.csv and lm_similarities.csv: `yes`, `no`, or empty for a vector without a gate."""

_ACCURACY = "; share of held-out rows whose label is the likeliest, and the majority with two standard errors"
_FIGURES = {
    "held_out_loss": "Loss",
    "prior_loss": "Label prior",
    "held_out_accuracy": "Accuracy, %",
    "needed_accuracy": "Needed: over, %",
}
_LABELS = {"vector": "Vector", **_FIGURES, "learned": "Learned"}


def learning_warnings(similarities: pd.DataFrame, target: str) -> list[str]:
    """Sentences on the vectors that did not learn: of datasets and of black boxes, per method; none if all did.

    similarities: similarities.csv or lm_similarities.csv, or some of its rows. target: its column of datasets.
    """
    sentences = []
    for method, rows in similarities.groupby("method", sort=False):
        name = METHOD_NAMES[method]
        failed, measured = _failed(rows, "dte", target)
        if failed:
            names = ", ".join(one[-1] for one in failed)
            sentences.append(
                f"{name}: on held-out rows, the surrogate knows no more of {names} than the shares of the labels "
                f"({len(failed)} of {measured} dataset embeddings {DID_NOT_LEARN}). Rankings for these datasets say "
                "nothing: train longer, at a higher rate, on more pairs, or with a larger surrogate."
            )
        failed, measured = _failed(rows, "mte", target)
        if failed:
            sentences.append(
                f"{name}: {len(failed)} of {measured} model embeddings {DID_NOT_LEARN} their black box "
                f"({listed([' '.join(one) for one in failed], most=MOST_NAMED)}): their places in rankings say nothing."
            )
    return sentences


def learning_note(similarities: pd.DataFrame, target: str) -> str:
    """The warnings in a few words, for the note of a table; empty if all vectors learned."""
    parts = []
    for method, rows in similarities.groupby("method", sort=False):
        for kind, what in (("dte", "dataset"), ("mte", "model")):
            failed, measured = _failed(rows, kind, target)
            if failed:
                parts.append(f"{METHOD_NAMES[method]}, {len(failed)} of {measured} {what} embeddings")
    return f"Some surrogates {DID_NOT_LEARN} what they were trained on: {'; '.join(parts)}." if parts else ""


def learning_grids(similarities: pd.DataFrame, target: str) -> list[Grid]:
    """Tables of all vectors with a gate: those of datasets, those of black boxes."""
    grids = []
    for kind, what in (("dte", "datasets"), ("mte", "black boxes")):
        keys = _keys(kind, similarities, target)
        rows = similarities[similarities[f"{kind}_learned"].isin(["yes", "no"])].drop_duplicates(keys)
        if rows.empty:
            continue
        names = rows[keys[1:]].astype(str).agg(" ".join, axis=1)
        shown = pd.DataFrame({"method": rows["method"].map(METHOD_NAMES), "vector": names})
        for name in _FIGURES:
            scale = 100 if "accuracy" in name else 1
            shown[name] = rows[f"{kind}_{name}"] * scale
        shown["learned"] = rows[f"{kind}_learned"].map({"yes": "yes", "no": DID_NOT_LEARN})
        shown = shown.dropna(axis=1, how="all")
        caption = (
            f"Embeddings of {what}: mean loss on held-out pairs, in nats, and that of knowing the label shares alone"
            f"{_ACCURACY if kind == 'dte' else ''}."
        )
        grids.append(list_grid(shown, caption, name="vector", groups=["method"], labels=_LABELS))
    return grids


def _keys(kind: str, similarities: pd.DataFrame, target: str) -> list[str]:
    """Columns that name a vector of a kind."""
    if kind == "dte":
        return ["method", target]
    return ["method", "model", "prompt" if "prompt" in similarities else "source"]


def _failed(rows: pd.DataFrame, kind: str, target: str) -> tuple[list[tuple[str, ...]], int]:
    """(names of the vectors that did not learn, how many have a gate) of one method."""
    keys = _keys(kind, rows, target)
    measured = rows[rows[f"{kind}_learned"].isin(["yes", "no"])].drop_duplicates(keys)
    failed = measured[measured[f"{kind}_learned"] == "no"]
    return [tuple(map(str, names)) for names in failed[keys[1:]].itertuples(index=False)], len(measured)
