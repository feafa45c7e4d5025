"""Splits that are larger than memory: rows in a file, and the memory that reading takes."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from fute.data.rows import Answer, Row
from fute.data.stored_rows import StoredRows

SETTINGS = {
    "dataset": "d", "test_rows": None, "train_rows": None, "dev_share": 0.1, "seed": 42,
    "entry": {
        "title": "T", "category": "cr", "fields": ["text"], "label_field": "label", "labels": ["no", "yes"],
        "classes": ["no", "yes"], "splits": {"train": "train", "test": "test"},
    },
}  # fmt: skip


def open_below(folder) -> list[str]:
    """This process's open files in a folder, those without a name among them; other tests' files do not count."""
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return [name for name in (os.readlink(link) for link in links if os.path.lexists(link)) if str(folder) in name]


def test_rows_come_back_in_any_order_and_their_file_goes_with_them(tmp_path):
    rows = [
        Row("a/0", ("é 😀 \u2028",), "x"),
        Row("a/1", ("q", "in Rome"), "Rome", answers=(Answer("Rome", 3),)),
        Row("a/2", ("a", "b"), "1.8", task="t", value=1.75),
    ]
    stored = StoredRows(tmp_path)
    for row in rows:
        stored.append(row)
        assert stored[len(stored) - 1] == row
    assert stored == rows and stored != rows[:2] and stored != [rows[0], *rows[:2]]
    assert stored[-1] == rows[2] and stored[1:] == rows[1:] and StoredRows(tmp_path) == []
    assert list(tmp_path.iterdir()) == []  # the file has no name
    assert open_below(tmp_path)
    taken = stored.take([2, 0, 0]).take([1, 0])
    del stored
    assert taken == [rows[0], rows[2]]
    del taken
    gc.collect()
    assert not open_below(tmp_path)


FORMS = ("jsonl", "json", "csv", "parquet", "hub")
READ_AND_WRITE = """
import json, resource, sys
from pathlib import Path
from fute.artifacts import Step
from fute.data.splits import SplitSettings, normalised

for folder in map(Path, sys.argv[2:]):
    settings = json.loads(sys.argv[1]) | {"source": "hub" if folder.name == "hub" else "files"}
    settings["entry"]["hub"] = {"repo": str(folder / "d")}
    made, _ = normalised(SplitSettings.model_validate(settings), folder, scratch=folder)
    with Step("fute.data.normalise_train_step", settings={}) as step:
        step.jsonl(folder / "out.jsonl.gz", (row.to_json() for row in made.rows["train"]))
    print(folder.name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_the_memory_of_reading_a_split_is_not_that_of_its_texts(tmp_path):
    """The peak memory of a process that reads a short split in every form, and then a long one in each.

    Held in memory, a split took 7 times its text.
    """
    folders = [tmp_path / length / form for length in ("short", "long") for form in FORMS]
    for folder in folders:
        write(folder / "d", "train", folder.name, rows=4000 if folder.parent.name == "long" else 100)
        write(folder / "d", "test", folder.name, rows=50)
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", READ_AND_WRITE, json.dumps(SETTINGS), *map(str, folders)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    peaks = [int(line.split()[1]) for line in said.splitlines()]
    text = (tmp_path / "long" / "jsonl" / "d" / "train.jsonl").stat().st_size
    start, *files, hub = peaks[len(FORMS) - 1 :]
    assert text > 10_000_000 and len(files) == 4
    assert max(files) - start < 0.5 * text
    assert hub - start < 1.5 * text  # it is mapped into memory, where it counts while the system has room


def write(folder: Path, split: str, form: str, rows: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    values = [{"text": f"{split} {n} " + f"{n:05d} words, " * 300, "label": n % 2} for n in range(rows)]
    if form in ("hub", "parquet"):
        pd.DataFrame(values).to_parquet(folder / f"{split}.parquet", compression=None)
    elif form == "csv":
        lines = ["text,label", *(f'"{value["text"]}",{value["label"]}' for value in values)]
        (folder / f"{split}.csv").write_text("\n".join(lines))
    elif form == "json":
        (folder / f"{split}.json").write_text(json.dumps(values))
    else:
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
