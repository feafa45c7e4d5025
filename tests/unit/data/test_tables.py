"""The same rows in every form of file; words stay words."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fute.config.datasets import DatasetSettings
from fute.data import tables
from fute.data.rows import BadRow, SourceError
from fute.data.sources import load_dataset_rows, source_identity
from fute.data.splits import normalise
from fute.data.tables import READERS, read_table_rows

ROWS = [
    {"review": 'good,\nor "so"', "stars": "5"},
    {"review": "NA", "stars": "null"},
    {"review": "None", "stars": "True"},
]
ENTRY = DatasetSettings.model_validate(
    {"title": "T", "category": "cr", "fields": ["review"], "label_field": "stars", "classes": ["a", "b"],
     "labels": {"1": "a", "5": "b"}, "splits": {"train": "train", "test": "test"}}
)  # fmt: skip


def quoted(separator: str, end: str) -> str:
    lines = [
        separator.join(ROWS[0]),
        *(separator.join('"' + v.replace('"', '""') + '"' for v in r.values()) for r in ROWS),
    ]
    return end.join(lines) + end


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize(("ending", "text"), [
    (".csv", quoted(",", "\n")), (".csv", quoted(",", "\r\n")), (".tsv", quoted("\t", "\n")),
    (".json", json.dumps(ROWS)), (".jsonl", "\n".join(map(json.dumps, ROWS))),
])  # fmt: skip
def test_every_form_gives_the_same_rows(tmp_path, ending, text, start):
    path = tmp_path / f"train{ending}"
    path.write_text(start + text, encoding="utf8", newline="")
    assert [row for _, row in read_table_rows(path)] == ROWS


def test_parquet_gives_the_same_rows(tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "train.parquet")
    assert [row for _, row in read_table_rows(tmp_path / "train.parquet")] == ROWS
    (tmp_path / "train.parquet").write_bytes(b"no parquet")
    with pytest.raises(SourceError, match="is no Parquet file"):
        list(read_table_rows(tmp_path / "train.parquet"))


@pytest.mark.parametrize(("name", "text", "error", "message"), [
    ("a.json", "{", SourceError, "is not JSON"),
    ("a.json", "{}", SourceError, "holds a dict, not a list of objects; save the rows"),
    ("a.json", '{"a": 1}\n{"a": 2}\n', SourceError, "not a list of objects; name JSON lines `.jsonl`"),
    ("a.json", '[{"a": 1}, {"a": ]', SourceError, "is not JSON .*after row 1.; correct it"),
    ("a.json", '[{"a": 1}', SourceError, "is not JSON .*after row 1"),
    ("a.json", '[{"a": 1}] {}', SourceError, "is not JSON .more text after the list"),
    ("a.json", "", SourceError, "is not JSON"),
    ("a.json", "[" * 200_000, SourceError, "is not JSON .*recursion"),
    ("a.json", "[1]", BadRow, "row 1: is a int, not an object"),
    ("a.json", r'[{"a": "b"}, {"a": ["x \ud83d"]}]', BadRow, r"row 2, field 'a': holds half a character \(.ud83d\)"),
    ("a.json", r'[{"a": "x \u0000"}]', BadRow, "row 1, field 'a': holds a NUL character"),
    ("a.json", '[{"a": %s}]' % ("1" * 5000), BadRow, "row 1, field 'a': is a number of 5000 digits"),
    ("a.json", '[{"a": 1, "a": 2}]', BadRow, "row 1, field 'a': is given twice"),
    ("a.json", '[{"a": NaN}]', BadRow, "row 1, field 'a': is NaN, which is no JSON"),
    ("a.csv", "x,y\n1\n", SourceError, "row 2: has 1 cells under 2 names"),
    ("a.csv", "x,x\n1,2\n", SourceError, "names the column .x. 2 times; give each column a name of its own"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, text, error, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        list(read_table_rows(tmp_path / name))


def test_a_quote_that_is_text_does_not_take_other_rows_in(tmp_path):
    """As in a TSV file that somebody wrote without quoting: a quote begins one text and another one ends one."""
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\nfine\t1\n"Not bad, he said.\t1\nBad\t0\nNever again."\t0\n')
    with pytest.raises(BadRow, match=r"a.tsv, row 3, field 'text': holds tabs and line breaks, so it may be several"):
        list(read_table_rows(path))


def test_parquet_is_refused_for_what_the_other_forms_are(tmp_path):
    path = tmp_path / "a.parquet"

    def refused(table: pyarrow.Table) -> str:
        pyarrow.parquet.write_table(table, path)
        with pytest.raises((BadRow, SourceError)) as caught:
            list(read_table_rows(path))
        return str(caught.value)

    assert "a.parquet, row 2, field 'a': holds a NUL character" in refused(pyarrow.table({"a": ["x", "y\0"]}))
    twice = pyarrow.table([pyarrow.array(["x"]), pyarrow.array(["y"])], names=["a", "a"])
    assert "a.parquet: has several columns 'a'" in refused(twice)
    lengths = pyarrow.array([0, 1], pyarrow.int32()).buffers()[1]
    latin = pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, lengths, pyarrow.py_buffer(b"\xe9")])
    assert "a.parquet: is no Parquet file that can be read ('utf-8' codec" in refused(pyarrow.table({"a": latin}))


def test_rows_have_one_number_in_all_errors_of_a_file(tmp_path):
    (tmp_path / "own").mkdir()
    for split in ("train", "test"):
        (tmp_path / f"own/{split}.csv").write_text("review,stars\n\ngood,5\nbad,7\n")
    raw = load_dataset_rows("own", ENTRY, source="files", root=tmp_path)
    with pytest.raises(BadRow, match=r"train.csv, row 4, field 'stars': has the unknown label '7'"):
        normalise("own", ENTRY, raw)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.dictionaries(TEXT, TEXT | NUMBER | st.booleans() | st.none())),
       st.integers(1, 9), st.sampled_from([None, 1]))  # fmt: skip
def test_a_list_is_read_in_pieces_of_any_length(rows, piece, indent):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "CHUNK", piece)
        path = Path(folder) / "a.json"
        path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), encoding="utf8")
        assert [row for _, row in read_table_rows(path)] == rows


def test_a_folder_may_hold_any_of_them_and_one_of_each_split(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    with pytest.raises(SourceError, match=r"train.jsonl: does not exist, nor one that ends in .jsonl.gz, .json, .csv"):
        source_identity("own", ENTRY, "files", tmp_path)
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("review,stars\ngood,5\nbad,1\n")
    rows = load_dataset_rows("own", ENTRY, source="files", root=tmp_path)
    assert [row.values for row in rows.train] == [{"review": "good", "stars": "5"}, {"review": "bad", "stars": "1"}]
    (folder / "train.tsv").write_text("review\tstars\ngood\t5\n")
    with pytest.raises(SourceError, match=r"train.csv and train.tsv: both exist, keep one"):
        source_identity("own", ENTRY, "files", tmp_path)
    assert len(READERS) == 6


@pytest.mark.parametrize(("known", "raw"), [
    ("1", 1), ("1", 1.0), ("1", "1.0"), ("1.0", 1), ("True", True), ("true", True), ("true", "true"), ("NA", "NA"),
])  # fmt: skip
def test_a_label_is_known_however_it_is_written(known, raw):
    entry = ENTRY.model_copy(update={"labels": {known: "a", "5": "b"}})
    assert entry.class_of(raw) == "a"


def test_another_label_is_not_known():
    entry = ENTRY.model_copy(update={"labels": {"1": "a", "0": "b"}})
    assert [entry.class_of(raw) for raw in (1.5, "one", True, False, None, "-1.0")] == [None] * 6
    assert entry.is_unlabelled("-1") and entry.is_unlabelled(-1.0) and not entry.is_unlabelled(1)
