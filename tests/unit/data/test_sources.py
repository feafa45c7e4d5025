"""Labelled datasets: raw files to rows, every way in which a file or an entry can be wrong, the hub path."""

import gzip
import hashlib
import json
import random
import unicodedata
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow.parquet
import pytest
from huggingface_hub import HfApi
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.categories import CONTEXT
from support.raw_rows import memory

from fute.artifacts import content_key
from fute.config import strict_yaml
from fute.config.datasets import DatasetSettings
from fute.data import hub, sources
from fute.data.normalise_test_step import normalise_test
from fute.data.rows import BadRow, Row, SourceError, alphanumeric, at, overlap_key, read_raw_jsonl
from fute.data.sources import check_planned, load_dataset_rows, source_identity
from fute.data.splits import SplitSettings, normalise

REGISTRY = Path(__file__).parents[3] / "config" / "datasets.yaml"


def entry(**changes):
    return {
        "title": "Reviews",
        "category": "sa",
        "fields": ["text"],
        "label_field": "label",
        "labels": ["negative", "positive"],
        "classes": ["negative", "positive"],
        "splits": {"train": "train", "test": "test"},
    } | changes


def settings(**changes):
    return DatasetSettings.model_validate(entry(**changes), context=CONTEXT)


NLI = {
    "category": "nli",
    "fields": ["premise", "hypothesis"],
    "labels": ["entailment", "contradiction", "neutral"],  # CommitmentBank's order
    "classes": ["entailment", "neutral", "contradiction"],
}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    data = text.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def whole_lock(raw):
    for _ in (*raw.train, *raw.test):
        pass
    return raw.lock


def reviews(words, label=None):
    return [{"text": f"{word} {n}", "label": n % 2 if label is None else label} for n, word in enumerate(words)]


def test_files_are_read_normalised_and_locked(tmp_path):
    write(tmp_path / "reviews" / "train.jsonl", reviews(["good"] * 20))
    write(tmp_path / "reviews" / "more.jsonl.gz", [{"text": " Très bon.\u2028Oui ", "label": 1}])
    write(tmp_path / "reviews" / "test.jsonl", reviews(["bad"] * 4))
    one = settings(splits={"train": ["train", "more"], "test": "test"})
    raw = load_dataset_rows("reviews", one, source="files", root=tmp_path)
    rows, counts = normalise("reviews", one, raw)
    by_id = {row.id: row for split in rows.values() for row in split}
    assert by_id["reviews/train/3"] == Row("reviews/train/3", ("good 3",), "positive")
    assert by_id["reviews/more/0"].segments == ("Très bon.\u2028Oui",)  # outer whitespace alone is cut
    assert [row.id for row in rows["test"]] == [f"reviews/test/{n}" for n in range(4)]
    assert {split: len(kept) for split, kept in rows.items()} == {"train": 19, "dev": 2, "test": 4}
    assert counts["test"] == {"raw": 4, "unlabelled": 0, "kept": 4, "classes": {"negative": 2, "positive": 2}}
    locked = raw.lock["files"][1]
    data = (tmp_path / "reviews" / "more.jsonl.gz").read_bytes()
    assert locked == {
        "split": "more",
        "rows": 1,
        "path": "reviews/more.jsonl.gz",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }


def test_cb_labels_are_mapped_by_value_not_by_class_order():
    pairs = [{"premise": f"p{n}", "hypothesis": "h", "label": n % 3} for n in range(12)]
    raw = memory(pairs, [pair | {"hypothesis": "x"} for pair in pairs])
    rows, _ = normalise("cb", settings(**NLI), raw)
    assert [row.label for row in rows["test"][:3]] == ["entailment", "contradiction", "neutral"]


