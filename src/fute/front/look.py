"""Look at data that people bring: which columns hold texts and labels, and what of the rows can be used."""

from __future__ import annotations

import codecs
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from fute.config.categories import FEWEST, MOST
from fute.config.datasets import WHOLE
from fute.csv_files import is_number
from fute.data.rows import BadRow, SourceError, overlap_key, read_lines
from fute.data.tables import READERS, read_table_rows
from fute.front.table import FrontError, Table

if TYPE_CHECKING:
    from fute.front.datasets_library import Splits

TEXT_NAMES = ("text", "review", "sentence", "content", "body", "message", "comment", "question", "utterance", "tweet")
LABEL_NAMES = ("label", "class", "category", "target", "stars", "rating", "sentiment", "intent", "score", "y")
"""Names of columns by which texts and labels are found where they are not given."""

SAVED = ("dataset_info.json", "dataset_dict.json")
"""Files of which a saved dataset has one: the first of a `Dataset`, the second of a `DatasetDict`."""


def read_table(path: Path) -> Table:
    """Read a table, or a saved dataset of one split. Raises FrontError for what is neither, or has no rows."""
    if path.is_dir():
        splits = read_saved(path)
        if len(splits) > 1:
            named = " or ".join(str(path / name) for name in splits)
            raise FrontError(f"{path}: has several splits; name the folder of one: {named}")
        from fute.front.datasets_library import table

        return table(path, *splits.values())
    if not path.exists():
        if path.parts and path.parts[0] in ("http:", "https:"):
            raise FrontError(
                f"{path}: is an address, and not read; download the file (--data also takes owner/name of the hub)"
            )
        raise FrontError(f"{path}: there is no such file; correct the path")
    if not any(path.name.endswith(ending) for ending in READERS):
        if ending := next((each for each in READERS if path.name.lower().endswith(each)), None):
            raise FrontError(f"{path}: its ending is in capitals; rename it to {path.name[: -len(ending)]}{ending}")
        raise FrontError(f"{path}: is none of {', '.join(READERS)}; save it as one of them")
    if path.name.endswith(".csv"):
        _check_commas(path)
    try:
        rows = [row for _, row in read_table_rows(path)]
    except (BadRow, SourceError) as error:
        raise FrontError(str(error)) from None
    if not rows:
        raise FrontError(f"{path}: has no rows; give a file with one text and its label per row")
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(path, rows, names)


def _check_commas(path: Path) -> None:
    """Raise FrontError for a CSV file whose line of names has another mark between them than a comma, or is none.

    Before a row is read: one whose text has commas would be named for the number of its cells.
    """
    with path.open("rb") as stream:
        names = stream.readline().removeprefix(codecs.BOM_UTF8)
    if names.lower().startswith(b"sep="):
        raise FrontError(f"{path}: begins with a line for spreadsheets, {names.decode().strip()!r}; remove this line")
    if b"," in names or b"\0" in names:  # the latter is UTF-16 or no text, which the reader says
        return
    if b"\t" in names:
        raise FrontError(f"{path}: has tabs between its columns; name it {path.stem}.tsv")
    for mark in ";|":
        if mark.encode() in names:
            raise FrontError(f"{path}: has {mark!r} between its columns; save it with commas")


def read_saved(folder: Path) -> Splits:
    """The splits of a dataset that the library `datasets` saved. Raises FrontError for a folder that is none."""
    if not any((folder / name).is_file() for name in SAVED):
        raise FrontError(
            f"{folder}: is a folder without dataset_info.json or dataset_dict.json, so no saved dataset; name a file "
            "in it, or save the dataset by save_to_disk"
        )
    from fute.front.datasets_library import saved_splits

    return saved_splits(folder)


def text_columns(table: Table, given: Sequence[str], label: str | None) -> tuple[str, ...]:
    """The one or two columns of texts: those given, or the only one that can be meant. Raises FrontError."""
    if given:
        if len(given) > 2:
            raise FrontError(f"--text names {len(given)} columns, and a row has one or two texts; name at most two")
        if len(set(given)) < len(given):
            raise FrontError(f"--text names column {given[0]!r} twice; name two different ones, or one")
        return tuple(_known(table, name, "--text") for name in given)
    others = [name for name in table.columns if name != label]
    named = [name for name in others if name.lower() in TEXT_NAMES]
    prose = [name for name in others if _is_prose(table, name)]
    return (_only(table, named if len(named) == 1 else prose or others, "texts", "--text"),)


def label_column(table: Table, given: str | None, texts: Sequence[str]) -> str:
    """The column of labels: the one given, or the only one that can be meant. Raises FrontError."""
    if given is not None:
        return _known(table, given, "--label")
    others = [name for name in table.columns if name not in texts]
    named = [name for name in others if name.lower() in LABEL_NAMES]
    repeating = [name for name in others if _repeats(table, name)]
    return _only(table, named if len(named) == 1 else repeating or others, "labels", "--label")


