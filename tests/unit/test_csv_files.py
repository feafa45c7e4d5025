"""CSV files: what is written is read back as it was; broken files are said in one line with file and row."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fute.artifacts import csv_bytes
from fute.code_hash import PACKAGE
from fute.csv_files import TableError, benchmark_seconds, read_rows, read_table, read_texts

BENCHMARK = "s\th:m:s\tmax_rss\n"


@pytest.fixture
def put(tmp_path: Path):
    def write(data: bytes | str) -> Path:
        path = tmp_path / "t.csv"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


@settings(max_examples=60)
@given(
    names=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=6), min_size=1
    ),
    number=st.floats(allow_nan=True, allow_infinity=True),
)
def test_texts_and_numbers_survive(tmp_path_factory, names, number):
    path = tmp_path_factory.getbasetemp() / "survive.csv"
    path.write_bytes(csv_bytes([{"model": name, "score": number} for name in names], exact=True))
    frame = read_table(path)
    assert frame["model"].tolist() == names
    assert all(value == number or (math.isnan(value) and math.isnan(number)) for value in frame["score"])


def test_types_follow_from_the_names_of_columns(put):
    frame = read_table(put("prompt,seed,cot,score,reason\n01,1,True,0.1,\nNA,2,False,,null\n"))
    assert frame.to_dict("list")["prompt"] == ["01", "NA"] and frame["reason"].tolist() == ["", "null"]
    assert [str(kind) for kind in frame.dtypes[["seed", "cot", "score"]]] == ["int64", "bool", "float64"]
    assert frame["score"][0] == 0.1 and math.isnan(frame["score"][1])
    empty = read_table(put("prompt,score\n"))
    assert list(empty) == ["prompt", "score"] and len(empty) == 0
    assert read_texts(put("a,b\n01,\n")).to_dict("records") == [{"a": "01", "b": ""}]
    assert list(read_rows(put("\ufeffa\n\n1\n"))) == [(3, {"a": "1"})]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "is empty"),
        ("a,a\n1,2\n", "row 1: names the column 'a' 2 times"),
        ("a,,\n1,2,3\n", "row 1: names the column '' 2 times"),
        ("a\nb\0c\n", "row 2: holds a NUL byte"),
        ("model,score\nm,1\nm\n", "row 3: has 1 cells under 2 names; correct it or make the file again"),
        (
            "model,score\nm,1,2\n",
            "row 2: has 3 cells under 2 names; put a cell that has ',' in it in quotes, correct it",
        ),
        ("model,score\nm,many\n", r"column score: 'many' is no number"),
        ("model,cot\nm,True\nm,yes\n", r"column cot: '\w+' is no number"),
        ('model\n"a', "row 2: is no CSV"),
        ('model\n"a" b\n', "row 2: is no CSV .*put a cell that has a quote in it in quotes, and write its own twice"),
        (b"model\n\xff\xfe\n", "is not UTF-8"),
        (b"\x00\x01\x02", r"row 1: names a column '\\x00\\x01\\x02', with a character that cannot be printed"),
    ],
)
def test_a_broken_table_is_said_in_one_line(put, data, said):
    with pytest.raises(TableError, match=rf"t\.csv.*({said})") as error:
        read_table(put(data))
    assert "\n" not in str(error.value) and ";" in str(error.value)


def test_a_long_text_is_a_cell(put):
    text = "word " * 40_000
    assert [row for _, row in read_rows(put(f"text\n{text}\n"))] == [{"text": text}]


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path.name), lambda path: None])
def test_what_is_no_file_is_said_in_one_line(tmp_path, make):
    make(tmp_path / "t.csv")
    with pytest.raises(TableError, match=r"^.*t\.csv: cannot be read \([\w ]+\); make it, or give read access$"):
        read_table(tmp_path / "t.csv")


def test_seconds_of_benchmarks(put, tmp_path):
    assert benchmark_seconds(put(f"{BENCHMARK}1.5\t0:00:01\t-\n2\t0:00:02\tNA\n")) == 3.5
    assert math.isnan(benchmark_seconds(put(""))) and math.isnan(benchmark_seconds(tmp_path / "none.tsv"))
    for line in ("-\t0\t1", "\t0\t1"):
        with pytest.raises(TableError, match=r"column s: '.?' is no number of seconds; delete the file"):
            benchmark_seconds(put(f"{BENCHMARK}{line}\n"))
    with pytest.raises(TableError):
        benchmark_seconds(put("x\n1\n"))


def test_pandas_reads_and_writes_no_csv_by_its_own_rules():
    """Its reader takes `null` for a missing value and `01` for 1."""
    offenders = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"pd\.read_csv|pandas\.read_csv|read_table\(.*sep=|\.to_csv\(", path.read_text(encoding="utf8"))
    }
    assert offenders == set()


def test_empty_text_is_shown_as_missing():
    from fute.paper.grids import list_grid

    frame = pd.DataFrame({"method": ["MI", "Random"], "selected": ["null", ""], "verdict": ["", ""]})
    labels = {"method": "Method", "selected": "Prompt", "verdict": "Verdict"}
    grid = list_grid(frame, "C", name="method", groups=[], labels=labels)
    assert [head.text for head in grid.head[0]] == ["Method", "Prompt"]
    assert [row.cells[0].text for row in grid.groups[0].rows] == ["null", "–"]
