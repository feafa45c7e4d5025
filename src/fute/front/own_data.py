"""Look at the data that `fute new` is given, and make the entry of the run's registry that names them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fute.artifacts import jsonl_bytes
from fute.config.datasets import DatasetSettings, Source
from fute.data.rows import BadRow, SourceError
from fute.data.splits import Normalised, SplitSettings, normalised
from fute.data.tables import READERS
from fute.front.look import (
    Look,
    classes_of,
    columns,
    label_text,
    look,
    raw_labels,
    read_saved,
    read_table,
)
from fute.front.run_yaml import TEST_ROWS, TEXT_WORDS, TRAIN_ROWS
from fute.front.table import FrontError, Table
from fute.front.wanted import REPO, Wanted
from fute.wording import listed

HELDOUT = 0.2
"""Share of a single file's rows that is drawn to check on."""
FEW_ROWS = 64
FEW_OF_CLASS = 5
"""With fewer rows to learn from, a class is named."""
MOST_NAMED = 6
ABSENT = {"na", "n/a", "#n/a", "nan", "none", "null"}
"""Words that a program may have written for a missing label, without case."""
ANY = {"share": 0.999, "rows": 10**9}
"""Limits on unusable rows that every file keeps."""


@dataclass(frozen=True)
class Data:
    """What the data are: columns of texts, classes, the entry of the registry, lines that say so, numbers of rows."""

    texts: tuple[str, ...]
    classes: tuple[str, ...]
    entry: dict[str, Any]
    said: list[str]
    train: int
    test: int


@dataclass(frozen=True)
class Brought:
    """Data as they were named.

    split, train: name and table to learn from. tests: of those that may be checked on, the best first. Names are those
    in the registry. place: keys of the registry's entry that say where the rows are; empty where they become files of
    the run's folder.
    """

    split: str
    train: Table
    tests: list[tuple[str, Table]]
    place: dict[str, Any]


def _brought(wanted: Wanted) -> Brought:
    """Read what was named. Raises FrontError."""
    path, test = wanted.data, wanted.test
    if _is_of_hub(path):
        return _of_hub(wanted)
    if wanted.subset is not None:
        raise FrontError(f"--subset {wanted.subset}: is for a dataset of the hub, and {path} is none; leave it out")
    if path.is_dir():
        return _of_folder(path, test)
    if test is not None and test.exists() and path.exists() and test.samefile(path):
        raise FrontError(f"--test {test}: is the file of --data; name another, or leave it out: a fifth is held out")
    tables = [read_table(path), *([read_table(test)] if test else [])]
    if test is not None and test.is_dir():
        return Brought("train", tables[0], [("test", tables[1])], {})
    paths = [table.path.absolute() for table in tables]
    if len({each.parent for each in paths}) > 1:
        raise FrontError(f"{test}: is in another folder than {path}; put both into one folder")
    (split, table), *tests = zip(map(_stem, paths), tables, strict=True)
    place = {"files": {"folder": wanted.relative(paths[0].parent)}}
    return Brought(split, table, tests, place)


def _is_of_hub(path: Path) -> bool:
    """True if `owner/name` can only mean the hub: no such path or folder of it is here, and it names no file."""
    if path.exists() or path.parent.is_dir() or path.name.endswith((*READERS, ".txt", ".xls", ".xlsx")):
        return False
    return re.fullmatch(REPO, str(path)) is not None


def _of_hub(wanted: Wanted) -> Brought:
    """A dataset of the hub, which the run reads from there, at the commit that is looked at now."""
    from fute.front.datasets_library import chosen_splits, hub_splits

    repo = str(wanted.data)
    revision, splits = hub_splits(repo, wanted.subset)
    (split, table), tests = chosen_splits(splits, wanted.data, wanted.test and str(wanted.test))
    subset = {"config": wanted.subset} if wanted.subset else {}
    place = {"hub": {"repo": repo, **subset, "revision": revision}}
    return Brought(split, table, tests, place)


