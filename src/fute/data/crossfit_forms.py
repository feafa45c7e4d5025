"""The input lines of CrossFit's scripts, from the rows of the tables that `config/unsup.yaml` names.

One function per script: a row's columns -> the line, None for a row that CrossFit leaves out. Forms: the script of that
name in INK-USC/CrossFit. Line breaks and tabs inside a line become blanks (`one_line`), as they must in its files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Columns = Mapping[str, Any]
BLANKS = str.maketrans("\n\r\t", "   ")


def one_line(text: str) -> str:
    """Replace line breaks and tabs by blanks."""
    return text.translate(BLANKS)


def with_choices(question: str, choices: Sequence[str]) -> str:
    """`question (A) one (B) two`."""
    return question + "".join(f" ({chr(ord('A') + number)}) {choice}" for number, choice in enumerate(choices))


def _acronym(row: Columns) -> str | None:
    """One acronym, which is given, and one long form, which is asked for. labels: 0 B-long, 1 B-short, 3 I-short."""
    labels, tokens = row["labels"], row["tokens"]
    if labels.count(0) != 1 or labels.count(1) != 1:
        return None
    start = labels.index(1)
    end = start + 1
    while end < len(labels) and labels[end] == 3:
        end += 1
    return f"{' '.join(tokens)} [SEP] acronym: {' '.join(tokens[start:end])}"


def _duorc(row: Columns) -> str | None:
    if row["no_answer"] or row["plot"].startswith(_LONG_PLOT):
        return None
    return f"question: {row['question']} context: {row['plot']}"


_LONG_PLOT = "This article's plot summary may be too long or excessively detailed."


def _math_qa(row: Columns) -> str:
    """options: `a ) 38 , b ) 27.675 , c ) 30 , d ) 25 , e ) none of these`, cut at every comma, as CrossFit does."""
    first, *others = row["options"].split(",")[:5]
    choices = [first[4:-1], *(option[5:-1] for option in others[:-1]), others[-1][5:]]
    return with_choices(row["Problem"], choices)


FORMS: dict[str, Callable[[Columns], str | None]] = {
    "acronym_identification": _acronym,
    "adversarial_qa": lambda row: f"question: {row['question']} context: {row['context']}",
    "aqua_rat": lambda row: with_choices(row["question"], [option[2:] for option in row["options"]]),  # "A)21"
    "aslg_pc12": lambda row: row["text"].strip(),
    "commongen": lambda row: ", ".join(row["concepts"]),
    "duorc": _duorc,
    "e2e_nlg_cleaned": lambda row: row["meaning_representation"],
    "empathetic_dialogues": lambda row: (
        None if "hit:" in row["utterance"] else f"{row['prompt'].replace('_comma_', ',')} [SEP] {row['context']}"
    ),
    "kilt_wow": lambda row: row["input"],
    "math_qa": _math_qa,
    "wiki_split": lambda row: f"sentence 1: {row['simple_sentence_1']} [SEP] sentence 2: {row['simple_sentence_2']}",
}
"""Script -> form of its lines."""

ONE_LINE_FOR_MANY_ROWS = ("commongen", "empathetic_dialogues")
"""Scripts that write rows of the same input as one line."""