def columns(table: Table, texts: Sequence[str], label: str | None) -> tuple[tuple[str, ...], str]:
    """The columns of texts and of labels, given or found. Raises FrontError where either may be another one."""
    if texts:
        texts = text_columns(table, texts, label)
        label = label_column(table, label, texts)
    else:
        label = label_column(table, label, [name for name in table.columns if _is_prose(table, name)])
        texts = text_columns(table, (), label)
    if label in texts:
        raise FrontError(f"{table.path}: column {label!r} is named for texts and for labels; name another --label")
    if len(texts[0].split()) > 3 and any(label_text(row.get(label)) == label for row in table.rows):
        raise FrontError(
            f"{table.path}: begins with a row ({texts[0]!r}, {label!r}), not with the names of its columns; put a line "
            "of names before it, such as text,label"
        )
    return tuple(texts), label


def _known(table: Table, name: str, option: str) -> str:
    if name in table.left_out:
        raise FrontError(
            f"{table.path}: column {name!r} ({option}) holds lists or other values, and a cell is one text, number or "
            "class; make such a column, and save the dataset by save_to_disk"
        )
    if name not in table.columns:
        raise FrontError(
            f"{table.path}: has no column {name!r} ({option}); there are {', '.join(map(repr, table.columns))}"
        )
    return name


def _only(table: Table, names: Sequence[str], what: str, option: str) -> str:
    if len(names) != 1 and len(table.columns) == 1:
        raise FrontError(
            f"{table.path}: has one column of texts or numbers, {table.columns[0]!r}, and a row needs a text and a "
            "label; give a table with both"
        )
    if len(names) != 1:
        listed = ", ".join(map(repr, table.columns))
        pairs = "; where a row has two texts, give --text twice" if option == "--text" else ""
        raise FrontError(
            f"{table.path}: which column holds the {what} is not clear; name it by {option}: {listed}{pairs}"
        )
    return names[0]


def _is_prose(table: Table, name: str) -> bool:
    """True if the cells of a column are mostly different texts of two words or more."""
    cells = [row[name] for row in table.rows if isinstance(row.get(name), str) and row[name].strip()]
    several = sum(len(cell.split()) > 1 for cell in cells)
    return 2 * several > len(table.rows) and 2 * len(set(cells)) > len(cells)


def _repeats(table: Table, name: str) -> bool:
    """True if the cells of a column may be labels: few different ones, each several times on average."""
    cells = {label_text(row.get(name)) for row in table.rows} - {""}
    return FEWEST <= len(cells) <= MOST and 2 * len(cells) <= len(table.rows)


