"""Efficiency: counts against the paper's own, times by hand, and the step on small files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fute import paths
from fute.artifacts import Step
from fute.batching import keys_text
from fute.paper.efficiency import CALL_COLUMNS, call_counts, cost_table, crossover, embedding_times
from fute.paper.efficiency_step import EfficiencySettings, efficiency


def test_crossover_of_the_paper():
    """13 prompts and 3 datasets: 39 / 16."""
    assert crossover(13, 3) == pytest.approx(2.4375)
    assert crossover(1, 1) == 0.5
    with pytest.raises(ValueError, match="at least one prompt and one dataset, got 13 and 0"):
        crossover(13, 0)


def calls(category: str, unsup: int, tests: dict[str, int], prompts: int = 13, model: str = "m") -> pd.DataFrame:
    corpora = {category: unsup, **tests}
    rows = [[model, category, f"{category}-{p}", c, n, 10 * n, n if p == 13 else 0]
            for p in range(1, prompts + 1) for c, n in corpora.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=CALL_COLUMNS)


@pytest.mark.parametrize(
    ("category", "tests", "expected"),
    [
        ("sa", {"rotten-tomatoes": 1000, "imdb": 1000, "sst2": 872}, 37_336),
        ("nli", {"wanli": 1000, "cb": 56, "anli": 1000}, 26_728),
    ],
)
def test_calls_of_the_paper(category, tests, expected):
    (row,) = call_counts(calls(category, 10_000, tests), {"m": 0.5}).to_dict("records")
    assert (row["prompts"], row["datasets"]) == (13, 3)
    assert (row["fute_calls"], row["baselines_calls"]) == (130_000, expected)
    assert (row["fute_read_tokens"], row["baselines_written_tokens"]) == (1_300_000, expected // 13)
    assert row["break_even_datasets"] == pytest.approx(10_000 / (sum(tests.values()) / 3))


def test_ten_datasets_of_a_thousand_break_even():
    (row,) = call_counts(calls("sa", 10_000, {"d": 1000}), {}).to_dict("records")
    assert row["break_even_datasets"] == 10 and np.isnan(row["seconds_each"])


def test_embedding_times_leave_unmeasured_batches_out():
    batches = pd.DataFrame(
        [["s", "tupate", 10, 50.0], ["s", "tupate", 5, np.nan], ["s", "tupate", 2, 40.0], ["s", "taskemb", 3, np.nan]],
        columns=["surrogate", "method", "vectors", "seconds"],
    )
    tupate, taskemb = embedding_times(batches).to_dict("records")
    assert (tupate["vectors"], tupate["measured"], tupate["seconds"], tupate["seconds_each"]) == (17, 12, 90, 7.5)
    assert (taskemb["vectors"], taskemb["measured"]) == (3, 0) and np.isnan(taskemb["seconds_each"])


def test_costs_by_hand():
    """13 prompts, 3 datasets of 100 rows at 0.02 s a call: c_b is 2 s. An embedding of 5 s is 2.5 times that, just
    over 39 / 16: FUTE's 16 embeddings take 80 s, a baseline's 39 cells 78 s."""
    counts = call_counts(calls("sa", 1000, dict.fromkeys("abc", 100)), {"m": 0.02})
    times = embedding_times(pd.DataFrame({"surrogate": ["s"], "method": "tupate", "vectors": 4, "seconds": 20.0}))
    (row,) = cost_table(counts, times).to_dict("records")
    assert row["cell_s"] == pytest.approx(2) and row["ratio"] == pytest.approx(2.5)
    assert row["crossover"] == pytest.approx(39 / 16)
    assert row["fute_s"] == pytest.approx(80) and row["baselines_s"] == pytest.approx(78)
    assert row["labelling_s"] == pytest.approx(260)
    assert (row["ratio"] > row["crossover"]) == (row["fute_s"] > row["baselines_s"])


# ---- the step


@pytest.fixture
def run(tmp_path, monkeypatch) -> list[Path]:
    """Two prompts of equal words on U (3 texts) and on `films` (2 rows); one batch of labels, one of vectors."""
    monkeypatch.chdir(tmp_path)
    files = {}
    for prompt in ("sa-3", "sa-9"):
        for corpus, n in (("sa", 3), ("films", 2)):
            line = {"prompt_tokens": 7, "reasoning_tokens": 4} | ({"nll_tokens": 5} if corpus == "films" else {})
            files[f"results/labels/m/{prompt}/{corpus}.jsonl.gz"] = [line] * n
    for name, rows in files.items():
        with Step("fute.batching", settings={}) as step:
            step.jsonl(Path(name), rows)
    cells = {f"{prompt}/{corpus}": corpus for prompt in ("sa-3", "sa-9") for corpus in ("sa", "films")}
    vectors = {"dte:films": "a", "mte:m/sa-3": "b", "mte:m/sa-9": "b"}
    keys = {
        "results/labels/m/batches/b1.keys": keys_text(cells | {"self-select/sa": "k"}),
        "results/embeddings/s/tupate/batches/v1.keys": keys_text(vectors),
    }
    for name, text in keys.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    benchmarks = {"label_batch/m-b1": 20.0, "embed_batch/s-tupate-v1": 6.0}
    for name, seconds in benchmarks.items():
        path = Path(f"results/benchmarks/{name}.tsv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:20\t100\n")
    return [Path(name) for name in (*files, *keys)]


OUT = {name: Path(f"out/{name}") for name in ("embeddings", "calls", "costs", "markdown")}


def write(files: list[Path]) -> dict[str, pd.DataFrame]:
    settings = EfficiencySettings(prompts={"sa-3": "sa", "sa-9": "sa"}, title="T", caption="C", note="Small.")
    efficiency(settings, files=files, benchmarks=Path("results/benchmarks"), **OUT)
    return {name: pd.read_csv(OUT[name]) for name in ("embeddings", "calls", "costs")}


def test_the_step_counts_and_measures(run):
    frames = write(run)
    (time,) = frames["embeddings"].to_dict("records")
    assert (time["vectors"], time["seconds_each"]) == (2, 3), "equal prompts have one vector"
    (count,) = frames["calls"].to_dict("records")
    assert (count["prompts"], count["datasets"], count["fute_calls"], count["baselines_calls"]) == (2, 1, 6, 4)
    assert (count["fute_read_tokens"], count["baselines_read_tokens"]) == (42, 48)
    assert (count["fute_written_tokens"], count["break_even_datasets"]) == (24, 1.5)
    assert count["seconds_each"] == 4, "20 s over 3 + 2 calls: those of equal prompts are made once"
    (cost,) = frames["costs"].to_dict("records")
    assert (cost["cell_s"], cost["ratio"], cost["fute_s"]) == (8, 3 / 8, 9)
    page = OUT["markdown"].read_text()
    assert page.index("**Small.**") < page.index("## Calls of the LLM") < page.index("## Costs")
    assert "| s | FUTE + TuPaTE | 2 | 2 | 3.00 |" in page


def test_without_benchmarks_the_counts_stand_alone(run):
    for path in Path("results/benchmarks").rglob("*.tsv"):
        path.unlink()
    frames = write(run)
    assert frames["calls"]["fute_calls"].item() == 6 and frames["calls"]["seconds_each"].isna().all()
    assert frames["embeddings"]["measured"].item() == 0
    assert "| s | FUTE + TuPaTE | 2 | 0 | – |" in OUT["markdown"].read_text()


def test_what_went_on_after_a_kill_was_not_measured(run):
    """Its benchmark is that of the last process, which may have had nothing left to do."""
    for name in ("results/labels/m/batches/b1.keys", "results/embeddings/s/tupate/batches/v1.keys"):
        with Step("fute.batching", settings={}) as step:
            step.resumed = True
            step.bytes(Path(name), Path(name).read_bytes())
    frames = write(run)
    assert frames["embeddings"]["measured"].tolist() == [0] and frames["embeddings"]["seconds_each"].isna().all()
    assert frames["calls"]["seconds_each"].isna().all() and "| 2 | 0 | " in OUT["markdown"].read_text()


def test_tokens_that_a_server_does_not_count_are_not_known(run):
    path = Path("results/labels/m/sa-3/films.jsonl.gz")
    with Step("fute.batching", settings={}) as step:
        step.jsonl(path, [{"prompt_tokens": 7}, {"prompt_tokens": None}])
    (count,) = write(run)["calls"].to_dict("records")
    assert np.isnan(count["baselines_read_tokens"]) and count["fute_read_tokens"] == 42
    assert count["baselines_calls"] == 4 and count["baselines_written_tokens"] == 8
    assert "| – |" in OUT["markdown"].read_text()


def test_a_run_without_llms_has_embeddings_only(run):
    frames = write([path for path in run if "embeddings" in path.parts])
    assert frames["calls"].empty and frames["costs"].empty and len(frames["embeddings"]) == 1
    assert "##" not in OUT["markdown"].read_text()


def test_original_embeddings_stand_beside_futes(run):
    """Two jobs on one black box, of 4 s for all vectors of a dataset and of 24 s for three; DataSize makes none."""
    scores = Path("results/baselines/lm_baselines.csv")
    scores.parent.mkdir(parents=True)
    lines = [f"m,{method},{s},{t},1,1" for method in ("DataSize", "TextEmb", "TaskEmb") for s, t in ("ab", "ba")]
    scores.write_text("\n".join(["model,method,source,target,score,in_class", *lines]) + "\n")
    indexes = []
    for batch, datasets, seconds in (("0a", "a", 4.0), ("0b", "bcd", 24.0)):
        path = Path(f"results/benchmarks/embed_dataset/m-{batch}.tsv")
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"s\th:m:s\n{seconds}\t0:00:04\n")
        indexes.append(Path(paths.dataset_vector_index("m", batch)))
        indexes[-1].parent.mkdir(parents=True, exist_ok=True)
        indexes[-1].write_text(keys_text({name: f"key-{name}" for name in datasets}))
    found = write([scores, *indexes, *(path for path in run if "embeddings" in path.parts)])["embeddings"]
    fute, own = found.to_dict("records")
    assert (fute["surrogate"], fute["method"], fute["vectors"]) == ("s", "tupate", 2)
    assert (own["surrogate"], own["method"], own["vectors"], own["seconds_each"]) == ("m", "TextEmb + TaskEmb", 4, 7)
    assert "| m | TextEmb + TaskEmb | 4 | 4 | 7.00 |" in OUT["markdown"].read_text()


def test_files_of_something_else_are_refused(run):
    with pytest.raises(ValueError, match="efficiency: none of the files is a label file"):
        write([])
