"""A run's evaluation and Table 3, written by the steps themselves from numbers that are made up."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from fute.artifacts import Step, csv_bytes
from fute.audit.manifest import ConfigIdentity, Manifest, entry_of, environment_key, write_manifest
from fute.audit.paths import ResultsFolder
from fute.audit.sidecars import read_sidecar
from fute.paper.table3_step import TableSettings, table3
from support.synthetic_lm import GATE

EVALUATION = Path("results/evaluation")
TABLES = Path("results/paper/tables")
METHODS = ("MI", "SPELL", "FUTE + TaskEmb", "FUTE + TuPaTE (centred)", "Random")
DATASETS = {"sa": ("films", "series"), "nli": ("news",)}
VALUES = ("performance", "rate", "ndcg")


def selection(model: str) -> pd.DataFrame:
    """A row a dataset and method; no two numbers are alike."""
    rows = []
    for category, datasets in DATASETS.items():
        for dataset in datasets:
            for method in METHODS:
                at = len(rows)
                values = {name: 40 + 1.37 * at + 0.123456789 * place for place, name in enumerate(VALUES)}
                ends = {
                    f"{name}_{end}": values[name] + shift for name in VALUES for end, shift in (("lo", -5), ("hi", 5))
                }
                tests = {f"{name}_p": 0.001 + 0.017 * at for name in ("performance", "spearman", "ndcg")}
                keys = {"category": category, "model": model, "dataset": dataset, "method": method}
                rows.append(keys | values | ends | (tests if method != "Random" else {}))
    return pd.DataFrame(rows)


def write_tables(model: str = "small-lm") -> None:
    """Evaluation and Table 3 in the current folder's results."""
    chosen = selection(model)
    keys = ["category", "model", "method"]
    averages = chosen.drop(columns="dataset").groupby(keys, sort=False).mean().reset_index()
    EVALUATION.mkdir(parents=True, exist_ok=True)
    with Step("fute.evaluation.selection_step", settings={"seed": 42}, seeds={"bootstrap": 42}) as step:
        step.bytes(EVALUATION / "selection.csv", csv_bytes(chosen))
        step.bytes(EVALUATION / "table3.csv", csv_bytes(averages))
    learned = pd.DataFrame([{"method": "tupate", "model": model, "prompt": "sa-1", "dataset": "films"} | GATE])
    with Step("fute.evaluation.similarities_step", settings={}) as step:
        step.bytes(EVALUATION / "similarities.csv", csv_bytes(learned))
    categories = (("sa", "SA"), ("nli", "NLI"))
    settings = TableSettings(title="Table 3: zero-shot prompt selection", caption="Made up.", categories=categories)
    files = {"csv": TABLES / "table3.csv", "markdown": TABLES / "table3.md", "latex": TABLES / "table3.tex"}
    table3(settings, cells=EVALUATION / "table3.csv", similarities=EVALUATION / "similarities.csv", **files)


def list_run(name: str = "made-up") -> Manifest:
    """The manifest of what lies in the current folder's results, written where it belongs."""
    results = ResultsFolder(Path("results"))
    entries, environments = {}, {}
    for artifact in results.names():
        sidecar, digest = read_sidecar(results, artifact)
        rule = {"rule": sidecar.record.step, "wildcards": {}}
        entries[artifact] = entry_of(sidecar, digest, files={}, **rule)
        environments[environment_key(sidecar)] = sidecar.environment()
    config = ConfigIdentity(name=name, file=None, sha256=hashlib.sha256(name.encode()).hexdigest())
    manifest = Manifest(schema=1, config=config, targets=[], entries=entries, environments=environments)
    Path("results/audit").mkdir(exist_ok=True)
    write_manifest(manifest, Path("results/audit/manifest.json"))
    return manifest