def label_text(value: Any) -> str:
    """The class that a raw label names: 1, 1.0 and "1.0" are `1`; empty for a cell without a label.

    NaN is such a cell: in Parquet and on the hub a column of numbers has it for a missing one.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value).strip()
    return text.split(".")[0] if WHOLE.fullmatch(text) else text


def classes_of(tables: Iterable[Table], label: str) -> tuple[str, ...]:
    """All classes, in the order that the data state, else numbers in their order and others in that of the alphabet.

    Raises FrontError for too few or too many, and for labels that are no words or look alike.
    """
    tables = list(tables)
    for table in tables:
        for number, row in enumerate(table.rows, start=1):
            if not isinstance(value := row.get(label), str | int | float | None):
                several = {list: "a list", dict: "an object"}.get(type(value))
                problem = (
                    f"is {several}, and a label is one word or number; give each row one label"
                    if several
                    else f"is of type {type(value).__name__}; write labels as text, integers or floats"
                )
                raise FrontError(
                    f"{table.path}, row {number}, column {label!r}: {problem}, or name the column of labels by --label"
                )
    counts = Counter(label_text(row.get(label)) for table in tables for row in table.rows)
    counts.pop("", None)
    where = f"{tables[0].path}, column {label!r}"
    if not counts:
        raise FrontError(f"{where}: has no label; label some rows, since candidates are compared with these labels")
    if len(counts) < FEWEST:
        raise FrontError(f"{where}: has one class, {next(iter(counts))!r}; a choice needs rows of two or more classes")
    if len(counts) > MOST:
        first = ", ".join(map(repr, list(counts)[:3]))
        numbers = "; a target that is a number takes a run by hand (docs/own-data.md, task: regression)"
        raise FrontError(
            f"{where}: has {len(counts)} different labels ({first} ...), and a task has at most {MOST} classes; name "
            f"the column of classes by --label, or join some{numbers if all(map(is_number, counts)) else ''}"
        )
    spelt: dict[str, str] = {}
    for name in counts:
        if any(unicodedata.category(char) == "Cc" for char in name):
            raise FrontError(f"{where}: has the label {name!r}; write it without line breaks and control characters")
        if (other := spelt.setdefault(_looks(name), name)) != name:
            by_case = other.casefold() == name.casefold()
            both = f"{other!r} and {name!r}" if by_case else f"{other!a} and {name!a}, which look the same"
            raise FrontError(f"{where}: has the labels {both}; write the class in one way")
    stated = dict.fromkeys(label_text(name) for table in tables for name in table.classes.get(label, ()))
    if set(counts) <= set(stated):
        return tuple(name for name in stated if name in counts)
    if all(WHOLE.fullmatch(name) for name in counts):
        return tuple(sorted(counts, key=int))
    return tuple(sorted(counts))


def _looks(label: str) -> str:
    """A label as people see it: without case, ways to write a letter or blank, and characters that show nothing."""
    shown = "".join(char for char in label if unicodedata.category(char) != "Cf")
    return " ".join(unicodedata.normalize("NFC", shown.casefold()).split())


def raw_labels(tables: Iterable[Table], label: str) -> dict[str, str]:
    """Raw label, as text -> class, in the spellings that these rows have."""
    spellings: dict[str, str] = {}
    for table in tables:
        for row in table.rows:
            if name := label_text(row.get(label)):
                raw = str(row[label])
                spellings[name if WHOLE.fullmatch(raw) or isinstance(row[label], bool) else raw] = name
    return dict(sorted(spellings.items(), key=lambda item: (item[1], item[0])))


@dataclass(frozen=True)
class Look:
    """What the rows of one file are.

    classes: class -> rows that can be used. empty: rows without a text. unlabelled: rows with a text and no label.
    duplicates: rows whose text an earlier row has (`rows.overlap_key`). contradictions: those of them with another
    label than the first. words: words of each usable text, as the labelling step counts them.
    """

    rows: int
    classes: Mapping[str, int]
    empty: int
    unlabelled: int
    duplicates: int
    contradictions: int
    words: list[int] = field(repr=False)

    @property
    def labelled(self) -> int:
        return sum(self.classes.values())

    def sentence(self) -> str:
        """The counts in words; what there is none of is left out."""
        parts = [f"{self.rows} rows"]
        if self.classes:
            parts.append(", ".join(f"{name}: {count}" for name, count in self.classes.items()))
        if self.words:
            low, high = min(self.words), max(self.words)
            spread = f"{low}" if low == high else f"{low} to {high}"
            parts.append(f"{spread} words per text" + (f", median {median(self.words):g}" if low < high else ""))
        parts += [f"{self.empty} without a text"] * bool(self.empty)
        parts += [f"{self.unlabelled} without a label"] * bool(self.unlabelled)
        if self.duplicates:
            other = f", {self.contradictions} of them with another label" if self.contradictions else ""
            parts.append(f"{self.duplicates} with the text of an earlier row{other}")
        return "; ".join(parts)


def look(table: Table, texts: Sequence[str], label: str, classes: Sequence[str]) -> Look:
    """Count the rows of a file. classes: all that it has, in the order to count them in."""
    from fute.llm.long_texts import WORD

    counts = dict.fromkeys(classes, 0)
    first: dict[str, str] = {}
    empty = unlabelled = duplicates = contradictions = 0
    words = []
    for row in table.rows:
        segments = [row.get(name) for name in texts]
        if not all(isinstance(text, str) and text.strip() for text in segments):
            empty += 1
            continue
        if name := label_text(row.get(label)):
            counts[name] += 1
        else:
            unlabelled += 1
        key = overlap_key(segments)
        if key in first:
            duplicates += 1
            contradictions += first[key] != name
        else:
            first[key] = name
        words.append(sum(len(WORD.findall(text)) for text in segments))
    return Look(len(table.rows), counts, empty, unlabelled, duplicates, contradictions, words)


def read_unlabelled(path: Path, texts: Sequence[str]) -> list[str]:
    """Texts for U, of a table (its columns of texts, or the only one that can be meant) or of a `.txt`, one per line.

    Texts of a pair are joined as U has them. Empty texts and repeated ones are left out. Raises FrontError.
    """
    if path.name.endswith((".txt", ".txt.gz")):
        if not path.is_file():
            raise FrontError(f"{path}: there is no such file; correct the path")
        try:
            stated = [line.strip() for _, line in read_lines(path)]
        except (BadRow, SourceError) as error:
            raise FrontError(str(error)) from None
        if len(texts) > 1:
            raise FrontError(f"{path}: has one text per line, and a row of this task has two; give a table with both")
    else:
        table = read_table(path)
        names = texts if all(name in table.columns for name in texts) else text_columns(table, (), None)
        if len(names) != len(texts):
            raise FrontError(f"{path}: has no columns {' and '.join(map(repr, texts))}, the two texts of a row")
        cells = ([row.get(name) for name in names] for row in table.rows)
        stated = [" [SEP] ".join(row) for row in cells if all(isinstance(c, str) and c.strip() for c in row)]
    different: dict[str, str] = {}
    for text in filter(None, stated):
        different.setdefault(overlap_key([text]), text)
    kept = list(different.values())
    if not kept:
        raise FrontError(f"{path}: has no text; give a file of unlabelled texts, or leave --unlabelled out")
    return kept
