"""What must not stand in a record."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from fute.scrub import hidden, name_secret, portable_name, scrubbed, secrets

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
        ("HTTP://host:8000/v1", "http:.../v1"),
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


ODD = [
    "sk-12345678\r\n",
    " sk 12 345678 ",
    "sk-é-12345678",
    "sk-'1234'\"5678\"",
    "sk\\12345678",
    "sk-12345678\nsk-abcdefgh",
    "a+b/c=12345",
]


@pytest.mark.parametrize("secret", ODD)
@pytest.mark.parametrize(
    "shown",
    [
        str,
        str.strip,
        repr,
        ascii,
        json.dumps,
        quote,
        quote_plus,
        shlex.quote,
        lambda text: repr(text.encode()),
        lambda text: repr(repr(text)),
        lambda text: repr({"Authorization": f"Bearer {text}"}),
        lambda text: json.dumps(json.dumps({"key": text})),
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: quote(text, safe=""),
        lambda text: text.encode().decode("latin-1"),
    ],
)
def test_a_secret_is_hidden_in_every_form(secret, shown):
    text = hidden(f"before {shown(secret)} after", {"MY_PASSWORD": secret})
    assert text.startswith("before ") and text.endswith(" after") and "<secret>" in text
    assert not any(part in text for part in ("1234", "345678", "abcdefgh"))


def test_a_variable_that_is_named_holds_a_secret_whatever_its_name(monkeypatch):
    environment = {"LLM_PASS": "abc-12", "OTHER": "xyz-1234567"}
    assert hidden("abc-12 xyz-1234567", environment) == "abc-12 xyz-1234567"
    monkeypatch.setattr("fute.scrub._named", set())
    name_secret("LLM_PASS")
    assert hidden("abc-12 xyz-1234567", environment) == "<secret> xyz-1234567"
    assert hidden("EMPTY", {"LLM_PASS": "EMPTY"}) == "EMPTY", "a word for a server that asks for no key"


FAILS = """
import sys, threading, warnings
from fute.scrub import hide_from_output
hide_from_output()
print("out", sys.argv[1]); sys.stdout.writelines(["lines ", sys.argv[1]]); warnings.warn(sys.argv[1])
thread = threading.Thread(target=lambda: [][int(sys.argv[1])]); thread.start(); thread.join()
try:
    {sys.argv[1]: 1}["x"]
except KeyError as error:
    raise ValueError(repr(sys.argv[1])) from error
"""


def test_nothing_that_a_process_prints_holds_a_secret():
    secret = "sk-'12345678\\x"
    environment = {"PYTHONPATH": ":".join(sys.path), "MY_TOKEN": secret}
    done = subprocess.run([sys.executable, "-c", FAILS, secret], env=environment, text=True, capture_output=True)
    assert done.returncode == 1
    assert done.stdout == "out <secret>\nlines <secret>"
    assert "12345678" not in done.stderr and done.stderr.count("<secret>") >= 3
    assert done.stderr.endswith('ValueError: "<secret>"\n')