def _of_folder(folder: Path, test: Path | None) -> Brought:
    """A saved dataset, whose rows become the run's own."""
    splits = read_saved(folder)
    from fute.front.datasets_library import chosen_splits

    is_table = test is not None and str(test) not in splits and test.exists()
    (_, table), named = chosen_splits(splits, folder, None if is_table else test and str(test))
    tests = [read_table(test)] if is_table else [each for _, each in named]
    return Brought("train", table, [("test", each) for each in tests], {})


def _copied(table: Table, split: str, texts: Sequence[str], label: str, folder: Path) -> Table:
    """Write the texts and labels of a table as a file of the run's folder; return what is in it."""
    rows = [{name: row.get(name) for name in texts} | {label: label_text(row.get(label))} for row in table.rows]
    (folder / f"{split}.jsonl").write_bytes(jsonl_bytes(rows))
    return replace(table, rows=rows)


def read_data(wanted: Wanted, folder: Path) -> Data:
    """Look at the data, and split them as the run will. Raises FrontError.

    folder: that the run's own files are written to.
    """
    brought = _brought(wanted)
    table = brought.train
    texts, label = columns(table, wanted.texts, wanted.label)
    test, without_labels = _labelled_test(brought, texts, label)
    tables = [table, *([test[1]] if test else [])]
    classes = classes_of(tables, label)
    looks = _checked_looks(tables, texts, label, classes)
    _check_common(tables, label)
    said = [f"texts: {' and '.join(map(repr, texts))}; labels: {label!r}; {len(classes)} classes"]
    said += [f"{each.path}: {seen.sentence()}" for each, seen in zip(tables, looks, strict=True)]
    said += without_labels
    if absent := [name for name in classes if name.casefold() in ABSENT]:
        named = " and ".join(map(repr, absent))
        said.append(f"Warning: counted as a class: {named}; where it means that a label is missing, empty the cell")
    if long := sum(_long_rows(each, texts) for each in tables):
        rows = sum(len(each.rows) for each in tables)
        reads = (
            f"a model is fine-tuned on the first {TEXT_WORDS} tokens (max_tokens in run.yaml)"
            if wanted.models
            else f"a prompt gets the first {TEXT_WORDS} (max_text_words in run.yaml; null: all)"
        )
        said.append(f"Warning: {long} of {rows} rows have a text of more than {TEXT_WORDS} words; {reads}")
    if not brought.place:
        names = ("train", "test")[: len(tables)]
        tables = [_copied(each, name, texts, label, folder) for each, name in zip(tables, names, strict=True)]
    entry = _entry(wanted, brought, tables, texts, label, classes)
    entry["splits"] = {"train": brought.split, "test": test[0] if test else None}
    if test is None:
        entry["heldout_share"] = HELDOUT
    made = _split(wanted, entry, tables, folder)
    _allow_unusable(entry, made, tables)
    if not wanted.models:  # the run's category has the classes, and its names are labels
        del entry["classes"]
        if all(raw == name for raw, name in entry["labels"].items()):
            del entry["labels"]
    train, tested = len(made.rows["train"]), len(made.rows["test"])
    how = "" if test else f", a fifth of {table.path} drawn by a fixed seed" if tested < TEST_ROWS else ""
    drawn = " (train_rows in run.yaml)" if train == TRAIN_ROWS else ""
    said.append(f"to learn from: {train} rows{drawn}; to check on: {tested} rows{how}{_dropped(made)}")
    said += _learned_classes(made, f"{table.path}, column {label!r}")
    if train < FEW_ROWS:
        said.append(f"Warning: {train} rows to learn from are few; differences between candidates may not show")
    return Data(texts, classes, entry, said, train, tested)


def _labelled_test(brought: Brought, texts: Sequence[str], label: str) -> tuple[tuple[str, Table] | None, list[str]]:
    """The first split to check on that has labels, or None; and lines on those before it. Raises FrontError."""
    train, without = brought.train, []
    for name, each in brought.tests:
        if missing := [column for column in texts if column not in each.columns]:
            raise FrontError(f"{each.path}: has no column {missing[0]!r}; name its columns as those of {train.path}")
        if label in each.columns and any(label_text(row.get(label)) for row in each.rows):
            return (name, each), without
        without.append(f"{each.path}: no row has a label, so nothing can be checked on it")
    if without:
        use = "" if "hub" in brought.place else f" (its texts can be U: --unlabelled {brought.tests[-1][1].path})"
        without[-1] += f"; rows of {train.path} are held out in its place{use}"
    return None, without


