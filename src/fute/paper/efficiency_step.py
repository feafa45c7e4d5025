"""Write the costs of a run's embeddings and LLM calls, from its files and Snakemake's benchmarks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from fute import paths
from fute.artifacts import Step, read_jsonl, sidecar_path
from fute.config.lm_baselines import LM_BASELINES, VECTORS
from fute.config.sections import Section
from fute.csv_files import benchmark_seconds, read_table
from fute.paper.efficiency import CALL_COLUMNS, as_pages, call_counts, cost_table, embedding_times
from fute.paper.formats import to_markdown

BATCH_COLUMNS = ["surrogate", "method", "vectors", "seconds"]


class EfficiencySettings(Section):
    """prompts: prompt id -> category. title, caption: from resources/captions.yaml. note: line for a small run."""

    prompts: dict[str, str]
    title: str
    caption: str
    note: str = ""


def _seconds(keys: Path, benchmark: Path) -> float:
    """Measured seconds of a batch; NaN without a benchmark, or if it is that of the last of several processes."""
    record = sidecar_path(keys)
    resumed = record.is_file() and json.loads(record.read_bytes())["run"].get("resumed", False)
    return float("nan") if resumed else benchmark_seconds(benchmark)


def _cells(keys: Path) -> list[list[str]]:
    """Cells of a batch, grouped by the computation that they share."""
    return [line.split("\t")[1].split(" ") for line in keys.read_text(encoding="utf8").splitlines()]


def read_calls(files: Iterable[Path], prompts: Mapping[str, str]) -> pd.DataFrame:
    """Calls and tokens of every label file (`CALL_COLUMNS`).

    Read tokens are those of the prompt and, if SPELL's perplexity was computed, of that second pass. Written tokens
    are those of the reasoning. NaN where a server did not count them.
    """
    rows, labels = [], paths.pattern(paths.labels)
    for path in files:
        match = labels.fullmatch(path.as_posix())
        if match is None or match["task"] not in prompts:
            continue
        lines = read_jsonl(path)
        read = _total(tokens for line in lines for tokens in (line["prompt_tokens"], line.get("nll_tokens", 0)))
        written = _total(line.get("reasoning_tokens", 0) for line in lines)
        category = prompts[match["task"]]
        rows.append([match["model"], category, match["task"], match["corpus"], len(lines), read, written])
    return pd.DataFrame(rows, columns=CALL_COLUMNS)


def _total(counts: Iterable[int | None]) -> float:
    """Sum of counts; NaN if a server did not tell one of them."""
    counts = list(counts)
    return float("nan") if None in counts else sum(counts)


def call_seconds(files: Iterable[Path], calls: pd.DataFrame, benchmarks: Path) -> dict[str, float]:
    """Measured seconds per call, by model: time of its label batches divided by their calls.

    Prompts with the same words share their calls, which count once. Batches without a benchmark file, those that went
    on after a kill, and batches of other runs (with cells that are not among `calls`), are left out.
    """
    calls_of = {(row.model, f"{row.prompt}/{row.corpus}"): row.calls for row in calls.itertuples()}
    total: dict[str, list[float]] = {}
    batches = paths.pattern(paths.label_batch_index)
    for path in files:
        match = batches.fullmatch(path.as_posix())
        if match is None:
            continue
        model = match["model"]
        seconds = _seconds(path, benchmarks / "label_batch" / f"{model}-{match['batch']}.tsv")
        names = [shared[0] for shared in _cells(path) if not shared[0].startswith("self-select/")]
        if pd.isna(seconds) or not names or not all((model, name) in calls_of for name in names):
            continue
        sums = total.setdefault(model, [0.0, 0.0])
        sums[0] += seconds
        sums[1] += sum(calls_of[model, name] for name in names)
    return {model: seconds / sums for model, (seconds, sums) in total.items()}


def read_batches(files: Iterable[Path], benchmarks: Path) -> pd.DataFrame:
    """One row per embedding batch: surrogate, method, vectors, seconds."""
    rows, batches = [], paths.pattern(paths.vector_batch_index)
    for path in files:
        if match := batches.fullmatch(path.as_posix()):
            name = f"{match['surrogate']}-{match['method']}-{match['batch']}.tsv"
            seconds = _seconds(path, benchmarks / "embed_batch" / name)
            rows.append([match["surrogate"], match["method"], len(_cells(path)), seconds])
    return pd.DataFrame(rows, columns=BATCH_COLUMNS)


def read_dataset_vectors(files: Iterable[Path], benchmarks: Path) -> pd.DataFrame:
    """The same columns for datasets embedded on the black box's own architecture: one row per batch.

    files: the baselines' scores among them name the methods. One job makes a dataset's vectors of all methods, so these
    count as one vector.
    """
    rows, methods, batches = [], {}, paths.pattern(paths.dataset_vector_index)
    for path in files:
        if path.as_posix() == paths.LM_BASELINES:
            scores = read_table(path)
            own = scores[scores["method"].isin([LM_BASELINES[name] for name in VECTORS])]
            methods = {model: " + ".join(dict.fromkeys(group["method"])) for model, group in own.groupby("model")}
    for path in files:
        match = batches.fullmatch(path.as_posix())
        if match and match["model"] in methods:
            seconds = _seconds(path, benchmarks / "embed_dataset" / f"{match['model']}-{match['batch']}.tsv")
            rows.append([match["model"], methods[match["model"]], len(_cells(path)), seconds])
    return pd.DataFrame(rows, columns=BATCH_COLUMNS)


def efficiency(
    settings: EfficiencySettings, *, files: Sequence[Path], benchmarks: Path,
    embeddings: Path, calls: Path, costs: Path, markdown: Path,
) -> None:  # fmt: skip
    """Write embedding times, calls and costs as CSV, and all of them as one Markdown page.

    files: label files, the `.keys` files of batches of labels and vectors, and the scores of the language models'
    baselines. benchmarks: folder of Snakemake's benchmark files. Counts are the same for equal runs; seconds are
    measured and differ from run to run.
    """
    files = sorted(files)
    parts = [part for part in (read_batches(files, benchmarks), read_dataset_vectors(files, benchmarks)) if len(part)]
    times = embedding_times(pd.concat(parts) if parts else pd.DataFrame(columns=BATCH_COLUMNS))
    call_rows = read_calls(files, settings.prompts)
    counts = call_counts(call_rows, call_seconds(files, call_rows, benchmarks))
    cost_rows = cost_table(counts, times)
    pages = as_pages(times, counts, cost_rows)
    if not pages:
        raise ValueError("efficiency: none of the files is a label file or a batch's .keys file of this run")
    (_, first), *more = pages.items()
    page = to_markdown(first, title=settings.title, caption=settings.caption, note=settings.note, more=dict(more))
    with Step(__name__, settings=settings.model_dump(), inputs=files) as step:
        for path, frame in ((embeddings, times), (calls, counts), (costs, cost_rows)):
            step.csv(path, frame)
        step.bytes(markdown, page.encode())
