"""The row type of all data artifacts, and readers of JSON lines whose errors name the place."""

from __future__ import annotations

import gzip
import json
import math
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fute.artifacts import read_jsonl


class BadRow(ValueError):
    """A row that cannot be used. The message names file, row (1-based), field and what to do."""

    def __init__(self, where: str, field: str | None, problem: str, remedy: str) -> None:
        at = where if field is None else f"{where}, field {field!r}"
        super().__init__(f"{at}: {problem}; {remedy}")


class SourceError(ValueError):
    """A source that cannot be read at all: a missing file or split, an unknown repository."""


def at(file: str | Path, row: int) -> str:
    """Place of a row, for error messages; `row` counts from 1."""
    return f"{file}, row {row}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A gold answer of extractive QA: `context[start : start + len(text)] == text`, in characters."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Row:
    """One text of D or U.

    id        unique within the artifact: `{dataset}/{raw split}/{raw row}` or `{task}/{line}`
    segments  one text, or two for a pair: (premise, hypothesis), (question, context)
    label     the target string: class name, rounded number, first gold answer; None for unlabelled texts
    task      the CrossFit task of a text of U; None for labelled rows
    value     regression: the number as the dataset has it; None elsewhere
    answers   extractive QA: gold answers in the second segment, empty for an unanswerable question; None elsewhere
    """

    id: str
    segments: tuple[str, ...]
    label: str | None = None
    task: str | None = None
    value: float | None = None
    answers: tuple[Answer, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.segments) not in (1, 2):
            raise ValueError(f"row {self.id}: has {len(self.segments)} texts, not one or two")

    def to_json(self) -> dict[str, Any]:
        """Convert to a dict for one JSON line; fields that are None are left out."""
        row: dict[str, Any] = {"id": self.id, "segments": list(self.segments)}
        row |= {name: value for name in ("label", "task", "value") if (value := getattr(self, name)) is not None}
        if self.answers is not None:
            row["answers"] = [{"text": answer.text, "start": answer.start} for answer in self.answers]
        return row

    @classmethod
    def from_json(cls, obj: dict[str, Any], where: str) -> Row:
        """Read what `to_json` gave; `where` is the place for errors, as `at` gives it.

        Raises BadRow for a missing or unknown field and for a value of the wrong type.
        """
        remedy = "build the artifact again"
        if unknown := sorted(set(obj) - {"id", "segments", "label", "task", "value", "answers"}):
            raise BadRow(where, unknown[0], "is not a field of a row", remedy)
        segments = obj.get("segments")
        if not isinstance(segments, list) or len(segments) not in (1, 2):
            raise BadRow(where, "segments", "must be a list of one or two texts", remedy)
        if not all(isinstance(text, str) for text in segments):
            raise BadRow(where, "segments", "holds something that is not a text", remedy)
        if not isinstance(obj.get("id"), str):
            raise BadRow(where, "id", "is missing or not a text", remedy)
        for name in ("label", "task"):
            if name in obj and not isinstance(obj[name], str):
                raise BadRow(where, name, "is not a text", remedy)
        if "value" in obj and not isinstance(obj["value"], float):
            raise BadRow(where, "value", "is not a number with a decimal point", remedy)
        answers = _answers(obj["answers"], segments, where, remedy) if "answers" in obj else None
        return cls(obj["id"], tuple(segments), obj.get("label"), obj.get("task"), obj.get("value"), answers)


def _answers(values: Any, segments: list[str], where: str, remedy: str) -> tuple[Answer, ...]:
    """Gold answers from JSON. Raises BadRow for one that is not at its place in the second segment."""
    if len(segments) != 2 or not isinstance(values, list):
        raise BadRow(where, "answers", "must be a list, with two segments (question, context)", remedy)
    answers = []
    for value in values:
        if not isinstance(value, dict) or set(value) != {"text", "start"}:
            raise BadRow(where, "answers", "holds something that is not {text, start}", remedy)
        text, start = value["text"], value["start"]
        if not (isinstance(text, str) and text and isinstance(start, int) and start >= 0):
            raise BadRow(where, "answers", f"holds {value!r}: not a text with a place", remedy)
        if not segments[1].startswith(text, start):
            raise BadRow(where, "answers", f"{text!r} is not at character {start} of the context", remedy)
        answers.append(Answer(text, start))
    return tuple(answers)


def alphanumeric(text: str) -> str:
    """Letters and digits of a text in lower case, for finding an answer in a text that a tokenizer has changed."""
    return "".join(char for char in text.lower() if char.isalnum())


LONG_TEXT = 15
"""Letters and digits of a text that is the same with other punctuation; a shorter one may differ in that alone."""


