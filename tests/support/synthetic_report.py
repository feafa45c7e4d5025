"""A report's inputs, drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from fute.csv_files import read_texts
from fute.paper.cells import REFERENCE_ROWS
from fute.paper.efficiency import CALL_COLUMNS, as_pages, call_counts, cost_table, embedding_times
from fute.paper.report import ReportContext
from fute.paper.report_llm import LlmResults
from fute.paper.report_parts import ReportFigure
from fute.paper.table3 import METHODS
from support.categories import TITLES
from support.html_page import PNG
from support.synthetic_lm import GATE

ROOT = Path(__file__).parents[2]
DATASETS = {"sa": ("rotten-tomatoes", "sst2", "imdb"), "nli": ("wanli", "cb", "anli")}
CLASSES = {"sa": ("positive", "negative"), "nli": ("entailment", "neutral", "contradiction")}


def synthetic_costs() -> dict[str, pd.DataFrame]:
    """Two LLMs, three prompts, three datasets of 50 rows, 100 texts; a call reads 30 tokens and takes 0.5 s."""
    calls = [
        [model, "sa", prompt, corpus, texts, 30 * texts, 0]
        for model in ("m-one", "m-two")
        for prompt in ("sa-1", "sa-2", "sa-3")
        for corpus, texts in {"sa": 100, **dict.fromkeys(DATASETS["sa"], 50)}.items()
    ]
    batches = pd.DataFrame([["s", "tupate", 9, 270.0]], columns=["surrogate", "method", "vectors", "seconds"])
    counts = call_counts(pd.DataFrame(calls, columns=CALL_COLUMNS), {"m-one": 0.5, "m-two": 0.5})
    times = embedding_times(batches)
    return as_pages(times, counts, cost_table(counts, times))


def synthetic_table3(models: tuple[str, ...], seed: int = 0) -> pd.DataFrame:
    """Made-up scores in the form of results/evaluation/table3.csv."""
    draw, rows = np.random.default_rng(seed), []
    for category in DATASETS:
        for model in models:
            for method in METHODS + REFERENCE_ROWS[:3]:
                score, ndcg = draw.uniform(45, 65), draw.uniform(40, 90)
                if method == "Oracle":
                    score, ndcg = 67.0, 100.0
                row = {"category": category, "model": model, "method": method}
                row["datasets"] = ", ".join(DATASETS[category])
                row |= {"performance": score, "rate": score / 0.67, "ndcg": ndcg}
                for metric in ("performance", "rate", "ndcg"):
                    row |= {f"{metric}_lo": row[metric] - 4, f"{metric}_hi": min(100, row[metric] + 4)}
                row |= {
                    "ndcg_linear": 95.0,
                    "random_performance": 52.0,
                    "random_ndcg": 55.5,
                    "true_order_ndcg": 77.2,
                    "reliability": 0.61,
                }
                row |= {"spearman": draw.uniform(-1, 1), "margin": 0.012}
                row |= {"ndcg_p": 0.02, "ndcg_p_worse": 0.98, "performance_p": 0.3, "performance_p_worse": 0.7}
                row |= {"spearman_p": 0.04, "spearman_p_worse": 0.96}
                rows.append(row)
    return pd.DataFrame(rows)


def synthetic_context(folder: Path, models: tuple[str, ...] = ("smollm2-135m",), prompts: int = 4) -> ReportContext:
    """A complete context of made-up results."""
    draw = np.random.default_rng(1)
    table3 = synthetic_table3(models)
    selection = pd.concat(
        table3[table3["category"] == category].assign(
            dataset=dataset, selected=f"{category}-3", n_rows=120, macro_f1=41.0, accuracy=52.5
        )
        for category, datasets in DATASETS.items()
        for dataset in datasets
    )
    performance, similarities, controls = [], [], []
    for model in models:
        for category, datasets in DATASETS.items():
            for dataset in datasets:
                for prompt in range(1, prompts + 1):
                    key = {"model": model, "prompt": prompt, "dataset": dataset}
                    shares = dict.fromkeys((f"share_{name}" for name in CLASSES[category]), 1 / len(CLASSES[category]))
                    scores = {"n": 120, "accuracy": draw.uniform(40, 60), "macro_f1": draw.uniform(30, 60)}
                    scores |= {"coverage": draw.uniform(0, 0.5), "top_is_verbalizer": draw.uniform(0, 1)}
                    performance.append({"category": category, **key, **scores, **shares})
                    for method in ("taskemb", "tupate"):
                        cosine = draw.uniform(0.8, 0.99)
                        centred = cosine - 0.5 if method == "tupate" else None
                        similarities.append(
                            {
                                "surrogate": "smollm2",
                                "category": category,
                                "method": method,
                                **key,
                                "cosine": cosine,
                                "centred_cosine": centred,
                                "unknown_tokens": 0.0,
                                **GATE,
                            }
                        )
                spreads = {
                    "sd_prompts": 0.02,
                    "sd_order_noise": 0.015,
                    "order_f": 1.333,
                    "order_p": 0.31,
                    "null_mean": 0.81,
                }
                verdict = {"verdict": "within noise"}
                controls.append({"method": "tupate", "model": model, "dataset": dataset} | spreads | verdict)
    (folder / "figure.png").write_bytes(PNG)
    results = LlmResults(
        table3=table3,
        table3_caption="Zero-shot prompt selection.",
        titles=TITLES,
        printed=read_texts(ROOT / "resources/paper/table3.csv"),
        selection=selection,
        performance=pd.DataFrame(performance),
        similarities=pd.DataFrame(similarities),
        controls=pd.DataFrame(controls),
        costs=synthetic_costs(),
        figures=[ReportFigure(str(folder / "figure"), "Figure 4", "Task embeddings.")],
    )
    return ReportContext(
        title="FUTE: synthetic run",
        lede="Made-up numbers, to test the page.",
        settings={"Models": ", ".join(models), "Engine": "transformers", "Preset": "paper", "Seed": "42"},
        llm=results,
        timings=pd.DataFrame({"rule": ["label", "embed"], "jobs": [2, 16], "seconds": [63.0, 4000.0]}),
        files={"results/paper/tables/table3.csv": "Table 3"},
        note="A small run: no evidence for or against the paper.",
    )
