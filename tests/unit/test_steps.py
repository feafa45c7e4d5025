"""Steps: one name each, and their command lines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel
from support.synthetic_lm import DATASETS, FOLDER, baselines, similarities

from fute import steps
from fute.code_hash import PACKAGE, closure

ROOT = Path(__file__).parents[2]
PRINTED = ROOT / "resources/paper"
DATASETS_JSON = {name: dataset.model_dump() for name, dataset in DATASETS.items()}
LIGHT = (
    "extract_labels", "self_select", "extract_finetuned", "extract_files", "extract_transfer", "extract_embedding",
    "baseline_scores", "lm_baselines", "extract_source_scores",
    "similarities", "lm_similarities", "selection", "geometry", "transfer_matrix", "lm_evaluation", "lm_geometry",
    "planted", "planted_figure",
    "table3", "transfer_table", "figure", "efficiency", "report", "sample_unsup", "normalise_test", "normalise_train",
)  # fmt: skip
"""Steps that run no model."""


def test_a_step_has_one_name():
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*_step.py")}
    assert files == {f"{folder}/{step}_step.py" for step, folder in steps.STEPS.items()}
    for step, folder in steps.STEPS.items():
        assert f"\ndef {step}(" in (PACKAGE / folder / f"{step}_step.py").read_text(), step


def test_every_step_is_called_by_a_rule_and_every_rule_calls_steps():
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    called = set(re.findall(r"python -m fute (\w+)", rules)) | set(re.findall(r"\" (\w+) --spec", rules))
    assert called == {*steps.STEPS, "audit"}


def test_no_rule_is_started_by_the_unquoted_path_of_the_python():
    """Snakemake starts rules with `run` so, which fails in a folder whose name has a blank."""
    for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]:
        assert not re.search(r"^ *run:", path.read_text(), re.MULTILINE), path.name


def test_a_step_without_a_model_depends_on_no_torch():
    """By what is imported, functions included: a start of torch costs more than all these steps do."""
    for step in LIGHT:
        loaded = [name for name in closure(steps.module_of(step)) if "import torch" in (PACKAGE / name).read_text()]
        assert loaded == [], step


def test_steps_without_a_model_start_without_torch():
    code = "import sys; from importlib import import_module; [import_module(name) for name in sys.argv[1:]]; "
    code += "sys.exit(', '.join({'torch', 'transformers', 'datasets', 'accelerate'} & set(sys.modules)) or None)"
    modules = [steps.module_of(step) for step in LIGHT]
    done = subprocess.run([sys.executable, "-c", code, *modules], cwd=ROOT / "src", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Given(BaseModel):
    size: int


def a_step(
    settings: Given, *, source: dict[str, Any], files: Sequence[Path], named: Mapping[str, Path], output: Path,
    names: Sequence[str] = (), limit: int | None = None, start: Path | None = None, flip: bool = False,
) -> None:  # fmt: skip
    """Note what came."""
    CAME.update(locals())


CAME: dict[str, Any] = {}
LINE = ["--settings", "size.json", "--source", "source.json", "--files", "x", "y", "--named", "k=p=q", "--output", "o"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files of arguments in the current folder."""
    monkeypatch.chdir(tmp_path)
    texts = {"size.json": '{"size": 3}', "source.json": '{"a": 1}', "cut.json": "{", "wrong.json": '{"size": "many"}',
             "list.json": "[]", "deep.json": "[" * 100_000, "empty.json": "", "paths": "x y\nz"}  # fmt: skip
    for name, text in texts.items():
        Path(name).write_text(text)
    Path("binary.json").write_bytes(b"\xff\xfe\x00")


def run_a_step(*more: str, line: Sequence[str] = LINE) -> dict[str, Any]:
    CAME.clear()
    a_step(**vars(steps._parser("a_step", a_step).parse_args([*line, *more])))
    return CAME


def test_parameters_become_flags(files):
    came = run_a_step()
    assert came["settings"] == Given(size=3) and came["source"] == {"a": 1} and came["output"] == Path("o")
    assert came["files"] == [Path("x"), Path("y")] and came["named"] == {"k": Path("p=q")}
    assert (came["names"], came["limit"], came["start"], came["flip"]) == ((), None, None, False)
    came = run_a_step("--names", "a", "b", "--limit", "7", "--start", "s", "--flip")
    assert (came["names"], came["limit"], came["start"], came["flip"]) == (["a", "b"], 7, Path("s"), True)
    assert run_a_step("--files", "@paths")["files"] == [Path("x y"), Path("z")]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--settings", "cut.json"], "--settings: cut.json: not the settings of this step: "),
        (["--settings", "wrong.json"], "size"),
        (["--settings", "list.json"], "not a JSON object"),
        (["--settings", "deep.json"], "recursion"),
        (["--settings", "empty.json"], "Expecting value"),
        (["--settings", "binary.json"], "can't decode"),
        (["--settings", "nowhere.json"], "nowhere.json: No such file"),
        (["--settings", "."], ".: Is a directory"),
        (["--files", "@nowhere"], "nowhere"),
        (["--named", "k"], "'k' is not KEY=PATH"),
        (["--named", "=p"], "'=p' is not KEY=PATH"),
        (["--limit", "few"], "few"),
        (["--unknown", "x"], "--unknown"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(more, said, capsys, files):
    with pytest.raises(SystemExit) as ended:
        run_a_step(*more)
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_a_missing_flag_is_named(capsys, files):
    with pytest.raises(SystemExit):
        run_a_step(line=LINE[:-2])
    assert "--output" in capsys.readouterr().err


def fute(step: str, settings: dict, *arguments: str) -> None:
    Path("settings.json").write_text(json.dumps(settings))
    steps.run(step, ["--settings", "settings.json", *arguments])


def test_a_published_matrix_becomes_both_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    similarities().to_csv("similarities.csv", index=False)
    baselines().to_csv("baselines.csv", index=False)
    settings = {"model": "m-one", "datasets": DATASETS_JSON}
    fute("transfer_matrix", settings, "--files", str(FOLDER / "matrix.csv"),
         "--output", "transfer.csv")  # fmt: skip
    settings = {"surrogate": "s", "methods": ["tupate"], "models": ["m-one"], "datasets": DATASETS_JSON,
                "gain": "linear", "draws": 20, "permutations": 100}  # fmt: skip
    inputs = [flag for name in ("transfer", "similarities", "baselines") for flag in (f"--{name}", f"{name}.csv")]
    outputs = [flag for name in ("targets", "direct", "table1", "table2") for flag in (f"--{name}", f"{name}.csv")]
    fute("lm_evaluation", settings, *inputs, *outputs)
    for name in ("table1", "table2"):
        settings = {"table": name, "title": "T", "caption": "C"}
        fute("transfer_table", settings, "--cells", f"{name}.csv", "--targets",
             "targets.csv", "--direct", "direct.csv", "--similarities", "similarities.csv",
             "--printed", str(PRINTED / f"{name}.csv"), "--csv",
             f"{name}.out.csv", "--markdown", f"{name}.md", "--latex", f"{name}.tex")  # fmt: skip
    written = pd.read_csv("table1.out.csv")
    assert set(written["model"]) == {"m-one", "Paper (as printed)"}
    ours = written[written["model"] == "m-one"].set_index("method")
    assert ours.loc["Random", ["cr_in_class_rho", "cr_all_class_rho"]].tolist() == [2, 3.5]
    assert "Estimated true order" not in ours.index and "FUTE + TaskEmb" not in ours.index
    assert Path("table2.tex").read_text().startswith(r"\begin{table*}")
