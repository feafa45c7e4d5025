"""A warning where vectors rest on texts that their surrogate could not read."""

from __future__ import annotations

import pandas as pd

from fute.display_names import MANY_UNKNOWN_TOKENS, METHOD_NAMES


def unknown_token_warnings(similarities: pd.DataFrame, target: str) -> list[str]:
    """A sentence per method whose vectors rest on many unknown tokens.

    similarities: similarities.csv or lm_similarities.csv, or some of its rows. target: its column of datasets.
    """
    many = similarities[similarities["unknown_tokens"] > MANY_UNKNOWN_TOKENS]
    return [
        f"{METHOD_NAMES[method]}: the surrogate's tokenizer does not know up to {rows['unknown_tokens'].max():.0%} of "
        f"the tokens that the vectors for {', '.join(sorted(set(rows[target])))} were learned from. Texts that differ "
        "only there are the same to it: do not trust this ranking, and take a surrogate that knows the language."
        for method, rows in many.groupby("method", sort=False)
    ]