def overlap_key(segments: Iterable[str]) -> str:
    """Key that rows with the same text share, in any script.

    Texts are compared after Unicode's compatibility normalisation (NFKC) and case folding, blanks collapsed. Of long
    texts (`LONG_TEXT`) blanks and punctuation do not count, since parsers move them: SST-2 is the text of Rotten
    Tomatoes, parsed. Letters, vowel signs and other marks, digits, and symbols such as emoji always count.
    """
    folded = [unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()) for text in segments]
    if sum(map(str.isalnum, "".join(folded))) < LONG_TEXT:
        return "\n".join(" ".join(text.split()) for text in folded)
    return "\n".join("".join(char for char in text if _counts(char)) for text in folded)


@cache
def _counts(char: str) -> bool:
    """Whether a character is a letter, a mark, a number or a symbol; a quote or accent on its own is punctuation."""
    category = unicodedata.category(char)
    return category[0] in "LMNS" and category != "Sk"


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (row number from 1, line without its line end) of a UTF-8 file, gzip-compressed if named `.gz`.

    Lines end at \\n alone, so that a rare line separator inside a text does not split it. A byte order mark at the
    start is no text. Raises SourceError for a file that cannot be read, BadRow for bytes that are not UTF-8, for a NUL
    byte and for a broken or cut-off gzip file.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n").removesuffix("\r")
                if "\0" in line:
                    raise BadRow(at(path, number), None, "holds a NUL byte", "save the file as UTF-8 text")
                yield number, line
    except UnicodeDecodeError as error:
        raise BadRow(at(path, number), None, f"is not UTF-8 ({error.reason})", "save it as UTF-8") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        remedy = "fetch or compress the file again"
        raise BadRow(at(path, number + 1), None, f"broken gzip ({error})", remedy) from error
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read ({error.strerror}); correct the path, or give read access"
        ) from error


def read_raw_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, object) of a `.jsonl` or `.jsonl.gz` file.

    Raises SourceError for a file that cannot be read. Raises BadRow for broken gzip, bytes that are not UTF-8, broken
    JSON, a line that is not an object, and a value that is no text or number that a later step can use (see `Refused`).
    """
    for number, line in read_lines(path):
        try:
            value = DECODER.decode(line)
            if not isinstance(value, dict):
                problem = f"is a JSON {type(value).__name__}, not an object"
                raise BadRow(at(path, number), None, problem, "write one object per line")
            check_values(value, at(path, number), texts="\\u" in line)
        except json.JSONDecodeError as error:
            raise BadRow(at(path, number), None, f"is not JSON ({error})", "correct or remove the line") from error
        except RecursionError:
            raise BadRow(at(path, number), None, "is nested too deeply", "correct or remove the line") from None
        yield number, value


class Refused(str):
    """Stands in a parsed line for a value that is legal to write and not to use; says what it is.

    A number beyond the range of floats, NaN or infinity, which are no JSON, and the second value of one key.
    """


LONGEST_NUMBER = 300
_UNUSABLE = re.compile("[\ud800-\udfff\0]")


def _integer(text: str) -> int | Refused:
    return int(text) if len(text) <= LONGEST_NUMBER else Refused(f"is a number of {len(text)} digits")


def _float(text: str) -> float | Refused:
    value = float(text)
    return value if math.isfinite(value) else Refused(f"is {text[:20]}, beyond the range of numbers")


def _constant(text: str) -> Refused:
    return Refused(f"is {text}, which is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        value[next(name for name in names if names.count(name) > 1)] = Refused("is given twice")
    return value


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
"""Decoder of JSON that has `Refused` in place of what cannot be used."""


def check_values(row: dict[str, Any], where: str, *, texts: bool = True) -> None:
    """Raise BadRow for the first value of a row, as `DECODER` gives it, that cannot be used.

    texts: whether to look for half characters and NUL in texts, too.
    """
    for field, value in row.items():
        waiting = [field, value]
        while waiting:
            match waiting.pop():
                case Refused() as refused:
                    raise BadRow(where, _shown(field), str(refused), "correct or remove the line")
                case str(text):
                    if texts and (unusable := _UNUSABLE.search(text)):
                        half = f"half a character (\\u{ord(unusable[0]):04x})"
                        what = "a NUL character" if unusable[0] == "\0" else half
                        problem = f"holds {what}, which is no text"
                        raise BadRow(where, _shown(field), problem, "write the text again, uncut")
                case dict(inner):
                    waiting += [*inner, *inner.values()]
                case list(inner):
                    waiting += inner


def _shown(name: str) -> str:
    """A field's name without characters that cannot be printed."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a data artifact. Raises BadRow for a line that is not a row."""
    return [Row.from_json(obj, str(path)) for obj in read_jsonl(path)]