def _check_common(tables: Sequence[Table], label: str) -> None:
    """Raise FrontError if no row to check on has a class that is learned from."""
    named = [{label_text(row.get(label)) for row in table.rows} - {""} for table in tables]
    if set.intersection(*named):
        return
    learned, tested = (", ".join(map(repr, sorted(names)[:MOST_NAMED])) for names in named)
    raise FrontError(
        f"{tables[1].path}, column {label!r}: has the classes {tested}, and {tables[0].path} has {learned}, none of "
        "them the same; write the classes alike in both"
    )


def _checked_looks(tables: Sequence[Table], texts: Sequence[str], label: str, classes: Sequence[str]) -> list[Look]:
    """Look at the rows of each table. Raises FrontError for rows that nothing can be learned from."""
    looks = [look(each, texts, label, classes) for each in tables]
    for each, seen in zip(tables, looks, strict=True):
        _check_rows(each, seen, texts, label)
    labelled = sum(seen.labelled for seen in looks)
    if labelled < 2 * len(classes):
        raise FrontError(
            f"{tables[0].path}, column {label!r}: has {len(classes)} different labels in {labelled} rows, and a class "
            "needs two rows on average; name the column of labels by --label, or give more rows"
        )
    return looks


def _allow_unusable(entry: dict[str, Any], made: Normalised, tables: Sequence[Table]) -> None:
    """Lower the entry's limits on unusable rows to what the tables have."""
    unusable = [len(count.get("unusable", ())) for count in made.counts.values()]
    if most := max(unusable):
        share = max(n / len(each.rows) for n, each in zip(unusable[::2], tables, strict=False))
        entry["max_unusable"] = {"share": min(0.999, round(share + 0.005, 2)), "rows": most}
    else:
        del entry["max_unusable"]


def _learned_classes(made: Normalised, where: str) -> list[str]:
    """A warning of classes that few rows or none have, if there are some. Raises FrontError where all have one."""
    counts = made.counts["train"]["classes"]
    learned = [name for name, count in counts.items() if count]
    if len(learned) < 2:
        raise FrontError(
            f"{where}: all {len(made.rows['train'])} rows to learn from have the class {learned[0]!r}, and a choice "
            "needs rows of two; give more rows"
        )
    tested = made.counts["test"]["classes"]
    few = [
        f"{name!r} ({counts[name]} to learn from, {tested.get(name, 0)} to check on)"
        for name in counts
        if counts[name] < FEW_OF_CLASS or not tested.get(name)
    ]
    named = f"class{'es' * (len(few) > 1)} {listed(few, MOST_NAMED)}"
    it = "them" if len(few) > 1 else "it"
    return [f"Warning: few rows have the {named}; the run can say little of {it}"] if few else []


def _long_rows(table: Table, texts: Sequence[str]) -> int:
    """Number of rows with a text of more than TEXT_WORDS words, counted as the labelling step counts them."""
    from fute.llm.long_texts import cut_words

    cells = ([row[name] for name in texts if isinstance(row.get(name), str)] for row in table.rows)
    return sum(any(cut_words(text, TEXT_WORDS) != text for text in row) for row in cells)