@given(train=st.integers(2, 300), test=st.integers(1, 300), wanted=st.integers(1, 400), seed=st.integers(0, 99))
def test_splits_are_those_of_a_seeded_shuffle(train, test, wanted, seed):
    raw = memory(reviews(["good"] * train), reviews(["bad"] * test))
    rows, counts = normalise("d", settings(), raw, test_rows=wanted, seed=seed, dev_share=0.5)
    order = list(range(test))
    random.Random(seed).shuffle(order)
    assert [row.id for row in rows["test"]] == [f"d/test/{n}" for n in sorted(order[:wanted])]
    order = list(range(train))
    random.Random(seed).shuffle(order)
    dev = round(train / 2)
    assert [row.id for row in rows["dev"]] == [f"d/train/{n}" for n in sorted(order[:dev])]
    assert [row.id for row in rows["train"]] == [f"d/train/{n}" for n in sorted(order[dev:])]
    assert counts["train"]["kept"] + counts["dev"]["kept"] == train


def test_the_registry_sample_applies_unless_the_caller_says_otherwise():
    raw = memory(reviews(["good"] * 10), reviews(["bad"] * 50))
    assert len(normalise("d", settings(sample=7), raw).rows["test"]) == 7
    assert len(normalise("d", settings(sample=7), raw, test_rows=9).rows["test"]) == 9
    assert normalise("d", settings(), raw, dev_share=0).rows["dev"] == []
    many = memory(reviews(["good"] * 10), reviews(["bad"] * 1200))
    assert [len(normalise("d", settings(**own), many).rows["test"]) for own in ({}, {"sample": None})] == [1000, 1200]


def test_fewer_training_rows_are_a_seeded_draw_of_which_a_share_is_held_out():
    raw = memory(reviews(["good"] * 50), reviews(["bad"] * 3))
    order = list(range(50))
    random.Random(7).shuffle(order)
    drawn = {f"d/train/{n}" for n in order[:20]}
    rows, counts = normalise("d", settings(), raw, train_rows=20, dev_share=0.25, seed=7)
    assert {row.id for row in [*rows["train"], *rows["dev"]]} == drawn
    assert (counts["train"]["kept"], counts["dev"]["kept"]) == (15, 5)
    assert normalise("d", settings(), raw, train_rows=80, seed=7) == normalise("d", settings(), raw, seed=7)


def test_texts_of_test_splits_leave_train_and_dev():
    train = reviews(["good"] * 20)
    train[3]["text"], train[4]["text"], train[5]["text"] = "It's a FINE film, really!", "so  so", "So so"
    raw = memory(train, [{"text": "it 's a fine film , really", "label": 1}, {"text": "other", "label": 0}])
    # sampled down to one test row, the other must still not stand in train
    for wanted in (1, 2):
        rows, counts = normalise("d", settings(), raw, test_rows=wanted, exclude={overlap_key(["so so"])})
        assert counts["train"]["in_own_test"] == 1
        assert counts["train"]["excluded"] == 2
        kept = {row.id for row in [*rows["train"], *rows["dev"]]}
        assert kept == {f"d/train/{n}" for n in range(20) if n not in (3, 4, 5)}


def test_train_rows_that_share_a_premise_with_test_are_dropped_where_the_entry_says_so(tmp_path):
    train = [{"premise": f"The premise number {n}.", "hypothesis": f"h{n}", "label": n % 3} for n in range(9)]
    test = [{"premise": "the premise number 4", "hypothesis": "another", "label": 0}]
    write(tmp_path / "anli_r3" / "validation.jsonl", train)
    write(tmp_path / "anli_r3" / "test.jsonl", test)
    files = {"folder": "anli_r3", "splits": {"train": "validation", "test": "test"}, "drop_shared": ["premise"]}
    one = settings(**NLI, files=files)
    raw = load_dataset_rows("anli", one, source="files", root=tmp_path)
    rows, counts = normalise("anli", one, raw)
    assert counts["train"]["shares_field_with_test"] == 1
    assert "anli/validation/4" not in {row.id for row in [*rows["train"], *rows["dev"]]}
    assert len(normalise("anli", settings(**NLI), memory(train, test)).rows["train"]) == 8  # 9 of 9, one of them dev


