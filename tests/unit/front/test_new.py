"""`fute new` writes a run that holds, says what the data are, and leaves nothing behind where it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.chat_llm import TEMPLATE, tiny_tokenizer
from support.own_runs import texts
from transformers import BertConfig, T5Config

from fute import cli
from fute.config.prompts import fill
from fute.config.run import Run, load_run, read_yaml
from fute.front import new
from fute.front.places import PROJECT
from fute.front.table import FrontError
from fute.plan import Plan

PROMPTS = "- template: 'How many stars? {text}'\n- {template: '{text} Good?', cot: true}\n"


def reviews(labels: tuple[str, ...] = ("1", "5"), count: int = 40, header: str = "review,stars") -> str:
    return header + "\n" + "".join(f"{text},{labels[n % len(labels)]}\n" for n, text in enumerate(texts(count)))


@pytest.fixture(autouse=True)
def files(here: Path) -> None:
    Path("reviews.csv").write_text(reviews())
    Path("prompts.yaml").write_text(PROMPTS)


BASE = ["--data", "reviews.csv", "--text", "review", "--label", "stars", "--prompts", "prompts.yaml"]
MODEL = ["--model", "smollm2-135m"]


def fute(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["fute", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def made(monkeypatch, name: str, *arguments: str) -> Run:
    """The run that `fute new` writes."""
    assert fute(monkeypatch, "new", name, *arguments) == 0
    return load_run(Path(name, "run.yaml"), PROJECT / "config")


def test_a_run_of_prompts_holds(monkeypatch, capsys):
    assert fute(monkeypatch, "new", "mine", *BASE, *MODEL) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["mine", "prompts.yaml", "reviews.csv"]
    run = load_run(Path("mine/run.yaml"), PROJECT / "config")
    assert run.categories["mine"].classes == ("1", "5") and run.categories["mine"].segments == ("text",)
    assert list(run.prompts) == ["mine-1", "mine-2"] and run.prompts["mine-2"].cot
    assert run.prompts["mine-1"].verbalizers == {"1": ("1",), "5": ("5",)}
    entry = run.datasets["mine-data"]
    assert (entry.fields, entry.label_field, entry.heldout_share) == (("review",), "stars", 0.2)
    assert run.config.methods == ("labelcov",) and run.config.controls.methods == ("labelcov",)
    said = capsys.readouterr().out
    assert "reviews.csv: 40 rows; 1: 20, 5: 20; 9 words per text" in said
    assert "to learn from: 32 rows; to check on: 8 rows, a fifth of reviews.csv" in said
    assert (
        "cost: 2 prompts x (384 + 8 texts) = 784 answers of smollm2-135m; 392 of them after a chain of thought of at "
        "most 64 tokens\n"
    ) in said
    assert "Warning: few rows have" not in said
    assert said.endswith("mine/run.yaml: written; next: fute run mine\n")


def test_classes_are_stated_once_and_labels_where_they_are_others(monkeypatch):
    assert fute(monkeypatch, "new", "mine", *BASE, *MODEL) == 0
    entry = read_yaml(Path("mine/run.yaml"))["registry"]["datasets"]["mine-data"]
    assert not {"classes", "labels"} & set(entry)
    assert load_run(Path("mine/run.yaml"), PROJECT / "config").datasets["mine-data"].label_map == {"1": "1", "5": "5"}
    Path("reviews.csv").write_text(reviews((" bad ", "good")))
    entry = made(monkeypatch, "other", *BASE, *MODEL).datasets["other-data"]
    assert entry.label_map == {" bad ": "bad", "good": "good"}


def test_the_command_that_comes_next_can_be_copied(monkeypatch, capsys):
    Path("a b").mkdir()
    assert fute(monkeypatch, "new", "a b/mine", *BASE, *MODEL) == 0
    assert capsys.readouterr().out.endswith("next: fute run 'a b/mine'\n")


def test_reasoning_is_a_request_more_of_a_server(monkeypatch, capsys):
    server = ["--model", "mine", "--server", "http://localhost:1/v1"]
    assert fute(monkeypatch, "new", "mine", *BASE, *server) == 0
    assert "a chain of thought of at most 256 tokens, which is a request of its own\n" in capsys.readouterr().out


def test_classes_with_few_rows_are_named(monkeypatch, capsys):
    rare = "".join(f"an odd text of its own {n},3\n" for n in range(4))
    Path("reviews.csv").write_text(reviews() + rare)
    assert fute(monkeypatch, "new", "mine", *BASE, *MODEL) == 0
    [said] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Warning: few rows")]
    assert re.fullmatch(
        r"Warning: few rows have the class '3' \((\d) to learn from, (\d) to check on\); the run can say little of it",
        said,
    )
    assert sum(map(int, re.findall(r"(\d) to", said))) == 4


@pytest.mark.parametrize("name", ["null", "1", "on", "1.0"])
def test_names_that_yaml_would_read_otherwise(name, monkeypatch):
    assert list(made(monkeypatch, name, *BASE, *MODEL).prompts) == [f"{name}-1", f"{name}-2"]


def test_the_names_of_columns_may_stand_in_braces(monkeypatch):
    Path("prompts.yaml").write_text(PROMPTS.replace("{text}", "{review}"))
    assert made(monkeypatch, "mine", *BASE, *MODEL).categories["mine"].segments == ("review",)


SOURCE = """
templates:
  a: !Template {name: Long or not, jinja: "{% if review | length > 9 %}Read: {% endif %}{{review | trim}} |||{{label}}"}
  b: !Template {name: Plain, jinja: "{{review}} ||| {{label}}"}