def _check_rows(table: Table, seen: Look, texts: Sequence[str], label: str) -> None:
    where = f"{table.path}, column {' and '.join(map(repr, texts))}"
    cells = ((name, row.get(name)) for row in table.rows for name in texts)
    other = next(((name, cell) for name, cell in cells if cell is not None and not isinstance(cell, str)), None)
    if not seen.words and other:
        name, cell = other
        raise FrontError(
            f"{table.path}, column {name!r}: its cells are no texts but of type {type(cell).__name__}; write texts, or "
            "name another by --text"
        )
    if not seen.words:
        raise FrontError(f"{where}: has no text in any row; name the column of texts by --text")
    if seen.labelled == 0:
        raise FrontError(f"{table.path}, column {label!r}: no row with a text has a label; label some rows")
    if 2 * seen.empty > seen.rows:
        raise FrontError(
            f"{where}: has no text in {seen.empty} of {seen.rows} rows; fill it, or name another by --text"
        )
    if len(seen.words) - seen.duplicates < 2:
        same = "has the same text in all rows; name the column of texts by --text"
        raise FrontError(f"{where}: {same if seen.rows > 1 else 'has one row alone; give more'}")


def _dropped(made: Normalised) -> str:
    leaks = made.counts["train"].get("in_own_test", 0)
    rows, its = ("row to learn from is", "its") if leaks == 1 else ("rows to learn from are", "their")
    return f"; {leaks} {rows} left out, because {its} text is among those to check on" if leaks else ""


def _stem(path: Path) -> str:
    """Name of a file without its ending; a registry names files so. Raises FrontError where two files have it."""
    stem = next(path.name.removesuffix(ending) for ending in READERS if path.name.endswith(ending))
    others = [path.with_name(f"{stem}{ending}") for ending in READERS if path.name != f"{stem}{ending}"]
    if there := [other for other in others if other.is_file()]:
        raise FrontError(f"{path}: {there[0].name} stands beside it, and files are named without ending; rename one")
    return stem


def _entry(
    wanted: Wanted, brought: Brought, tables: Sequence[Table], texts: Sequence[str], label: str, classes: Sequence[str]
) -> dict[str, Any]:
    """The dataset's entry in the run's registry but its splits; any number of rows may be of no use yet."""
    raw_empty = {
        str(row[label]) for table in tables for row in table.rows if label in row and not label_text(row[label])
    }
    labels = raw_labels(tables, label)
    if "None" in raw_empty and "None" in labels:
        raise FrontError(
            f"{tables[0].path}, column {label!r}: has null and the word 'None', which are one to the run; write the "
            "word otherwise, or the missing labels as empty texts"
        )
    if "hub" in brought.place and (stated := brought.train.classes.get(label)):  # which its rows have by number
        labels = {str(number): name for number, each in enumerate(stated) if (name := label_text(each)) in classes}
        raw_empty |= {"-1"} if raw_empty else set()
    entry: dict[str, Any] = {
        "title": wanted.name,
        "category": "cr" if wanted.models else wanted.name,
        "fields": list(texts),
        "label_field": label,
        "labels": labels,
        "classes": list(classes),
        "unlabelled": sorted(raw_empty),
        **brought.place,
        "max_unusable": ANY,
    }
    if raw_empty:
        entry["max_unlabelled"] = 0.99
    return entry


def _split(wanted: Wanted, entry: Mapping[str, Any], tables: Sequence[Table], folder: Path) -> Normalised:
    """The rows as the run will split them. Raises FrontError where it could not.

    folder: that has the run's own files.
    """
    of_files = "files" in entry
    source: Source = "hub" if "hub" in entry else "files"
    local = {**entry, "files": {"folder": "."}, "category": "cr"}
    dataset = wanted.dataset
    settings = SplitSettings(
        dataset=dataset, entry=DatasetSettings.model_validate(local), source=source, test_rows=TEST_ROWS,
        train_rows=TRAIN_ROWS, dev_share=0, seed=42,
    )  # fmt: skip
    try:
        made, _ = normalised(settings, tables[0].path.absolute().parent if of_files else folder)
    except (BadRow, SourceError) as error:
        shown = str(error).replace(f"{dataset}: ", f"{tables[0].path}: ", 1)
        first = 2 if tables[0].path.suffix in (".csv", ".tsv") else 1  # after the line of names
        shown = re.sub(
            rf"\b{re.escape(dataset)}/(\S+)/(\d+)", lambda row: f"row {int(row[2]) + first} of {row[1]}", shown
        )
        raise FrontError(shown) from None
    return made
