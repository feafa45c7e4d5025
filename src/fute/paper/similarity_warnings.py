"""Warnings of similarities that rest on vectors that do not exist, or on texts that a surrogate could not read."""

from __future__ import annotations

import pandas as pd

from fute.display_names import METHOD_NAMES
from fute.embeddings.vector_record import MANY_UNKNOWN_TOKENS
from fute.paper.learning import learning_note
from fute.paper.verdicts import MOST_NAMED
from fute.wording import listed


def similarity_warnings(similarities: pd.DataFrame, target: str) -> list[str]:
    """Sentences on vectors that do not exist, and on methods whose vectors rest on many unknown tokens.

    similarities: similarities.csv or lm_similarities.csv, or some of its rows. target: its column of datasets.
    """
    return [*_no_vectors(similarities, target), *_unknown_tokens(similarities, target)]


def table_note(note: str, similarities: pd.DataFrame, target: str) -> str:
    """The note of a table: that of the run, and in a few words which vectors did not learn or do not exist.

    note: of the run, may be empty. similarities, target: as in `similarity_warnings`.
    """
    return " ".join(filter(None, (note, learning_note(similarities, target), no_vector_note(similarities))))


def no_vector_note(similarities: pd.DataFrame) -> str:
    """How many similarities are of vectors that do not exist, for the note of a table; empty where all exist."""
    without = _without(similarities)
    parts = [
        f"{METHOD_NAMES[method]} has no vector for {len(rows)} of {(similarities['method'] == method).sum()} "
        "similarities, which count as 0."
        for method, rows in without.groupby("method", sort=False)
    ]
    return " ".join(parts)


def _without(similarities: pd.DataFrame) -> pd.DataFrame:
    """The rows with a reason why there is no vector."""
    if "no_vector" not in similarities:
        return similarities.head(0)
    return similarities[similarities["no_vector"].fillna("") != ""]


def _no_vectors(similarities: pd.DataFrame, target: str) -> list[str]:
    """One sentence per method and reason."""
    if (without := _without(similarities)).empty:
        return []
    box = "prompt" if "prompt" in similarities else "source"
    sentences = []
    for (method, reason), rows in without.groupby(["method", "no_vector"], sort=False):
        pairs = [f"{row['model']} {row[box]} with {row[target]}" for _, row in rows.iterrows()]
        sentences.append(
            f"{METHOD_NAMES[method]}: one of the two has no vector in {listed(pairs, most=MOST_NAMED)} ({reason}), so "
            "that their similarity counts as 0."
        )
    return sentences


def _unknown_tokens(similarities: pd.DataFrame, target: str) -> list[str]:
    """One sentence per method."""
    many = similarities[similarities["unknown_tokens"] > MANY_UNKNOWN_TOKENS]
    return [
        f"{METHOD_NAMES[method]}: the surrogate's tokenizer does not know up to {rows['unknown_tokens'].max():.0%} of "
        f"the tokens that the vectors for {', '.join(sorted(set(rows[target])))} were learned from. Texts that differ "
        "only there are the same to it: do not trust this ranking, and take a surrogate that knows the language."
        for method, rows in many.groupby("method", sort=False)
    ]
