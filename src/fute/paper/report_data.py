"""The sections of the report on the rows that the run read and left out, and on scripts that its U lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fute.data.splits import DROPPED
from fute.paper.grids import list_grid
from fute.paper.report_parts import Section

COLUMNS = {
    "dataset": "Dataset",
    "train": "To learn from",
    "dev": "To stop early",
    "test": "To evaluate on",
    "unlabelled": "Without a label",
    "dropped": "Shared with evaluation rows",
    "unusable": "Unusable",
}
MOST_PROBLEMS = 20
"""Unusable rows that are listed one by one."""


def data_section(counts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Section]:
    """Rows of each dataset by split, and what was left out. counts: dataset -> content of its `counts.json`.

    Empty without datasets.
    """
    if not counts:
        return []
    rows, problems = [], []
    for dataset, splits in counts.items():
        unusable = [
            f"{dataset}, {split}: {text}" for split, each in splits.items() for text in each.get("unusable", ())
        ]
        problems += unusable
        rows.append(
            {"dataset": dataset}
            | {split: splits.get(split, {}).get("kept", 0) for split in ("train", "dev", "test")}
            | {"unlabelled": sum(each.get("unlabelled", 0) for each in splits.values())}
            | {"dropped": sum(splits.get("train", {}).get(name, 0) for name in DROPPED)}
            | {"unusable": len(unusable)}
        )
    texts = []
    if problems:
        more = f" The first {MOST_PROBLEMS} of {len(problems)} are:" if len(problems) > MOST_PROBLEMS else ""
        texts = [f"Rows of which nothing can be made were left out.{more}", *problems[:MOST_PROBLEMS]]
    caption = "Rows that were kept, and rows that were left out, all splits together."
    grid = list_grid(pd.DataFrame(rows), caption, name="dataset", groups=[], labels=COLUMNS)
    return [Section("data", "Rows that were read", texts, tables=[grid])]


def unsup_section(counts: Mapping[str, pd.DataFrame]) -> list[Section]:
    """The scripts of the paper's U that the run's lacks; empty where it has all.

    counts: name of a U drawn from CrossFit's scripts -> its `counts.csv`. Numbers of texts are those before the limit
    on all of them.
    """
    texts = []
    for name, table in counts.items():
        wanted = table[table["paper"] > 0]
        missing = wanted.loc[wanted["lines"] == 0, "script"]
        if not missing.empty:
            texts.append(
                f"U for {name} lacks {len(missing)} of the paper's {len(wanted)} scripts: {', '.join(missing)}. "
                f"The rest give {wanted['capped'].sum():,} texts, in the paper all give {wanted['paper'].sum():,}."
            )
    return [Section("unsup", "U is not the paper's", texts)] if texts else []