def test_unlabelled_rows_are_dropped_up_to_a_tenth():
    train = reviews(["good"] * 10)
    train[2]["label"] = -1
    rows, counts = normalise("d", settings(), memory(train, reviews(["bad"])))
    assert counts["train"]["unlabelled"] == 1
    assert "d/train/2" not in {row.id for row in [*rows["train"], *rows["dev"]]}
    train[3]["label"] = -1
    with pytest.raises(SourceError, match="d, split train: 2 of 10 rows are unlabelled"):
        normalise("d", settings(), memory(train, reviews(["bad"])))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label": 1}, r"train.jsonl, row 2, field 'text': is missing \(there are: label\)"),
        ({"text": "a"}, r"row 2, field 'label': is missing"),
        ({"text": "a", "label": 2}, r"row 2, field 'label': has the unknown label 2; .*known: 0, 1"),
        ({"text": "a", "label": None}, r"row 2, field 'label': is None, neither text nor number"),
        ({"text": "a", "label": 1.5}, r"row 2, field 'label': has the unknown label 1.5"),
        ({"text": " \t", "label": 1}, r"row 2, field 'text': is empty"),
        ({"text": 7, "label": 1}, r"row 2, field 'text': is of type int, not a text"),
    ],
)
def test_bad_rows_name_file_row_and_field(row, message):
    with pytest.raises(BadRow, match=message):
        normalise("d", settings(), memory([{"text": "a", "label": 1}, row], reviews(["bad"])))


def test_a_dataset_without_a_row_left_is_an_error():
    with pytest.raises(SourceError, match="d, split train: no rows are left"):
        normalise("d", settings(), memory([], reviews(["same"] * 3)))


def test_more_than_a_tenth_of_train_in_test_is_an_error_that_names_the_twins():
    train = reviews(["good"] * 20)
    for n in (3, 4):
        train[n]["text"] = f"Film {n}\u00a0😀"
    test = [{"text": f"film {n} 😀", "label": 0} for n in (4, 3, 9)]
    rows, counts = normalise("d", settings(), memory(train, test), dev_share=0)
    assert counts["train"]["in_own_test"] == 2 and len(rows["train"]) == 18
    train[5]["text"] = "FILM 9 😀"
    said = (
        r"^d: 3 of 20 training rows hold a text of the test split, more than 10%: "
        r"d/train/3 'Film 3\\xa0😀' is d/test/1 'film 3 😀'; d/train/4 .* is d/test/0 .*; d/train/5 'FILM 9 😀' is "
        r"d/test/2 'film 9 😀'; remove the copies from one of the two splits$"
    )
    with pytest.raises(SourceError, match=said):
        normalise("d", settings(), memory(train, test))


def test_copies_within_a_split_that_both_are_drawn_from():
    held_out = settings(category="cr", splits={"train": "train"}, heldout_share=0.5)
    said = r"a text of those that are held out of the same split, .* is d/train/\d 'same'; remove the repeated rows$"
    with pytest.raises(SourceError, match=said):
        normalise("d", held_out, memory([{"text": "same", "label": n % 2} for n in range(6)], []))


def test_texts_without_ascii_letters_are_not_one_text():
    train = ["😀", "😡", "👍", "👎", ":-)", ":-(", "है", "हो", "ดี", "ดุ", "C++", "+1", "-1", "?", "좋아", "最高", "最低"]
    test = ["!!!", "ही", "ดื้", "C#", "👌", "좋다", "最", "…"]
    raw = memory(reviews(train), reviews(test))
    rows, counts = normalise("d", settings(), raw, dev_share=0)
    assert counts["train"]["in_own_test"] == 0 and len(rows["train"]) == len(train)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ｆｕｌｌ width", "full  WIDTH"),  # NFKC, case, blanks
        ("Straße", "STRASSE"),
        ("e\u0301te\u0301", "été"),
        ("a\u00a0b\n c", "a b c"),
        ('It\'s a parsed text -- of "quotes".', "it 's a parsed text - of `` quotes '' ."),
        ("ahhhh . . . revenge is sweet !", "ahhhh ... revenge is sweet !"),
        ("यह फिल्म सच में बहुत अच्छी है।", "यह फिल्म सच में बहुत अच्छी है"),
    ],
)
def test_the_same_text_in_other_type_has_one_key(one, other):
    assert overlap_key([one]) == overlap_key([other])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["good film!"], ["good film"]),  # a short text may differ in its marks alone
        (["यह फिल्म सच में बहुत अच्छी है"], ["यह फिल्म सच में बहुत अच्छा है"]),
        (["I went to see this film 😀"], ["I went to see this film 😡"]),
        (["the price rose by 1000 + 1"], ["the price rose by 1000 = 1"]),
        (["a b", "c"], ["a", "b c"]),
        (["ก่อนนี้ไม่เคยเห็นเลย"], ["ก้อนนี้ไม่เคยเห็นเลย"]),
    ],
)
def test_other_texts_have_other_keys(one, other):
    assert overlap_key(one) != overlap_key(other)


