"""The steps of the language-model experiment from the command line: a published matrix becomes Tables 1 and 2."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from support.synthetic_lm import DATASETS, FOLDER, baselines, similarities
from typer.testing import CliRunner

from fute.cli import app

PRINTED = Path(__file__).parents[2] / "resources/paper"
DATASETS_JSON = {name: dataset.model_dump() for name, dataset in DATASETS.items()}


def fute(*arguments: str) -> None:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_a_published_matrix_becomes_both_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    similarities().to_csv("similarities.csv", index=False)
    baselines().to_csv("baselines.csv", index=False)
    settings = {"model": "m-one", "datasets": DATASETS_JSON}
    fute("transfer-matrix", "--settings", json.dumps(settings), "--matrix", str(FOLDER / "matrix.csv"),
         "--output", "transfer.csv")  # fmt: skip
    settings = {"surrogate": "s", "methods": ["tupate"], "models": ["m-one"], "datasets": DATASETS_JSON,
                "gain": "linear", "draws": 20, "permutations": 100}  # fmt: skip
    inputs = [flag for name in ("transfer", "similarities", "baselines") for flag in (f"--{name}", f"{name}.csv")]
    outputs = [flag for name in ("targets", "direct", "table1", "table2") for flag in (f"--{name}", f"{name}.csv")]
    fute("lm-evaluation", "--settings", json.dumps(settings), *inputs, *outputs)
    for name in ("table1", "table2"):
        settings = {"table": name, "title": "T", "caption": "C"}
        fute("transfer-table", "--settings", json.dumps(settings), "--cells", f"{name}.csv", "--targets",
             "targets.csv", "--direct", "direct.csv", "--printed", str(PRINTED / f"{name}.csv"), "--csv",
             f"{name}.out.csv", "--markdown", f"{name}.md", "--latex", f"{name}.tex")  # fmt: skip
    written = pd.read_csv("table1.out.csv")
    assert set(written["model"]) == {"m-one", "Paper (as printed)"}
    ours = written[written["model"] == "m-one"].set_index("method")
    assert ours.loc["Random", ["cr_in_class_rho", "cr_all_class_rho"]].tolist() == [2, 3.5]
    assert "Ceiling" not in ours.index and "FUTE + TaskEmb" not in ours.index
    assert Path("table2.tex").read_text().startswith(r"\begin{table*}")
