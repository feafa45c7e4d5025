"""What must not stand in a record."""

from pathlib import Path

import pytest

from fute.scrub import portable_name, scrubbed, secrets

ENVIRONMENT = {
    "HF_TOKEN": "hf_abcdefgh12345",
    "OPENAI_API_KEY": "sk-12345678",
    "PATH": "/usr/bin:/bin",
    "MY_TOKEN": "short",
}


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("/home/jane/data/pool.jsonl", "path:pool.jsonl"),
        ("/home/jane/data/", "path:"),
        ("~/data/pool.jsonl", "path:pool.jsonl"),
        ("/home/jane", "path:"),
        ("data/pool.jsonl", "data/pool.jsonl"),
        ("and/or", "and/or"),
        ("/", "/"),
        ("true / false", "true / false"),
        ("http://node17.cluster:8000/v1", "http:.../v1"),
        ("https://jane:secret@host/v1", "https:.../v1"),
        ("Bearer hf_abcdefgh12345", "Bearer <secret>"),
        ("a short word", "a short word"),
    ],
)
def test_texts(value, left):
    assert scrubbed(value, ENVIRONMENT) == left
    assert scrubbed({"k": [value, {value: 1}]}, ENVIRONMENT) == {"k": [left, {left: 1}]}


def test_other_values_stay():
    value = {"a": [1, 2.5, None, True], "b": {"c": -1}}
    assert scrubbed(value, ENVIRONMENT) == value


def test_a_secret_within_another_is_hidden_whole():
    assert secrets({"A_TOKEN": "12345678", "B_SECRET": "12345678-90"}) == ("12345678-90", "12345678")
    assert scrubbed("x 12345678-90 y", {"A_TOKEN": "12345678", "B_SECRET": "12345678-90"}) == "x <secret> y"


def test_names_of_files_inside_and_outside_the_project(tmp_path):
    project = tmp_path / "project"
    assert portable_name(Path("results/a.json"), project) == "results/a.json"
    assert portable_name(project / "results/a.json", project) == "results/a.json"
    assert portable_name(Path("../data/a.json"), project) == "data:a.json"
    assert portable_name(tmp_path / "data/a.json", project) == "data:a.json"
    assert portable_name(Path("..x/y"), project) == "..x/y"
    assert portable_name(Path("results/../x"), project) == "x"