@given(st.text(max_size=40), st.text(max_size=40))
def test_texts_of_one_key_have_the_same_letters(one, other):
    if overlap_key([one]) == overlap_key([other]):
        fold = [unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", t).casefold()) for t in (one, other)]
        assert alphanumeric(fold[0]) == alphanumeric(fold[1])


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n[2]\n', r"a.jsonl, row 2: is a JSON list, not an object"),
        ("a.jsonl", b'{"a": 1}\n{"a"\n', r"row 2: is not JSON"),
        ("a.jsonl", b'{"a": 1}\n\n{"a": 2}\n', r"row 2: is not JSON"),
        ("a.jsonl", b'{"a": "\xff"}\n', r"row 1: is not UTF-8"),
        ("a.jsonl", '{"a": 1}\n'.encode("utf-16"), r"row 1: is not UTF-8"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\\ud83d"}\n', r"row 2, field 'a': holds half a character \(\\ud83d\)"),
        ("a.jsonl", b'{"a": [{"b": "x\\udc00y"}]}\n', r"row 1, field 'a': holds half a character \(\\udc00\)"),
        ("a.jsonl", b'{"a": {"\\ud83d": 1}}\n', r"row 1, field 'a': holds half a character"),
        ("a.jsonl", b'{"\\ud83d": 1}\n', r"row 1, field '\\\\ud83d': holds half a character"),
        ("a.jsonl", b'{"a": "x\\u0000y"}\n', r"row 1, field 'a': holds a NUL character"),
        ("a.jsonl", b'{"a": "x\0y"}\n', r"row 1: holds a NUL byte"),
        ("a.jsonl", b"\0" * 99, r"row 1: holds a NUL byte"),
        ("a.jsonl", b'{"a": 1, "b": ' + b"9" * 5000 + b"}\n", r"row 1, field 'b': is a number of 5000 digits"),
        ("a.jsonl", b'{"a": [-' + b"9" * 400 + b"]}\n", r"row 1, field 'a': is a number of 401 digits"),
        ("a.jsonl", b'{"a": 1e999}\n', r"row 1, field 'a': is 1e999, beyond the range"),
        ("a.jsonl", b'{"a": NaN}\n', r"row 1, field 'a': is NaN, which is no JSON"),
        ("a.jsonl", b'{"a": -Infinity}\n', r"row 1, field 'a': is -Infinity, which is no JSON"),
        ("a.jsonl", b'{"a": 1, "b": 2, "a": 3}\n', r"row 1, field 'a': is given twice"),
        ("a.jsonl", b'{"a": {"c": 1, "c": 1}}\n', r"row 1, field 'a': is given twice"),
        ("a.jsonl", b'{"a": ' + b"[" * 100_000 + b"\n", r"row 1: is nested too deeply"),
        ("a.jsonl", b'{"a":' * 100_000 + b"\n", r"row 1: is nested too deeply"),
        ("a.jsonl.gz", b'{"a": 1}\n', r"row 1: broken gzip"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 9, mtime=0)[:-9], r"broken gzip"),
    ],
)
def test_broken_files_name_the_row(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadRow, match=message):
        list(read_raw_jsonl(tmp_path / name))


def test_pairs_of_escapes_and_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00", "b": [1.5, null, {}]}\n{"a": "\\ufeff"}\n')
    assert [value for _, value in read_raw_jsonl(path)] == [{"a": "😀", "b": [1.5, None, {}]}, {"a": "\ufeff"}]


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path.name), lambda path: None])
def test_what_is_no_file_is_said_in_one_line(tmp_path, make):
    make(tmp_path / "a.jsonl")
    with pytest.raises(
        SourceError, match=r"^.*a\.jsonl: cannot be read \([\w ]+\); correct the path, or give read access$"
    ):
        list(read_raw_jsonl(tmp_path / "a.jsonl"))


