"""What `fute new` sees in data: columns, classes, and counts of rows that are of no use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fute.front.look import classes_of, columns, label_text, look, raw_labels, read_table, read_unlabelled
from fute.front.table import FrontError

ROWS = [
    ("a fine film", "5"), ("A fine, fine film!!", "5"), ("", "5"), ("dull from the first minute on", "1"),
    ("Dull, from the first minute on", "5"), ("well made and well played", ""), ("such a long evening it was", "1.0"),
]  # fmt: skip


def table(tmp_path: Path, header: str, rows: list[tuple], name: str = "reviews.csv"):
    path = tmp_path / name
    path.write_text("\n".join([header, *(",".join(f'"{cell}"' for cell in row) for row in rows)]) + "\n")
    return read_table(path)


def test_rows_are_counted_by_what_is_wrong_with_them(tmp_path):
    made = table(tmp_path, "review,stars", ROWS)
    assert columns(made, ["review"], "stars") == (("review",), "stars")
    assert classes_of([made], "stars") == ("1", "5")
    seen = look(made, ["review"], "stars", ("1", "5"))
    assert (seen.rows, seen.classes, seen.empty, seen.unlabelled) == (7, {"1": 2, "5": 3}, 1, 1)
    assert (seen.duplicates, seen.contradictions, seen.labelled) == (1, 1, 5), "punctuation and case are no difference"
    assert seen.sentence() == (
        "7 rows; 1: 2, 5: 3; 3 to 6 words per text, median 5.5; 1 without a text; 1 without a label; "
        "1 with the text of an earlier row, 1 of them with another label"
    )


@pytest.mark.parametrize(
    ("header", "texts", "label"),
    [
        ("review,stars", "review", "stars"),
        ("id,review,stars", "review", "stars"),
        ("words,mark", "words", "mark"),
        ("stars,review,when", "review", "stars"),
    ],
)
def test_columns_that_can_only_be_meant_are_found(tmp_path, header, texts, label):
    names = header.split(",")
    rows = []
    for number in range(8):
        cells = {
            "id": str(number),
            "when": f"2024-01-0{number}",
            texts: f"text number {number}",
            label: str(number % 2),
        }
        rows.append(tuple(cells[name] for name in names))
    assert columns(table(tmp_path, header, rows), (), None) == ((texts,), label)


def test_columns_that_are_not_clear_are_listed(tmp_path):
    rows = [(f"a title {n}", f"a long body {n}", str(n % 2), str(n % 3)) for n in range(9)]
    made = table(tmp_path, "heading,prose,first,second", rows)
    with pytest.raises(FrontError, match=r"labels is not clear; name it by --label: 'heading', 'prose', 'first', 'sec"):
        columns(made, (), None)
    with pytest.raises(FrontError, match=r"texts is not clear; name it by --text: "):
        columns(made, (), "first")
    assert columns(made, ["heading", "prose"], "second") == (("heading", "prose"), "second")


@pytest.mark.parametrize(
    ("value", "name"),
    [(1, "1"), (1.0, "1"), ("1.0", "1"), ("01", "01"), (True, "true"), ("NA", "NA"), ("null", "null"), (None, ""),
     (" yes ", "yes"), ("", ""), (2.5, "2.5"), (-1, "-1")],
)  # fmt: skip
def test_a_label_is_a_word(value, name):
    assert label_text(value) == name


def test_raw_labels_keep_their_spelling(tmp_path):
    path = tmp_path / "d.jsonl"
    labels = [1, 1.0, True, " yes ", "yes", None, "1.0"]
    path.write_text("".join(json.dumps({"text": "t", "y": label}) + "\n" for label in labels))
    made = read_table(path)
    assert raw_labels([made], "y") == {"1": "1", "true": "true", " yes ": "yes", "yes": "yes"}
    assert classes_of([made], "y") == ("1", "true", "yes")


def test_numbers_are_in_order(tmp_path):
    made = table(tmp_path, "t,y", [("a b", str(n)) for n in (10, 9, 1, -2)])
    assert classes_of([made], "y") == ("-2", "1", "9", "10")


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("u.txt", "one text\n\nanother text\none text\n", ["review"]),
        ("u.csv", "review,when\none text,1\n,2\nanother text,3\n", ["review"]),
        ("u.jsonl", '{"body": "one text"}\n{"body": "another text"}\n', ["review"]),
    ],
)
def test_unlabelled_texts_are_read_from_any_form(tmp_path, name, content, texts):
    (tmp_path / name).write_text(content)
    assert read_unlabelled(tmp_path / name, texts) == ["one text", "another text"]


def test_unlabelled_pairs_are_joined_as_u_has_them(tmp_path):
    (tmp_path / "u.csv").write_text("a,b\none,two\n")
    assert read_unlabelled(tmp_path / "u.csv", ["a", "b"]) == ["one [SEP] two"]


def test_words_of_scripts_without_blanks_are_counted(tmp_path):
    made = table(tmp_path, "t,y", [("这家酒店非常好", "1"), ("糟糕的经历", "0")])
    assert look(made, ["t"], "y", ("0", "1")).sentence().endswith("5 to 7 words per text, median 6")
