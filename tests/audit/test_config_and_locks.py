"""The identity of a configuration: its settings, and not how a run is spread over a machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fute.audit.config_and_locks import config_identity, config_problem, config_sha256
from fute.config.run import parse_run, read_yaml

ROOT = Path(__file__).resolve().parents[2]


def identity(**changes: Any) -> str:
    """Of the demo with other settings; those of the section lm under `lm`."""
    values = read_yaml(ROOT / "tests/support/both.yaml")
    lm = values["lm"] | changes.pop("lm", {})
    return config_sha256(parse_run(values | {"lm": lm} | changes, ROOT / "config"))


@pytest.mark.parametrize("spread", [{"threads": 7}, {"processes": 3}, {"gpus": 2}, {"lm": {"threads": 5}}])
def test_how_a_run_is_spread_changes_nothing(spread):
    assert identity(**spread) == identity()


@pytest.mark.parametrize(
    "setting", [{"seed": 1}, {"lm": {"transfer": {"model": "smollm2-135m"}}}, {"mte_target": "verbalizer"}]
)
def test_a_setting_does(setting):
    assert identity(**setting) != identity()


def test_a_run_without_language_models_has_an_identity():
    values = read_yaml(ROOT / "tests/support/both.yaml") | {"lm": None}
    assert config_sha256(parse_run(values, ROOT / "config")) != identity()


def test_a_file_that_leaves_the_datas_folder_to_the_command_line_is_the_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    file = Path("config/real-lm.yaml")
    values = read_yaml(file)
    assert "root" not in values["data"]
    run = parse_run(values | {"data": values["data"] | {"root": "/somewhere"}}, ROOT / "config")
    said = config_identity(run, file)
    assert said.file == str(file) and config_problem(said.file, said.sha256) is None
    other = parse_run(values | {"data": values["data"] | {"root": "/x", "test_rows": 7}}, ROOT / "config")
    assert config_identity(other, file).file is None, "the file does not say all of it"
    assert "are not the run's" in config_problem(said.file, config_sha256(other))


def test_a_file_that_is_no_whole_configuration_is_not_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = parse_run(read_yaml(ROOT / "tests/support/both.yaml"), ROOT / "config")
    for text in ("name: demo\n", "- a\n", "data: {source: files}\n"):
        Path("part.yaml").write_text(text)
        assert config_identity(run, Path("part.yaml")).file is None
    assert config_identity(run, Path("not-there.yaml")).file is None