def test_a_step_refuses_files_that_changed_after_planning(tmp_path):
    write(tmp_path / "d" / "train.jsonl", reviews(["good"] * 9))
    write(tmp_path / "d" / "test.jsonl", reviews(["bad"] * 3))
    planned = source_identity("d", settings(), "files", tmp_path)
    check_planned(planned, whole_lock(load_dataset_rows("d", settings(), source="files", root=tmp_path)), "d")
    write(tmp_path / "d" / "test.jsonl", reviews(["BAD"] * 3))
    read = whole_lock(load_dataset_rows("d", settings(), source="files", root=tmp_path))
    with pytest.raises(SourceError, match=r"^d: d/test\.jsonl changed while the run was being prepared; run again$"):
        check_planned(planned, read, "d")
    assert source_identity("d", settings(), "files", tmp_path) != planned


def test_missing_files_say_what_to_do(tmp_path):
    with pytest.raises(
        SourceError, match=r"/train\.jsonl: does not exist, nor .*, neither does test\.jsonl; put the file there"
    ):
        load_dataset_rows("d", settings(), source="files", root=tmp_path)
    with pytest.raises(SourceError, match=r"set data\.root"):
        load_dataset_rows("d", settings(), source="files", root=None)
    write(tmp_path / "d" / "train.jsonl", [])
    write(tmp_path / "d" / "train.jsonl.gz", [])
    with pytest.raises(SourceError, match=r"train\.jsonl and train\.jsonl\.gz: both exist, keep one"):
        source_identity("d", settings(), "files", tmp_path)
    with pytest.raises(SourceError, match="has no hub entry"):
        load_dataset_rows("d", settings(), source="hub", root=None)


def test_identity_follows_the_bytes_and_nothing_else(tmp_path):
    first, second = tmp_path / "one", tmp_path / "two"
    for root in (first, second):
        write(root / "d" / "train.jsonl", reviews(["good"] * 3))
        write(root / "d" / "test.jsonl", reviews(["bad"]))
    before = source_identity("d", settings(), "files", first)
    assert before == source_identity("d", settings(), "files", second)
    write(second / "d" / "test.jsonl", reviews(["worse"]))
    assert before != source_identity("d", settings(), "files", second)
    pinned = settings(hub={"repo": "a/b", "config": "c", "revision": "0" * 40})
    expected = {"source": "hub", "repo": "a/b", "config": "c", "revision": "0" * 40}
    assert source_identity("d", pinned, "hub", None) == expected


def test_builtin_datasets_are_read_from_the_project(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BUILTIN_ROOT", tmp_path)
    write(tmp_path / "d" / "train.jsonl", reviews(["good"] * 3))
    write(tmp_path / "d" / "test.jsonl", reviews(["bad"]))
    one = settings(files={"folder": "elsewhere"})  # says nothing about what ships
    raw = load_dataset_rows("d", one, source="builtin", root=None)
    assert len(list(raw.train)) == 3 and raw.lock["files"][0]["path"] == "d/train.jsonl"


def snapshot(folder):
    for split, rows in (("train", reviews(["good"] * 12)), ("test", reviews(["bad"] * 3))):
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).assign(idx=1).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_a_row_of_a_hub_that_is_no_json_is_one_unusable_row(tmp_path, cache):
    (tmp_path / "own").mkdir()
    for split in ("train", "test"):
        scores = [*map(float, range(5)), float("nan")]
        table = pyarrow.table({"text": [f"{split} {n}" for n in range(6)], "score": scores})
        pyarrow.parquet.write_table(table, tmp_path / f"own/{split}.parquet")
    one = settings(
        task="regression", metric="spearman", scale={"low": 0, "high": 5, "step": 1}, labels={}, classes=[],
        category="cr", label_field="score", max_unusable={"share": 0.5, "rows": 1}, hub={"repo": f"{tmp_path}/own"},
    )  # fmt: skip
    raw = load_dataset_rows("d", one, source="hub", root=None)
    rows, counts = normalise("d", one, raw, dev_share=0)
    assert [row.value for row in rows["train"]] == [0, 1, 2, 3, 4]
    assert "row 6, field 'score': is nan, not a number" in counts["train"]["unusable"][0]
    assert raw.lock == whole_lock(load_dataset_rows("d", one, source="hub", root=None))
    assert len({split["fingerprint"] for split in raw.lock["splits"]}) == 2


