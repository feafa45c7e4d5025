"""YAML without repeated keys."""

from pathlib import Path

import pytest
import yaml

from fute.config import strict_yaml

CONFIG = Path(__file__).parents[3] / "config"


def test_two_datasets_of_one_id_are_refused_with_the_line():
    with pytest.raises(yaml.YAMLError, match=r"the key 'mrpc' is given twice; keep one entry(.|\n)*line 3"):
        strict_yaml.load("mrpc: {title: MRPC}\nrte: {title: RTE}\nmrpc: {title: Another}\n")
    with pytest.raises(yaml.YAMLError, match=r"the key 'title' is given twice(.|\n)*line 3"):
        strict_yaml.load("mrpc:\n  title: MRPC\n  title: Another\n")
    with pytest.raises(yaml.YAMLError, match="unhashable key"):
        strict_yaml.load("{[1]: 2}")


def test_merged_keys_are_overridden_not_repeated():
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: [*b, *a], x: 4}\n"
    assert strict_yaml.load(text) == yaml.safe_load(text)
    assert strict_yaml.load(text)["c"] == {"x": 4, "y": 3}


@pytest.mark.parametrize("path", sorted(CONFIG.rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_files_name_each_key_once(path):
    text = path.read_text(encoding="utf8")
    assert strict_yaml.load(text) == yaml.safe_load(text)
