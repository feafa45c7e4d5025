"""Costs of FUTE and of the prompt selection baselines (appendices A.4 and A.8 of the paper).

With k_p prompts, k_D datasets, a cost c_o of one embedding and c_b of one prompt on one dataset, FUTE costs
(k_p + k_D) c_o and a baseline k_p k_D c_b. The paper does not count that the LLM also labels the unlabelled texts U
with every prompt; here both are shown. Seconds are Snakemake's measurements and include loading.
"""

from __future__ import annotations

import pandas as pd

from fute.config.run import TRAIN
from fute.display_names import METHOD_NAMES
from fute.paper.cells import MISSING

CALL_COLUMNS = ["model", "category", "prompt", "corpus", "calls", "read_tokens", "written_tokens"]
COUNTED = ("calls", "read_tokens", "written_tokens")
COUNT_COLUMNS = [
    "model", "category", "prompts", "datasets",
    *(f"{name}_{column}" for name in ("fute", "baselines") for column in COUNTED),
    "break_even_datasets", "seconds_each",
]  # fmt: skip
COST_COLUMNS = [
    "model", "category", "method", "embedding_s", "cell_s", "ratio", "crossover",
    "fute_s", "labelling_s", "baselines_s",
]  # fmt: skip

EMBEDDINGS, CALLS, COSTS = "Embeddings", "Calls of the LLM", "Costs"
"""Titles of the three tables."""


def crossover(prompts: int, datasets: int) -> float:
    """Ratio c_o / c_b below which FUTE is cheaper: k_p k_D / (k_p + k_D)."""
    if prompts < 1 or datasets < 1:
        raise ValueError(f"needs at least one prompt and one dataset, got {prompts} and {datasets}")
    return prompts * datasets / (prompts + datasets)