def test_an_absolute_folder_in_the_registry_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"d: files\.folder /data/d is absolute; write a folder below"):
        source_identity("d", settings(files={"folder": "/data/d"}), "files", tmp_path)


def test_a_hub_snapshot_folder_is_read(tmp_path, cache):
    folder = snapshot(tmp_path / ".cache" / "reviews-snapshot")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "download.lock").touch()
    one = settings(hub={"repo": str(folder)})
    raw = load_dataset_rows("d", one, source="hub", root=None)
    rows, _ = normalise("d", one, raw)
    assert rows["test"][1] == Row("d/test/1", ("bad 1",), "positive")
    assert len([*rows["train"], *rows["dev"]]) == 12
    assert raw.lock["repo"] == "reviews-snapshot"  # no path of this machine
    assert {f["path"] for f in raw.lock["files"]} == {f"{s}-00000-of-00001.parquet" for s in ("train", "test")}
    assert [(s["split"], s["rows"]) for s in raw.lock["splits"]] == [("train", 12), ("test", 3)]
    assert raw.lock["splits"][1]["fingerprint"] == content_key(reviews(["bad"] * 3))
    assert source_identity("d", one, "hub", None)["files"] == raw.lock["files"]
    bad = settings(hub={"repo": str(folder), "splits": {"train": "train", "test": "validation"}})
    with pytest.raises(SourceError, match="split validation: cannot be loaded"):
        load_dataset_rows("d", bad, source="hub", root=None)
    bad = settings(hub={"repo": str(folder)}, label_field="gold")
    with pytest.raises(SourceError, match="has no column 'gold', only text, label, idx"):
        load_dataset_rows("d", bad, source="hub", root=None)
    with pytest.raises(SourceError, match="missing or empty"):
        source_identity("d", settings(hub={"repo": "./no-such-folder"}), "hub", None)


def test_a_folder_of_a_branch_is_read_and_its_columns_renamed(tmp_path, cache):
    for folder, word in (("sentences_allagree", "good"), ("sentences_50agree", "bad")):
        path = tmp_path / "mirror" / folder / "train"
        path.mkdir(parents=True)
        frame = pd.DataFrame(reviews([word] * 10)).rename(columns={"text": "sentence"})
        frame.to_parquet(path / "0000.parquet")  # as on the branch refs/convert/parquet
    place = {"repo": str(tmp_path / "mirror"), "folder": "sentences_allagree", "rename": {"sentence": "text"}}
    one = settings(category="cr", splits={"train": "train"}, heldout_share=0.5, hub=place)
    raw = load_dataset_rows("d", one, source="hub", root=None)
    train = list(raw.train)
    assert (len(train), list(raw.test)) == (10, [])
    assert train[1].values == {"text": "good 1", "label": 1}
    remote = settings(hub={"repo": "a/b", "branch": "refs/convert/parquet", "folder": "f"})
    identity = source_identity("d", remote, "hub", None)
    assert identity["branch"] == "refs/convert/parquet" and identity["folder"] == "f"
    assert "branch" not in source_identity("d", settings(hub={"repo": "a/b"}), "hub", None)


def test_a_null_revision_is_resolved_and_locked(tmp_path, cache, monkeypatch):
    folder, asked = snapshot(tmp_path / "remote"), []
    load = hub.load_dataset

    class Api:
        def dataset_info(self, repo, revision):
            assert (repo, revision) == ("a/b", "refs/convert/parquet")
            return SimpleNamespace(sha="a" * 40)

    def remote(repo, config, *, split, revision, **_):
        asked.append((repo, config, split, revision))
        return load(str(folder), split=split)

    monkeypatch.setattr(hub, "load_dataset", remote)
    monkeypatch.setattr(hub, "HfApi", Api)
    one = settings(hub={"repo": "a/b", "config": "c", "branch": "refs/convert/parquet"})
    raw = load_dataset_rows("d", one, source="hub", root=None)
    assert raw.lock["revision"] == "a" * 40
    assert asked == [("a/b", "c", "train", "a" * 40), ("a/b", "c", "test", "a" * 40)]


