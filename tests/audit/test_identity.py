"""What identifies a configuration: its settings, and not how a run is spread over a machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fute.audit.identity import config_sha256
from fute.config.run import parse_run, read_yaml

ROOT = Path(__file__).resolve().parents[2]


def identity(**changes: Any) -> str:
    """Of the demo with other settings; those of the section lm under `lm`."""
    values = read_yaml(ROOT / "config.yaml")
    lm = values["lm"] | changes.pop("lm", {})
    return config_sha256(parse_run(values | {"lm": lm} | changes, ROOT / "config"))


@pytest.mark.parametrize("spread", [{"threads": 7}, {"processes": 3}, {"gpus": 2}, {"lm": {"threads": 5}}])
def test_how_a_run_is_spread_changes_nothing(spread):
    assert identity(**spread) == identity()


@pytest.mark.parametrize("setting", [{"seed": 1}, {"lm": {"max_input_tokens": 9}}, {"mte_target": "verbalizer"}])
def test_a_setting_does(setting):
    assert identity(**setting) != identity()


def test_a_run_without_language_models_has_an_identity():
    values = read_yaml(ROOT / "config.yaml") | {"lm": None}
    assert config_sha256(parse_run(values, ROOT / "config")) != identity()