def embedding_times(batches: pd.DataFrame) -> pd.DataFrame:
    """Seconds per embedding, by surrogate and method.

    batches: one row per batch with surrogate, method, vectors and seconds (NaN without a benchmark file, or after a
    kill, which leaves that of the last process). Returns the columns surrogate, method, `vectors`, `measured` (vectors
    of the batches with a time), `seconds` of those, `seconds_each`.
    """
    rows = []
    for (surrogate, method), group in batches.groupby(["surrogate", "method"], sort=False):
        timed = group[group["seconds"].notna()]
        seconds, measured = float(timed["seconds"].sum()), int(timed["vectors"].sum())
        rows.append({
            "surrogate": surrogate, "method": method, "vectors": int(group["vectors"].sum()), "measured": measured,
            "seconds": seconds if measured else float("nan"),
            "seconds_each": seconds / measured if measured else float("nan"),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=["surrogate", "method", "vectors", "measured", "seconds", "seconds_each"])


def call_counts(calls: pd.DataFrame, call_seconds: dict[str, float]) -> pd.DataFrame:
    """Calls to each LLM, by category: FUTE labels U, the paper's baselines label the evaluation rows.

    calls: `CALL_COLUMNS`, one row per (model, prompt, corpus); the corpus of U has the category's name. A call is one
    text with one prompt. call_seconds: model -> measured seconds per call (without models that were not measured).
    Labels of training rows (corpus `{dataset}.train`), which no baseline of the paper has, do not count.
    Column `break_even_datasets`: with more datasets of the run's mean size than this, FUTE needs fewer calls.
    """
    rows, calls = [], calls[~calls["corpus"].str.endswith(TRAIN)]
    for (model, category), group in calls.groupby(["model", "category"], sort=False):
        unsup = group["corpus"] == category
        prompts, datasets = group["prompt"].nunique(), group.loc[~unsup, "corpus"].nunique()
        row = {"model": model, "category": category, "prompts": prompts, "datasets": datasets}
        for name, chosen in (("fute", unsup), ("baselines", ~unsup)):
            totals = {column: group.loc[chosen, column].sum(skipna=False) for column in COUNTED}
            row |= {f"{name}_{column}": total if pd.isna(total) else int(total) for column, total in totals.items()}
        row["break_even_datasets"] = row["fute_calls"] / (row["baselines_calls"] / datasets)
        row["seconds_each"] = call_seconds.get(model, float("nan"))
        rows.append(row)
    return pd.DataFrame(rows, columns=COUNT_COLUMNS)


def cost_table(counts: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """The paper's count with measured costs in seconds: one row per (model, category, method).

    counts, times: from `call_counts` and `embedding_times`, with one surrogate. `embedding_s` is c_o, `cell_s` c_b
    (one prompt on a dataset of the run's mean size), `ratio` c_o / c_b, to compare with `crossover`. `fute_s` and
    `baselines_s` are the two products of the paper; `labelling_s`, which the paper leaves out, is for labelling U.
    """
    rows = []
    for count in counts.itertuples():
        cell = count.seconds_each * count.baselines_calls / (count.prompts * count.datasets)
        for time in times.itertuples():
            rows.append({
                "model": count.model, "category": count.category, "method": time.method,
                "embedding_s": time.seconds_each, "cell_s": cell,
                "ratio": time.seconds_each / cell if cell else float("nan"),
                "crossover": crossover(count.prompts, count.datasets),
                "fute_s": (count.prompts + count.datasets) * time.seconds_each,
                "labelling_s": count.fute_calls * count.seconds_each,
                "baselines_s": count.baselines_calls * count.seconds_each,
            })  # fmt: skip
    return pd.DataFrame(rows, columns=COST_COLUMNS)


def as_pages(times: pd.DataFrame, counts: pd.DataFrame, costs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The three tables in the layout of `fute.paper.formats`, by title; tables without rows are left out."""
    tables = {}
    if len(times):
        columns = {"vectors": ("", "Vectors"), "measured": ("", "Measured"), "seconds_each": ("Seconds", "each")}
        tables[EMBEDDINGS] = _layout(times, ("surrogate", "method"), columns, whole=("vectors", "measured"))
    if len(counts):
        columns = {
            f"{name}_{column}": (heading, column.replace("_", " "))
            for name, heading in (("fute", "FUTE"), ("baselines", "Baselines"))
            for column in COUNTED
        }
        columns |= {"break_even_datasets": ("Even at", "datasets"), "seconds_each": ("Seconds", "a call")}
        whole = [name for name in columns if name.endswith(COUNTED)]
        upper = counts.assign(category=counts["category"].str.upper())
        tables[CALLS] = _layout(upper, ("model", "category"), columns, whole=whole)
    if len(costs):
        columns = {
            "embedding_s": ("c_o", "s"),
            "cell_s": ("c_b", "s"),
            "ratio": ("c_o / c_b", "measured"),
            "crossover": ("c_o / c_b", "even at"),
            "fute_s": ("FUTE", "embeddings, s"),
            "labelling_s": ("FUTE", "labels of U, s"),
            "baselines_s": ("Baselines", "s"),
        }
        named = costs.assign(block=costs["model"] + ", " + costs["category"].str.upper())
        tables[COSTS] = _layout(named, ("block", "method"), columns)
    return tables


def _layout(
    frame: pd.DataFrame, keys: tuple[str, str], columns: dict[str, tuple[str, str]], whole: tuple[str, ...] | list = ()
) -> pd.DataFrame:
    """Lay out a table as text cells: the columns of `whole` without decimals, others with two."""
    shown = frame.replace({"method": METHOD_NAMES}).set_index(list(keys))
    cells = {
        heading: shown[name].map(lambda value, digits=0 if name in whole else 2: _number(value, digits))
        for name, heading in columns.items()
    }
    laid = pd.DataFrame(cells)
    laid.columns.names = ["heading", "metric"]
    return laid


def _number(value: float, digits: int) -> str:
    return MISSING if pd.isna(value) else f"{value:,.{digits}f}"