def test_the_step_reads_the_commit_of_the_runs_lock(tmp_path, cache, monkeypatch):
    folder, asked = snapshot(tmp_path / "remote"), []
    load = hub.load_dataset
    monkeypatch.setattr(hub, "HfApi", None)  # nothing is asked of the hub
    monkeypatch.setattr(
        hub,
        "load_dataset",
        lambda *_, split, revision, **__: (asked.append(revision), load(str(folder), split=split))[1],
    )
    monkeypatch.chdir(tmp_path)
    locked = {"source": "hub", "repo": "a/b", "revision": "b" * 40}
    lock = {"run": "mine", "datasets": {"d": locked}, "unsup": {}, "models": {}}
    Path("mine.json").write_text(json.dumps(lock))
    one = settings(hub={"repo": "a/b"})
    split = SplitSettings(dataset="d", entry=one, source="hub", test_rows=None, train_rows=None, dev_share=0, seed=1)
    files = {"test": Path("results/data/d/test.jsonl.gz"), "lock": Path("results/data/d/source.lock.json")}
    normalise_test(split, source={"source": "hub"}, root=tmp_path, own={}, run_lock=Path("mine.json"), **files)
    assert set(asked) == {"b" * 40} == {json.loads(files["lock"].read_text())["revision"]}