"""


def test_templates_of_other_tools_with_filters(monkeypatch, capsys):
    Path("prompts.yaml").write_text(SOURCE)
    prompts = made(monkeypatch, "mine", *BASE, *MODEL).prompts
    assert {name: prompt.form for name, prompt in prompts.items()} == {"long-or-not": "jinja", "plain": "braces"}
    assert fill(prompts["long-or-not"], [" A good evening. "]) == "Read: A good evening."
    Path("prompts.yaml").write_text(SOURCE.replace("review", "sentence"))
    assert fute(monkeypatch, "new", "other", *BASE, *MODEL) == 1
    assert "prompts.yaml, prompt 1: its template has {sentence}; write {text} where a text" in capsys.readouterr().err


def test_pairs_of_texts(monkeypatch):
    rows = "".join(f"{text},{text} again,{['no', 'yes'][n % 2]}\n" for n, text in enumerate(texts(30)))
    Path("pairs.csv").write_text("First,Second,same\n" + rows)
    Path("prompts.yaml").write_text("[{template: '{text1} or {text2}?'}]")
    data = ["--data", "pairs.csv", "--text", "First", "--text", "Second", "--prompts", "prompts.yaml"]
    run = made(monkeypatch, "mine", *data, *MODEL)
    assert run.datasets["mine-data"].fields == ("First", "Second") and run.categories["mine"].classes == ("no", "yes")


def test_of_many_rows_some_are_learned_from(monkeypatch, capsys):
    """Or LabelCov's encoder, whose vectors cost seconds, would read for an hour."""
    Path("reviews.csv").write_text(reviews(count=5200))
    run = made(monkeypatch, "mine", *BASE, *MODEL)
    assert "to learn from: 4096 rows (train_rows in run.yaml); to check on: 100 rows" in capsys.readouterr().out
    assert (run.config.data.train_rows, run.config.data.test_rows) == (4096, 100)


def test_rows_of_no_use_are_counted_and_allowed(monkeypatch, capsys):
    more = f",5\n{texts(1)[0]},1\nsome words without a label,\n"
    Path("reviews.csv").write_text(reviews() + more)
    assert fute(monkeypatch, "new", "mine", *BASE, *MODEL) == 0
    said = capsys.readouterr().out
    assert "43 rows; 1: 21, 5: 20" in said and "1 without a text; 1 without a label; 1 with the text of an" in said
    entry = load_run(Path("mine/run.yaml"), PROJECT / "config").datasets["mine-data"]
    assert entry.unlabelled == ("",) and entry.max_unusable.rows == 1 and entry.max_unusable.allows(1, 43)


@pytest.mark.parametrize(
    ("kind", "reads"),
    [
        (BASE[6:] + MODEL, "a prompt gets the first 64 (max_text_words in run.yaml; null: all)"),
        (["--models", "minilm-l6,gpt2"], "a model is fine-tuned on the first 64 tokens (max_tokens in run.yaml)"),
    ],
)
def test_texts_that_will_be_cut_are_counted(monkeypatch, capsys, kind, reads):
    Path("reviews.csv").write_text(reviews() + f"{'word ' * 64},1\n{'word ' * 65},5\n")
    assert fute(monkeypatch, "new", "mine", *BASE[:6], *kind) == 0
    assert f"Warning: 1 of 42 rows have a text of more than 64 words; {reads}\n" in capsys.readouterr().out


def test_words_for_no_label_are_named(monkeypatch, capsys):
    Path("reviews.csv").write_text(reviews(("1", "5", "nan", "")))
    made(monkeypatch, "mine", *BASE, *MODEL)
    assert "Warning: counted as a class: 'nan'; where it means that a label is" in capsys.readouterr().out


def test_leaks_between_two_files_are_counted(monkeypatch, capsys):
    lines = reviews(count=60).splitlines(keepends=True)
    Path("reviews.csv").write_text("".join(lines[:51]))
    Path("test.csv").write_text(lines[0] + "".join(lines[51:]) + lines[1] + lines[2])
    assert fute(monkeypatch, "new", "mine", *BASE, *MODEL, "--test", "test.csv") == 0
    said = capsys.readouterr().out
    assert "to learn from: 48 rows; to check on: 12 rows; 2 rows to learn from are left out, because their text" in said
    assert load_run(Path("mine/run.yaml"), PROJECT / "config").datasets["mine-data"].splits.test == ("test",)


