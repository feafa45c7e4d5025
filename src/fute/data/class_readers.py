"""Readers of classification and regression datasets: they turn a raw row into texts and a raw label."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fute.data.examples import CORRECT, Example, Raw
from fute.data.rows import BadRow

# medalpaca: "Q:<question>? \n{'A': '<option>', ..., 'E': '<option>'},"
MEDALPACA = re.compile(r"(?:Q:)?(?P<question>.*?)\s*(?P<options>\{['\"]A['\"]:.*\}),?\s*", re.DOTALL)


def fields(raw: Raw) -> Iterator[Example]:
    """Read the text fields and the label field that the registry entry names, without outer whitespace of texts."""
    entry = raw.entry
    for field in entry.fields:
        raw.get(field)  # report a missing field before any error in a value
    label = raw.get(str(entry.label_field))
    if entry.is_unlabelled(label):
        yield Example((), label)  # the row will be dropped, so its texts may be empty
    else:
        yield Example(tuple(raw.text(field).strip() for field in entry.fields), label)


def med_qa(raw: Raw) -> Iterator[Example]:
    """Read MedQA in the form of bigbio/med_qa: question, options [{key, value}], answer_idx (a letter)."""
    options = {}
    for option in raw.get("options", list):
        if not isinstance(option, Mapping) or set(option) != {"key", "value"} or not isinstance(option["key"], str):
            raise BadRow(raw.where, "options", f"holds {option!r}, not {{key, value}}", CORRECT)
        options[option["key"]] = option["value"]
    yield _choice(raw, "options", raw.text("question"), options, raw.text("answer_idx"))


def medalpaca(raw: Raw) -> Iterator[Example]:
    """Read MedQA in the form of medalpaca/medical_meadow_medqa: input (question and options), output ("E: ...").

    The label is the first character of the output, as in the authors' code (repository xnyuwg/fute).
    """
    match = MEDALPACA.fullmatch(raw.text("input"))
    if match is None:
        raise BadRow(raw.where, "input", "does not end in the options {'A': ..., }", CORRECT)
    try:
        options = ast.literal_eval(match["options"])
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):  # whatever `literal_eval` may raise
        raise BadRow(raw.where, "input", f"has options that cannot be read: {match['options']}", CORRECT) from None
    yield _choice(raw, "input", match["question"], options, raw.text("output").strip()[0])


def _choice(raw: Raw, field: str, question: str, options: Any, letter: str) -> Example:
    """Put question and options into two segments, so that a long question is cut before its options.

    field: the one that the options come from, for errors.
    """
    if not (isinstance(options, Mapping) and options and all(isinstance(option, str) for option in options.values())):
        raise BadRow(raw.where, field, f"has no options, or one that is not a text: {options!r}", CORRECT)
    return Example((question.strip(), " ".join(f"{key}: {value}" for key, value in options.items())), letter)