def test_an_unreachable_hub_is_an_error_that_helps(monkeypatch):
    nobody = partial(HfApi, endpoint="http://127.0.0.1:1")  # a port that nothing listens on
    monkeypatch.setattr(hub, "HfApi", nobody)
    with pytest.raises(SourceError, match=r"a/b: its revision cannot be read .* use source: files"):
        hub.resolve_revision("a/b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["positive", "negative"]}, "classes must be"),
        ({"fields": ["a", "b"]}, "fields must name 1 text field"),
        ({"labels": {"0": "negative"}}, "labels must map to every class"),
        ({"labels": ["negative", "positive", "mixed"]}, "and to nothing else"),
        ({"unlabelled": ["1"]}, "in labels and in unlabelled"),
        ({"files": {"drop_shared": ["premise"]}}, "not in fields"),
        ({"hub": {"repo": "a/b", "revision": "main"}}, "hub.revision"),
        ({"splits": {"train": [], "test": "test"}}, "splits.train"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_registry_entries_that_contradict_themselves_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        settings(**changes)


def shipped():
    values = strict_yaml.load(REGISTRY.read_text(encoding="utf-8"))
    return {key: DatasetSettings.model_validate(value, context=CONTEXT) for key, value in values.items()}


def test_the_shipped_registry_is_sound():
    registry = shipped()
    assert registry["cb"].label_map == {"0": "entailment", "1": "contradiction", "2": "neutral"}
    for key, one in registry.items():
        assert (one.hub is not None) == (not key.startswith("mini-") and key not in {"newsqa", "comqa", "cq"})
        assert (one.obtain is not None) == (key in {"newsqa", "comqa", "cq"})
        assert all(key in registry[other].overlaps for other in one.overlaps), key  # overlap is symmetric


def test_the_shipped_registry_has_the_papers_datasets():
    registry = shipped()
    llm = {"rotten-tomatoes", "imdb", "sst2", "wanli", "cb", "anli"}
    cr = {"snli", "mnli", "qqp", "qnli", "sst2", "scitail", "cola", "stsb", "mrpc", "rte", "wnli"}
    qa = {"squad2", "newsqa", "hotpotqa", "squad1", "duorc-p", "duorc-s", "drop", "wikihop", "boolq", "comqa", "cq"}
    domain = {"financial-phrasebank", "mqp", "medqa"}
    shipped_texts = {key for key in registry if key.startswith("mini-")}  # test_builtin_texts knows them
    letters = {f"{key}-ab" for key in ("sst2", "phrasebank", "scitail", "rte", "cola", "qnli", "qqp", "mqp")}
    assert set(registry) == llm | cr | qa | domain | shipped_texts | {"boolq-span", "phrasebank-2"} | letters
    assert {registry[key].classes for key in letters} == {("A", "B")}
    assert {key for key, one in registry.items() if one.vu_size is not None} == cr | qa | {"boolq-span"}
    assert {key for key, one in registry.items() if one.domain} == domain
    assert {key for key in cr | qa if registry[key].group == "qa"} == qa
    assert [key for key in sorted(cr) if registry[key].metric != "accuracy"] == ["cola", "mrpc", "qqp", "stsb"]
    assert {key for key in qa if registry[key].metric == "accuracy"} == {"boolq"}
    # both sentences, where the authors' code reads the first one twice
    assert all(registry[key].fields == ("sentence1", "sentence2") for key in ("rte", "stsb", "wnli", "mrpc"))
    # sizes: all but the sets without a public file
    assert {key for key in cr | qa if registry[key].expected.train is None} == {"newsqa", "comqa", "cq"}


def test_a_row_without_a_text_is_never_made():
    with pytest.raises(ValueError, match="row a/0: has 0 texts, not one or two"):
        Row("a/0", ())


def test_rows_survive_json():
    for row in (Row("a/0", ("x",)), Row("a/1", ("x", "y"), label="neutral"), Row("t/2", ("x",), task="t")):
        assert Row.from_json(json.loads(json.dumps(row.to_json())), "here") == row
    assert Row("a/0", ("x",)).to_json() == {"id": "a/0", "segments": ["x"]}


@pytest.mark.parametrize(
    ("obj", "field"),
    [
        ({"segments": ["x"]}, "id"),
        ({"id": "a", "segments": "x"}, "segments"),
        ({"id": "a", "segments": []}, "segments"),
        ({"id": "a", "segments": [1]}, "segments"),
        ({"id": "a", "segments": ["x"], "label": 1}, "label"),
        ({"id": "a", "segments": ["x"], "extra": 1}, "extra"),
    ],
)
def test_rows_that_are_none_are_refused(obj, field):
    with pytest.raises(BadRow, match=f"x.jsonl, row 4, field '{field}'"):
        Row.from_json(obj, at("x.jsonl", 4))


def multiqa_file(split):
    """Lines of MultiQA's files: a header, then one context with what of its keys is read."""
    documents = [{"title": "Rome", "text": "Old."}, {"title": "Italy", "text": "Its capital is rome."}]
    instances = [
        {"doc_id": 0, "part": "title", "start_byte": 0, "text": "Rome"},
        {"doc_id": 1, "part": "text", "start_byte": 15, "text": "rome"},
    ]
    answer = {"single_answer": {"extractive": {"answer": "rome", "aliases": ["Roma"], "instances": instances}}}
    answers = {"open-ended": {"annotators_answer_candidates": [answer]}}
    question = {"qid": "ComQA_q_7", "question": f"capital of italy ({split})?", "answers": answers}
    return [{"header": {}}, {"id": "ComQA_7", "context": {"documents": documents}, "qas": [question]}]


@pytest.mark.parametrize(
    ("dataset", "folder"), [("newsqa", "newsqa"), ("comqa", "com_qa"), ("cq", "complex_questions")]
)
def test_files_of_multiqas_release_are_read_from_where_obtain_puts_them(tmp_path, dataset, folder):
    registered = DatasetSettings.model_validate(strict_yaml.load(REGISTRY.read_text())[dataset], context=CONTEXT)
    for split in ("train", "dev"):
        assert f"_{split}.jsonl.gz to {folder}/{split}.jsonl.gz" in registered.obtain
        write(tmp_path / folder / f"{split}.jsonl.gz", multiqa_file(split))
    assert f"data.sources {{{dataset}: files}}" in registered.obtain
    raw = load_dataset_rows(dataset, registered, source="files", root=tmp_path)
    (row,) = normalise(dataset, registered, raw, dev_share=0).rows["test"]
    context = "[aug] yes no  [title] Rome [text] Old. [title] Italy [text] Its capital is rome."
    assert row.segments == ("capital of italy (dev)?", context)
    assert [(answer.text, answer.start) for answer in row.answers] == [("Rome", 22), ("rome", len(context) - 5)]