def test_a_test_file_without_labels_is_named_and_rows_are_held_out(monkeypatch, capsys):
    Path("test.csv").write_text("review\n" + "\n".join(texts(9)) + "\n")
    assert fute(monkeypatch, "new", "mine", *BASE, *MODEL, "--test", "test.csv") == 0
    assert (
        "test.csv: no row has a label, so nothing can be checked on it; rows of reviews.csv" in capsys.readouterr().out
    )
    assert load_run(Path("mine/run.yaml"), PROJECT / "config").datasets["mine-data"].splits.test is None


def test_own_texts_are_u(monkeypatch, capsys, here):
    Path("u.txt").write_text("\n".join([*texts(20), texts(1)[0], ""]))
    assert fute(monkeypatch, "new", "mine", *BASE, *MODEL, "--unlabelled", "u.txt") == 0
    rows = [json.loads(line) for line in Path("mine/unlabelled.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == texts(20) and {row["task"] for row in rows} == {"own"}
    data = load_run(Path("mine/run.yaml"), PROJECT / "config").config.data
    assert (data.source, data.root) == ("files", str(here / "mine"))
    assert str(here) not in Path("mine/run.yaml").read_text(), "the folder may be moved"
    assert "U: 20 of the 20 different texts of u.txt" in capsys.readouterr().out


def test_labels_of_any_kind(monkeypatch):
    rows = [{"review": text, "stars": (True, False)[n % 2]} for n, text in enumerate(texts(30))]
    Path("reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("reviews.csv").unlink()
    run = made(monkeypatch, "mine", "--data", "reviews.jsonl", *BASE[2:], *MODEL)
    assert run.categories["mine"].classes == ("false", "true")
    assert run.datasets["mine-data"].class_of(True) == "true"


def test_classes_that_begin_alike_are_scored_whole_on_request(monkeypatch):
    Path("reviews.csv").write_text(reviews(("topic 1", "topic 2")))
    assert made(monkeypatch, "mine", *P, "--score", "sequence").config.llm.engine.score == "sequence"


@pytest.mark.parametrize("key", [None, "secret-1234"])
def test_a_server_needs_a_key_in_the_environment(monkeypatch, capsys, key):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    assert fute(monkeypatch, "new", "served", *BASE, "--model", "m", "--server", "http://localhost:8000/v1") == 0
    shown = capsys.readouterr().out
    assert ("into the environment variable OPENAI_API_KEY first" in shown) == (key is None)
    assert "secret-1234" not in shown + Path("served/run.yaml").read_text()


def test_a_server_and_a_folder(monkeypatch):
    server = ["--model", "Qwen/Qwen2", "--server", "http://localhost:8000/v1"]
    run = made(monkeypatch, "served", *BASE, *server)
    assert run.models["qwen-qwen2"].server and run.config.llm.engine.api_model == "Qwen/Qwen2"
    Path("model").mkdir()
    Path("model/config.json").write_text("{}")
    Path("model/model.safetensors").touch()
    assert Path(made(monkeypatch, "local", *BASE, "--model", "model").models["model"].folder).samefile("model")


def test_a_folder_with_the_id_of_a_shipped_model_is_said_not_to_be_meant(monkeypatch, capsys):
    made(monkeypatch, "alone", *BASE, *MODEL)
    Path(MODEL[1]).mkdir()
    Path(MODEL[1], "config.json").write_text("{}")
    Path(MODEL[1], "model.safetensors").touch()
    made(monkeypatch, "beside", *BASE, *MODEL)
    line = "model: smollm2-135m is the one of config/models.yaml, not the folder smollm2-135m here; for that, write ./"
    assert capsys.readouterr().out.count(line) == 1
    own = made(monkeypatch, "own", *BASE, "--model", f"./{MODEL[1]}").models["own-smollm2-135m"]
    assert Path(own.folder).samefile(MODEL[1])


def test_a_run_of_models_holds(monkeypatch, capsys):
    run = made(monkeypatch, "start", *BASE[:6], "--models", "minilm-l6,bert-base,owner/some-encoder")
    assert run.config.lm.models == ("minilm-l6", "bert-base", "some-encoder")
    assert run.models["some-encoder"].repo == "owner/some-encoder"
    boxes = run.config.lm.planted.ladders["start"].boxes["start"]
    assert boxes == {f"{model}/start": "score" for model in run.config.lm.models}
    assert "cost: 3 trainings of 150 steps, each on 32 rows; each model labels 384 texts" in capsys.readouterr().out
    text = Path("start/run.yaml").read_text()
    assert "controls" not in text, "they are of prompts alone"
    # as the file's comment says, and then the plan asks for the method's vectors
    assert "`methods: [labelcov, tupate-lora]`, here and in the ladder `start` above" in text
    recipe = read_yaml(PROJECT / "config/planted.yaml")
    more = yaml.safe_dump({section: recipe[section] for section in ("gate", "tupate_lora")})
    Path("start/run.yaml").write_text(text.replace("methods: [labelcov]", "methods: [labelcov, tupate-lora]") + more)
    own = "/tupate-lora/mte/minilm-l6/start.safetensors"
    assert any(file.endswith(own) for file in planned("start").lm.planted_files())


def test_two_models_do_and_their_order_is_no_proof(monkeypatch, capsys):
    run = made(monkeypatch, "start", *BASE[:6], "--models", "minilm-l6,bert-base")
    assert list(run.config.lm.planted.ladders["start"].boxes["start"]) == ["minilm-l6/start", "bert-base/start"]
    assert "2 models have 2 orders, so theirs is right by chance with p = 0.50" in capsys.readouterr().out
    assert len(planted_vectors("start")) == 2


def write(files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


P = BASE + MODEL
PAIRS = {
    "reviews.csv": "one,two,stars\n" + "".join(f"{text},{text} too,{n % 2}\n" for n, text in enumerate(texts(40))),
    "prompts.yaml": "- template: '{text1} {text2}'\n",
}
PAIR = [*BASE[:2], "--text", "one", "--text", "two", *P[4:]]
LONG = reviews(tuple(f"class {n}" for n in range(61)), 130)
BAD = {
    "missing file": ({}, ["--data", "nowhere.csv", *P[2:]], "nowhere.csv: there is no such file; correct the path"),
    "an address of a file": (
        {}, ["--data", "https://h/r.csv", *P[2:]], "is an address, and not read; download the file (--data also",
    ),
    "a folder": ({}, ["--data", ".", *P[2:]], ".: is a folder without dataset_info.json or dataset_dict.json"),
    "an ending that is not read": ({"r.xlsx": b"PK"}, ["--data", "r.xlsx", *P[2:]], "r.xlsx: is none of .jsonl"),
    "an ending in capitals": (
        {"R.CSV": "x"}, ["--data", "R.CSV", *P[2:]], "R.CSV: its ending is in capitals; rename it to R.csv",
    ),
    "a line for spreadsheets": (
        {"reviews.csv": "\ufeffsep=,\r\n" + reviews()}, P, "begins with a line for spreadsheets, 'sep=,'; remove",
    ),
    "binary file": ({"reviews.csv": b"\xff\xfe\x00\x81"}, P, "reviews.csv: is not UTF-8"),
    "a header alone": ({"reviews.csv": "review,stars\n"}, P, "reviews.csv: has no rows; give a file"),
    "rows of different lengths": ({"reviews.csv": "review,stars\na,b,c\n"}, P, "reviews.csv, row 2: has 3 cells"),
    "no such text column": ({}, ["--data", "reviews.csv", "--text", "body", *P[4:]], "no column 'body' (--text);"),
    "no such label column": ({}, [*P, "--label", "mark"], "reviews.csv: has no column 'mark' (--label); there are"),
    "one column for both": ({}, [*P, "--label", "review"], "column 'review' is named for texts and for labels"),
    "three text columns": ({}, [*P, "--text", "stars", "--text", "x"], "--text names 3 columns"),
    "a text column twice": ({}, [*P, "--text", "review"], "--text names column 'review' twice"),
    "unclear columns": (
        {"reviews.csv": "a,b,c\nw x,1,2\ny z,2,1\np q,1,1\nr s,2,2\n"}, ["--data", "reviews.csv", *P[6:]],
        "which column holds the labels is not clear; name it by --label: 'a', 'b', 'c'",
    ),
    "semicolons": ({"reviews.csv": reviews().replace(",", ";")}, P, "has ';' between its columns; save it with commas"),
    "bars": ({"reviews.csv": "review|stars\nold, but good|5\n"}, P, "has '|' between its columns; save it with commas"),
    "a spreadsheet's Unicode text": (
        {"reviews.csv": reviews().replace(",", "\t").encode("utf-16")}, P, "reviews.csv: is not UTF-8",
    ),
    "one column": (
        {"reviews.csv": "review\ngood food\n"}, P[:2] + P[6:], "has one column of texts or numbers, 'review', and",
    ),
    "tabs": ({"reviews.csv": reviews().replace(",", "\t")}, P, "has tabs between its columns; name it reviews.tsv"),
    "one class": ({"reviews.csv": reviews(("5",))}, P, "column 'stars': has one class, '5'; a choice needs rows"),
    "two texts, unnamed": (
        {"reviews.csv": "premise,claim,same\n" + "".join(f"{t},{t},{n % 2}\n" for n, t in enumerate(texts(20)))},
        ["--data", "reviews.csv", *P[6:]],
        "name it by --text: 'premise', 'claim', 'same'; where a row has two texts, give --text twice",
    ),
    "no line of names": (
        {"reviews.csv": reviews().split("\n", 1)[1]}, ["--data", "reviews.csv", *P[6:]],
        "begins with a row ('alpha alpha said number 0 to all of us', '1'), not with the names of its columns; put",
    ),
    "numbers for targets": (
        {"reviews.csv": reviews(tuple(f"{n / 8}" for n in range(61)), 130)}, P,
        "or join some; a target that is a number takes a run by hand (docs/own-data.md, task: regression)",
    ),
    "61 classes": ({"reviews.csv": LONG}, P, "has 61 different labels ('class 0', 'class 1', 'class 2' ...), and a"),
    "no label at all": ({"reviews.csv": reviews(("",))}, P, "column 'stars': has no label; label some rows"),
    "empty text column": (
        {"reviews.csv": "review,stars\n" + ",1\n,5\n" * 9}, P,
        "reviews.csv, column 'review': has no text in any row; name the column of texts by --text",
    ),
    "texts that are numbers": (
        {"r.jsonl": "".join(json.dumps({"review": n, "stars": n % 2}) + "\n" for n in range(20))},
        ["--data", "r.jsonl", *P[2:]], "r.jsonl, column 'review': its cells are no texts but of type int; write texts",
    ),
    "second texts that are numbers": (
        {"r.jsonl": "".join(json.dumps({"one": f"a {n}", "two": n, "stars": n % 2}) + "\n" for n in range(20))},
        ["--data", "r.jsonl", *PAIR[2:]], "r.jsonl, column 'two': its cells are no texts but of type int; write texts",
    ),
    "mostly empty texts": ({"reviews.csv": reviews() + ",1\n" * 50}, P, "has no text in 50 of 90 rows; fill it"),
    "one text": ({"reviews.csv": "review,stars\nsame,1\nsame,5\n"}, P, "has the same text in all rows"),
    "many copies": (
        {"reviews.csv": "review,stars\n" + reviews(count=20).split("\n", 1)[1] * 4}, P,
        "rows hold a text of those that are held out of the same split, more than 10%: row",
    ),
    "too few rows": ({"reviews.csv": reviews(count=2)}, P, "has 2 different labels in 2 rows, and a class needs two"),
    "texts for labels": (
        {}, ["--data", "reviews.csv", "--text", "stars", *P[6:]],
        "column 'review': has 40 different labels in 40 rows, and a class needs two rows on average; name the column",
    ),
    "one class to learn from": (
        {"t.csv": reviews().replace("said", "told"), "reviews.csv": reviews(("5",))}, [*P, "--test", "t.csv"],
        "column 'stars': all 40 rows to learn from have the class '5', and a choice needs rows of two; give more rows",
    ),
    "a class in two spellings": (
        {"reviews.csv": reviews(("good", "Good", "bad"))}, P,
        "column 'stars': has the labels 'good' and 'Good'; write the class in one way",
    ),
    "a class in two forms that look the same": (
        {"reviews.csv": reviews(("caf\u00e9", "cafe\u0301", "bad"))}, P,
        "has the labels 'caf\\xe9' and 'cafe\\u0301', which look the same; write the class in one way",
    ),
    "a class with a blank of another kind": (
        {"reviews.csv": reviews(("so so", "so\u00a0so", "bad"))}, P, "labels 'so so' and 'so\\xa0so', which look the",
    ),
    "a class of two lines": (
        {"reviews.csv": reviews(('"very\ngood"', "bad"))}, P, "has the label 'very\\ngood'; write it without",
    ),
    "null and its word": (
        {"r.jsonl": "".join(json.dumps({"review": text, "stars": [None, "None", "5"][n % 3]}) + "\n"
                            for n, text in enumerate(texts(30)))},
        ["--data", "r.jsonl", *P[2:]], "r.jsonl, column 'stars': has null and the word 'None'",
    ),
    "labels in lists": (
        {"r.jsonl": '{"review": "a b", "stars": "x"}\n{"review": "c d", "stars": ["x", "y"]}\n'},
        ["--data", "r.jsonl", *P[2:]], "r.jsonl, row 2, column 'stars': is a list, and a label is one word or number",
    ),
    "a test file with other columns": (
        {"t.csv": "body,stars\na,1\n"}, [*P, "--test", "t.csv"], "t.csv: has no column 'review'; name its columns as",
    ),
    "a test file elsewhere": (
        {"sub/t.csv": reviews()}, [*P, "--test", "sub/t.csv"], "sub/t.csv: is in another folder than reviews.csv",
    ),
    "a test file of other classes": (
        {"t.csv": reviews(("bad", "good")).replace("said", "told")}, [*P, "--test", "t.csv"],
        "t.csv, column 'stars': has the classes 'bad', 'good', and reviews.csv has '1', '5', none of them the same;",
    ),
    "a test file of one row": (
        {"t.csv": "review,stars\na b,1\n"}, [*P, "--test", "t.csv"], "column 'review': has one row alone; give more\n",
    ),
    "all training texts in the test file": (
        {"t.csv": reviews()}, [*P, "--test", "t.csv"],
        "training rows hold a text of the test split, more than 10%: row 2 of reviews 'alpha alpha said number 0 to "
        "all of us' is row 2 of t 'alpha",
    ),
    "one file for both": (
        {}, [*P, "--test", "./reviews.csv"], "--test reviews.csv: is the file of --data; name another, or leave it",
    ),
    "two files of one name": ({"reviews.tsv": "a\tb\n"}, P, "reviews.csv: reviews.tsv stands beside it"),
    "no candidates": ({}, BASE[:6], "what is to be compared? give --prompts FILE and --model ID"),
    "both kinds": ({}, [*P, "--models", "a,b"], "--models compares models, --prompts and --model compare prompts"),
    "prompts without a model": ({}, BASE, "which model gets these prompts? give --model, an LLM such as smollm2-135m"),
    "a server without a model": (
        {}, [*BASE, "--server", "http://h/v1"], "--server http://h/v1: which of its models? give --model, the name",
    ),
    "unknown model": ({}, [*BASE, "--model", "gpt-9"], "--model gpt-9: is neither in config/models.yaml (smollm2-135m"),
    "a folder that is no model": ({"m/x": ""}, [*BASE, "--model", "m"], "m holds no config.json; give the folder of a"),
    "an adapter": (
        {"m/adapter_model.safetensors": ""}, [*BASE, "--model", "m"], "m holds no config.json; merge its adapter into",
    ),
    "a model without weights": ({"m/config.json": "{}"}, [*BASE, "--model", "m"], "m holds no weights"),
    "one model to start from": ({}, [*BASE[:6], "--models", "minilm-l6"], "--models names minilm-l6 alone, so"),
    "a model twice": ({}, [*BASE[:6], "--models", "minilm-l6,gpt2,minilm-l6"], "--models: 'minilm-l6' is named twice"),
    "an address of requests": (
        {}, [*P, "--server", "http://localhost:8/v1/chat/completions"], "the server's, which is likely http://localhost:8/v1"
    ),
    "an address with a key": (
        {}, [*P, "--server", "http://me:key@h/v1"], "is no address; write one such as http://localhost:8000/v1, with",
    ),
    "an address that is none": ({}, [*P, "--server", "localhost"], "--server localhost: is no address; write one such"),
    "a template that is no jinja": (
        {"prompts.yaml": "- {template: '{{text', form: jinja}\n"}, P, "prompts.yaml, prompt 1: its template ",
    ),
    "prompts that are texts": ({"prompts.yaml": "- '{text}?'\n"}, P, "prompts.yaml, entry 1: must be a mapping"),
    "no such prompts": ({}, [*BASE[:6], "--prompts", "p.yaml", *MODEL], "p.yaml: No such file or directory"),
    "prompts that are no list": ({"prompts.yaml": "a: b"}, P, "prompts.yaml: must hold a list of prompts, each"),
    "a prompt with braces that are words": (
        {"prompts.yaml": """- template: 'Say {"label": ...}: {text}'\n"""}, P, "braces that are words need `form",
    ),
    "a prompt without the placeholder": (
        {"prompts.yaml": "- template: Good or bad?\n"}, P, "its template has no name in braces; write {text} where",
    ),
    "a prompt with another placeholder": (
        {"prompts.yaml": PROMPTS + "- template: '{body}?'\n"}, P, "prompt 3: its template has {body}; write {text}",
    ),
    "a prompt with the column's name, others without": (
        {"prompts.yaml": PROMPTS + "- template: '{review}?'\n"}, P, "prompt 3: its template has {review}; write {text}",
    ),
    "a prompt of jinja's that does not say so": (
        {"prompts.yaml": "- template: '{{text}}'\n"}, P, "with `form: jinja` the text is {{text}}, and single braces",
    ),
    "a word that is no list": (
        {"prompts.yaml": "- {template: '{text}', verbalizers: {'1': bad, '5': good}}\n"}, P,
        "prompts.yaml, entry 1 (without id), key verbalizers.1: must be a list, in brackets",
    ),
    "an unknown key of a prompt": (
        {"prompts.yaml": "- {template: '{text}', verbaliser: {}}\n"}, P, "did you mean verbalizers?",
    ),
    "verbalizers of other classes": (
        {"prompts.yaml": "[{template: '{text}', verbalizers: {bad: [bad], good: [good]}}]"}, P,
        "verbalizers must name the classes 1, 5, not bad, good",
    ),
    "words that begin alike": (
        {"reviews.csv": reviews(("topic 1", "topic 2"))}, P, 
        "first token: choose other words (verbalizers of each prompt), or --score sequence\n",
    ),
    "no unlabelled file": ({}, [*P, "--unlabelled", "u.txt"], "u.txt: there is no such file; correct the path"),
    "an empty unlabelled file": ({"u.txt": "\n \n"}, [*P, "--unlabelled", "u.txt"], "u.txt: has no text; give a file"),
    "an unlabelled file that is no text": ({"u.txt": b"\xff\n"}, [*P, "--unlabelled", "u.txt"], "u.txt, row 1: is not"),
    "a text per line for pairs": (
        PAIRS | {"u.txt": "a\n"}, [*PAIR, "--unlabelled", "u.txt"], "u.txt: has one text per line, and a row of",
    ),
    "one column of texts for pairs": (
        PAIRS | {"u.csv": "text\na\n"}, [*PAIR, "--unlabelled", "u.csv"],
        "u.csv: has no columns 'one' and 'two', the two texts of a row",
    ),
    "few unlabelled texts": ({"u.txt": "a\nb\n"}, [*P, "--unlabelled", "u.txt"], "u.txt: has 2 different texts, and"),
}  # fmt: skip


def tree() -> set[str]:
    return {path.as_posix() for path in Path().rglob("*")}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(case, monkeypatch, capsys):
    files, arguments, message = BAD[case]
    Path("sub").mkdir()
    Path("m").mkdir()
    write(files)
    before = tree()
    assert fute(monkeypatch, "new", "mine", *arguments) == 1
    told = capsys.readouterr()
    assert message in told.err and told.err.startswith("fute: ") and told.err.count("\n") == 1, told.err
    assert told.out == "" and tree() == before and "Value error" not in told.err and ".tmp" not in told.err


def test_the_tokenizer_of_a_model_that_is_here_tells_the_words_apart(monkeypatch, capsys, tmp_path):
    folder = tmp_path / "model"
    tiny_tokenizer(TEMPLATE).save_pretrained(folder)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    monkeypatch.setattr(new, "_tokenizer_folder", lambda *_: folder)
    line = ("new", "mine", *BASE, "--model", "model")
    words = "verbalizers: {'1': [bad], '5': [good]}"
    Path("prompts.yaml").write_text(
        f"{PROMPTS}- {{template: '{{text}}!', {words}}}\n- {{template: '{{text}} Good?', cot: true}}\n"
    )
    assert fute(monkeypatch, *line) == 0
    said = capsys.readouterr().out
    assert "words of the classes: told apart by the tokenizer of model\n" in said
    assert "\nmine-3: words of the classes: 1 = bad, 5 = good\n" in said
    assert "\nWarning: a prompt that asks the same as an earlier one ties with it: mine-4\n" in said
    shutil.rmtree("mine")
    Path("prompts.yaml").write_text(f"- {{template: '{{text}}!', {words.replace('good', 'best')}}}\n")
    assert fute(monkeypatch, *line) == 1
    told = capsys.readouterr().err
    assert told.startswith("fute: prompts.yaml: prompt mine-1: verbalizers 'bad' and 'best' of two classes start")
    assert told.endswith(": choose other words, or give --score sequence\n") and not Path("mine").exists()
    (folder / "chat_template.jinja").unlink()
    assert fute(monkeypatch, *line) == 0, "a base model takes a setting that no option is for"
    setting = "set chat_template: none under engine in mine/run.yaml"
    assert (
        f"Warning: the run would stop: the model's tokenizer has no chat template: {setting} for a base model, or take "
        "the model's chat version\n"
    ) in capsys.readouterr().out
    shutil.rmtree("mine")
    tiny_tokenizer({"rag": TEMPLATE, "tools": TEMPLATE}).save_pretrained(folder)
    assert fute(monkeypatch, *line) == 0
    assert (
        f"has the chat templates rag, tools, and none is called default: {setting}, or name a folder with the model's "
        "files (key folder of the model) where one is\n"
    ) in capsys.readouterr().out, "the place stands beside the setting, not the folder"


def test_a_tokenizer_that_cannot_be_loaded_is_named(monkeypatch, capsys, tmp_path):
    folder = tmp_path / "model"
    tiny_tokenizer(TEMPLATE).save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    (folder / "model.safetensors").touch()
    (folder / "tokenizer.json").write_text("{")
    monkeypatch.setattr(new, "_tokenizer_folder", lambda *_: folder)
    assert fute(monkeypatch, "new", "mine", *BASE, "--model", "model") == 1
    told = capsys.readouterr().err
    assert told.startswith(f"fute: {folder}: its tokenizer cannot be loaded (")
    assert "reviews.csv" not in told and told.count("\n") == 1 and not Path("mine").exists()


@pytest.mark.parametrize("config", [BertConfig(), T5Config()])
def test_a_model_that_does_not_continue_texts_is_refused(config, monkeypatch, capsys, tmp_path):
    folder = tmp_path / "model"
    tiny_tokenizer(TEMPLATE).save_pretrained(folder)
    config.save_pretrained(folder)
    (folder / "model.safetensors").touch()
    monkeypatch.setattr(new, "_tokenizer_folder", lambda *_: folder)
    assert fute(monkeypatch, "new", "mine", *BASE, "--model", "model") == 1
    told = capsys.readouterr().err
    assert told.startswith(f"fute: {folder}: a model of type {config.model_type} does not continue a text")
    assert told.endswith(": name a causal LLM\n") and told.count("\n") == 1 and not Path("mine").exists()


def test_a_word_that_is_no_choice_is_named_with_its_option(monkeypatch, capsys):
    assert fute(monkeypatch, "new", "mine", *P, "--score", "best") == 2
    assert "Invalid value for '--score'" in (told := capsys.readouterr().err) and "'best' is not one of" in told
    assert fute(monkeypatch, "embed", "pairs.jsonl", "--output", "a", "--kind", "set") == 2
    assert "Invalid value for '--kind'" in (told := capsys.readouterr().err) and "'set' is not one of" in told


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My Reviews", "'My Reviews' cannot name a run: "),
        ("my_reviews", "'my_reviews' cannot name a run: "),
        ("sa", "'sa' is the name of a shipped task or dataset; take another one"),
        ("imdb", "'imdb' is the name of a shipped task or dataset"),
        ("sub", "sub: exists already; name a new folder, or remove this one first"),
        ("nowhere/mine", "nowhere: is no folder; make it, or name the run elsewhere"),
    ],
)
def test_bad_names_are_one_line_and_leave_nothing(name, message, monkeypatch, capsys):
    Path("sub").mkdir()
    before = tree()
    assert fute(monkeypatch, "new", name, *P) == 1
    told = capsys.readouterr()
    assert message in told.err and told.err.count("\n") == 1 and tree() == before, told.err


@pytest.mark.parametrize("name", ["caf\udce9.csv", "two\nlines.csv", "two\u2028lines.csv"])
def test_a_path_that_no_text_can_hold_is_refused(name, monkeypatch, capsys):
    Path("reviews.csv").rename(name)
    assert fute(monkeypatch, "new", "mine", "--data", name, *P[2:]) == 1
    told = capsys.readouterr().err
    assert repr(name)[1:-1] in told and "rename it" in told and told.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_named_as_it_was_given(monkeypatch, capsys):
    name = "a" * 250
    assert fute(monkeypatch, "new", name, *P) == 1
    assert capsys.readouterr().err == f"fute: {name}: cannot be made (File name too long); name a folder elsewhere\n"


def test_nothing_is_left_where_the_disk_is_full(monkeypatch):
    def full(*_):
        raise FrontError("the disk is full")

    monkeypatch.setattr(new, "load_run", full)
    before = tree()
    with pytest.raises(FrontError, match="the disk is full"):
        new.new_run(new.Wanted(Path("mine"), Path("reviews.csv"), prompts=Path("prompts.yaml"), model="smollm2-135m"))
    assert tree() == before


def planned(name: str) -> Plan:
    """The plan of a run that `fute new` made, from the project's folder as in the workflow."""
    path = Path(name, "run.yaml").absolute()
    with contextlib.chdir(PROJECT):
        plan = Plan(load_run(path), ())
        assert plan.vector_batches.items, "what reads data and models finds them"
        return plan


def planted_vectors(name: str) -> list[str]:
    """Files of the models' vectors that a run which compares models asks for."""
    files = planned(name).lm.planted_files()
    return sorted(path.rpartition("/mte/")[2] for path in files if "/mte/" in path)


def test_a_run_behind_a_link_finds_its_data_and_prompts(monkeypatch):
    Path("far/away").mkdir(parents=True)
    Path("near").symlink_to("far/away")
    Path("reviews.csv").rename("far/reviews.csv")
    Path("data").symlink_to("far")
    data = ["--data", "data/reviews.csv", *BASE[2:]]
    assert fute(monkeypatch, "new", "near/mine", *data, *MODEL) == 0
    run = load_run(Path("near/mine/run.yaml"), PROJECT / "config")
    assert (run.folders["mine-data"] / "reviews.csv").is_file() and len(run.prompts) == 2


def test_a_plan_finds_the_data_and_u(monkeypatch):
    Path("u.txt").write_text("\n".join(texts(20)))
    Path("data").mkdir()
    Path("reviews.csv").rename("data/reviews.csv")
    data = ["--data", "data/reviews.csv", *BASE[2:], *MODEL]
    assert fute(monkeypatch, "new", "one", *data) == 0
    assert fute(monkeypatch, "new", "two", *data, "--unlabelled", "u.txt") == 0
    plan = planned("one")
    assert [file["part"] for file in plan.data.source("one-data")["files"]] == ["train"]
    assert plan.data.unsup_source("one")["files"][0]["path"] == "pool.jsonl"
    assert planned("two").data.unsup_source("two")["files"][0]["path"] == "unlabelled.jsonl"


def test_a_plan_of_models_finds_its_data_with_texts_of_one_s_own(monkeypatch):
    Path("u.txt").write_text("\n".join(texts(20)))
    for name, more in (("one", ()), ("two", ("--unlabelled", "u.txt"))):
        assert fute(monkeypatch, "new", name, *BASE[:6], "--models", "minilm-l6,gpt2", *more) == 0
        plan = planned(name)
        with contextlib.chdir(PROJECT):
            assert not plan.data.missing_text()


def test_a_plan_of_models_asks_for_their_vectors(monkeypatch):
    assert fute(monkeypatch, "new", "start", *BASE[:6], "--models", "minilm-l6,bert-base,gpt2") == 0
    assert planted_vectors("start") == [f"{model}/start.safetensors" for model in ("bert-base", "gpt2", "minilm-l6")]


def test_a_terminal_without_the_letters_of_a_class_shows_escapes():
    Path("reviews.csv").write_text(reviews(("好", "bad")))
    ascii_alone = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    done = subprocess.run(
        [sys.executable, "-m", "fute", "new", "mine", *BASE, *MODEL], env=os.environ | ascii_alone, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert rb"bad: 20, \u597d: 20" in done.stdout and done.stdout.endswith(b"next: fute run mine\n")
    assert "好" in Path("mine/run.yaml").read_text(encoding="utf8")
