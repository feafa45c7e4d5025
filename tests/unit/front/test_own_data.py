"""`fute new` with datasets of the library `datasets`: saved ones, and those of the hub."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value, concatenate_datasets, load_dataset
from huggingface_hub import HfApi
from pyarrow import parquet
from rehearsal.hub import Hub
from support.own_runs import texts

from fute.artifacts import read_jsonl
from fute.config.run import load_run
from fute.data import hub
from fute.front import datasets_library, new
from fute.front.places import PROJECT
from fute.front.table import FrontError
from fute.front.wanted import Wanted
from fute.plan import Plan

NAMES = ("negative", "positive")
COMMIT = "a" * 40


def rows(start: int, count: int, labelled: bool = True) -> Dataset:
    labels = [n % 2 if labelled else -1 for n in range(count)]
    kinds = Features({"text": Value("string"), "label": ClassLabel(names=list(NAMES)), "ids": Sequence(Value("int32"))})
    columns = {"text": texts(count, start), "label": labels, "ids": [[n] for n in labels]}
    return Dataset.from_dict(columns, features=kinds)


@pytest.fixture(autouse=True)
def prompts(here: Path) -> None:
    Path("prompts.yaml").write_text("[{template: '{text} Good?'}, {template: 'Good? {text}'}]")


def made(data: str, **more) -> tuple[Wanted, set[Path]]:
    """Call `fute new`; return what it was asked for, and the paths that were there before."""
    before = set(Path().rglob("*"))
    wanted = Wanted(Path("mine"), Path(data), prompts=Path("prompts.yaml"), model="smollm2-135m", **more)
    return wanted, before


def entry_of(data: str, **more):
    new.new_run(made(data, **more)[0])
    return load_run(Path("mine/run.yaml"), PROJECT / "config").datasets["mine-data"]


def test_a_missing_number_is_no_class(capsys):
    """As pandas and polars write one: NaN in a column of numbers."""
    labels = [float("nan") if n < 4 else float(n % 2) for n in range(44)]
    parquet.write_table(pyarrow.table({"text": texts(44), "label": labels}), "numbers.parquet")
    entry = entry_of("numbers.parquet")
    assert entry.classes == ("0", "1") and entry.unlabelled == ("nan",)
    said = capsys.readouterr().out
    assert "0: 20, 1: 20;" in said and "4 without a label" in said and "to learn from: 32 rows" in said


@pytest.mark.parametrize(("kind", "name"), [(pyarrow.date32(), "date"), (pyarrow.decimal128(10), "Decimal")])
def test_labels_of_other_types_are_named(kind, name):
    labels = pyarrow.array([n % 2 for n in range(40)], pyarrow.int32()).cast(kind)
    parquet.write_table(pyarrow.table({"text": texts(40), "label": labels}), "other.parquet")
    with pytest.raises(
        FrontError, match=f"^other.parquet, row 1, column 'label': is of type {name}; write labels as text, integers or"
    ):
        new.new_run(made("other.parquet")[0])


def test_a_saved_dataset_becomes_a_file_of_the_run(capsys):
    rows(0, 40).save_to_disk("saved")
    entry = entry_of("saved")
    assert entry.classes == NAMES and entry.class_of("positive") == "positive"
    assert (entry.fields, entry.label_field, entry.splits.train, entry.splits.test) == (
        ("text",),
        "label",
        ("train",),
        None,
    )
    assert sorted(path.name for path in Path("mine").iterdir()) == ["run.yaml", "train.jsonl"]
    written = read_jsonl(Path("mine/train.jsonl"))
    assert written[1] == {"text": texts(2)[1], "label": "positive"} and len(written) == 40
    assert "saved: 40 rows; negative: 20, positive: 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("hidden", "test", "checked"), [(True, None, 20), (False, None, 30), (False, Path("validation"), 20)]
)
def test_the_split_to_check_on_is_one_with_labels(hidden, test, checked, capsys):
    splits = {"train": rows(0, 60), "validation": rows(100, 20), "test": rows(200, 30, labelled=not hidden)}
    DatasetDict(splits).save_to_disk("saved")
    assert entry_of("saved", test=test).splits.test == ("test",)
    assert len(read_jsonl(Path("mine/test.jsonl"))) == checked
    said = capsys.readouterr().out
    assert f"to learn from: 60 rows; to check on: {checked} rows" in said
    assert ("saved/test: no row has a label, so nothing can be checked on it\n" in said) == hidden


def test_splits_may_be_folders_and_tables_of_their_own():
    splits = DatasetDict(train=rows(0, 60), other=rows(100, 20))
    splits.save_to_disk("saved")
    splits["train"].to_csv("train.csv")
    assert entry_of("saved", test=Path("saved/other"), unlabelled=Path("saved/other")).splits.test == ("test",)
    assert len(read_jsonl(Path("mine/test.jsonl"))) == 20 == len(read_jsonl(Path("mine/unlabelled.jsonl")))


def snapshot(folder: str, **splits: Dataset):
    """A stand-in for `load_dataset` that reads a repository from Parquet files in a local folder."""
    Path(folder).mkdir()
    for name, split in splits.items():
        split.to_parquet(f"{folder}/{name}.parquet")
    files = {name: f"{folder}/{name}.parquet" for name in splits}
    asked = []

    def load(repo, config=None, *, data_dir=None, split=None, revision=None, **more):
        asked.append((repo, config, revision))
        return load_dataset("parquet", data_files=files, split=split, **more)

    return load, asked


def test_a_dataset_of_the_hub_is_read_there_at_its_commit(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    train = concatenate_datasets([rows(0, 60), rows(60, 1, labelled=False)])
    load, asked = snapshot("remote", train=train, test=rows(100, 20, labelled=False), validation=rows(200, 20))
    monkeypatch.setattr(hub, "load_dataset", load)
    monkeypatch.setattr(datasets_library.datasets, "load_dataset", load)
    monkeypatch.setattr(
        hub, "HfApi", lambda: SimpleNamespace(dataset_info=lambda *_, **__: SimpleNamespace(sha=COMMIT))
    )
    entry = entry_of("owner/films", subset="plain")
    assert (entry.hub.repo, entry.hub.config, entry.hub.revision) == ("owner/films", "plain", COMMIT)
    assert entry.classes == NAMES and [entry.class_of(n) for n in (0, 1)] == list(NAMES) and entry.is_unlabelled(-1)
    assert (entry.splits.train, entry.splits.test) == (("train",), ("validation",))
    assert set(asked) == {("owner/films", "plain", COMMIT)}
    path = Path("mine/run.yaml").absolute()
    with contextlib.chdir(PROJECT):
        source = Plan(load_run(path)).data.source("mine-data")
    assert source == {"source": "hub", "repo": "owner/films", "config": "plain", "revision": COMMIT}
    assert sorted(path.name for path in Path("mine").iterdir()) == ["run.yaml"]
    said = capsys.readouterr().out
    assert "owner/films/train: 61 rows; negative: 30, positive: 30" in said
    assert "to learn from: 60 rows; to check on: 20 rows" in said


@pytest.fixture
def empty_hub(tmp_path_factory) -> Iterator[str]:
    """Address of a hub that has no repository."""
    folder = tmp_path_factory.mktemp("hub")
    with Hub(folder, 0, folder / "log", seed=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.address
        server.shutdown()


def save(splits: dict[str, Dataset]) -> None:
    DatasetDict(splits).save_to_disk("saved")


def cut() -> None:
    rows(0, 40).save_to_disk("saved")
    Path("saved/data-00000-of-00001.arrow").write_bytes(b"ARROW")


def without_record() -> None:
    rows(0, 40).save_to_disk("saved")
    Path("saved/dataset_info.json").unlink()


BAD = {
    "a hub that gives no answer": (
        None, {"data": "owner/films"}, "owner/films: is no file or folder here, and the hub was asked for a dataset of"
    ),
    "an id that the hub does not know": (
        None, {"data": "owner/films"}, "where there is none, save it elsewhere (load_dataset(...).save_to_disk(FOLDER))"
    ),
    "a folder of other files": (
        lambda: Path("saved").mkdir(), {}, "saved: is a folder without dataset_info.json or dataset_dict.json, so no"
    ),
    "a saved dataset without its record": (without_record, {}, "saved: is a folder without dataset_info.json"),
    "a saved dataset that is cut": (cut, {}, "saved: is no saved dataset that can be read ("),
    "splits without train": (
        lambda: save({"one": rows(0, 40), "other": rows(50, 40)}), {},
        "saved: has the splits 'one', 'other', and none is named 'train'",
    ),
    "no such split": (
        lambda: save({"train": rows(0, 40), "dev": rows(50, 40)}), {"test": Path("validation")},
        "--test validation: saved has the splits 'train', 'dev'; name one of 'dev'",
    ),
    "train to check on": (
        lambda: save({"train": rows(0, 40)}), {"test": Path("train")},
        "--test train: saved has the splits 'train'; it has no"
    ),
    "several splits as unlabelled texts": (
        lambda: save({"train": rows(0, 40), "dev": rows(50, 40)}), {"unlabelled": Path("saved")},
        "saved: has several splits; name the folder of one: saved/train or saved/dev",
    ),
    "no rows": (
        lambda: rows(0, 0).save_to_disk("saved"), {}, "saved: has no rows; save the dataset again by save_to"
    ),
    "a split without rows": (
        lambda: save({"train": rows(0, 40), "dev": rows(0, 0)}), {}, "saved/dev: has no rows; save the dataset"
    ),
    "no labels": (
        lambda: rows(0, 40, labelled=False).save_to_disk("saved"), {}, "saved, column 'label': has no label; label some"
    ),
    "texts in lists": (
        lambda: rows(0, 40).save_to_disk("saved"), {"texts": ("ids",)}, "saved: column 'ids' (--text) holds lists or"
    ),
    "a subset of a folder": (
        lambda: rows(0, 40).save_to_disk("saved"), {"subset": "plain"}, "--subset plain: is for a dataset of the hub"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_datasets_are_one_line_and_leave_nothing(case, monkeypatch, request):
    make, more, message = BAD[case]
    nobody = "http://127.0.0.1:1"  # a port that nothing listens on
    address = request.getfixturevalue("empty_hub") if "not know" in case else nobody
    monkeypatch.setattr(hub, "HfApi", partial(HfApi, endpoint=address))
    if make is not None:
        make()
    wanted, before = made(**{"data": "saved"} | more)
    with pytest.raises(FrontError) as told:
        new.new_run(wanted)
    assert message in str(told.value) and "\n" not in str(told.value), told.value
    assert set(Path().rglob("*")) == before
