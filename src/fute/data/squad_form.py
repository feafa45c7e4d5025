"""MultiQA's SQuAD-2 form: documents become one context, answers places in it (repository alontalmor/MultiQA).

The context starts with the words `yes` and `no`, so that a model of spans can answer yes/no questions, and
each part of a document follows its name: `[aug] yes no  [title] Rome [text] Rome is ...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fute.data.rows import Answer

AUGMENTED = "[aug] yes no "
YES_NO = {"yes": Answer("yes", 6), "no": Answer("no", 10)}
PARTS = ("title", "text", "snippet")
SEARCHED = ("text", "snippet", "title")  # an answer in the text is preferred to one in the title


class Context(NamedTuple):
    """text: the joined documents. starts: (document, part) -> where its content begins in the text."""

    text: str
    starts: dict[tuple[int, str], int]


def join_documents(documents: Sequence[Mapping[str, str]]) -> Context:
    """The context of some documents. Parts other than title, text and snippet are left out."""
    text, starts = AUGMENTED, {}
    for number, document in enumerate(documents):
        for part in PARTS:
            if part in document:
                text += f" [{part}] "
                starts[number, part] = len(text)
                text += document[part]
    return Context(text, starts)


def find_answer(
    documents: Sequence[Mapping[str, str]], context: Context, answer: str, within: Iterable[int] | None = None
) -> Answer | None:
    """The first place of an answer in the documents (or in those with the numbers `within`), or None.

    Whole words only; the same case is preferred; any run of whitespace equals any other. The text of the found
    answer is that of the context.
    """
    if not answer.strip():
        return None
    pattern = _words(answer)
    numbers = sorted(range(len(documents)) if within is None else within)
    for flags in (0, re.IGNORECASE):
        for part in SEARCHED:
            for number in numbers:
                if match := re.search(pattern, documents[number].get(part, ""), flags):
                    return Answer(match[0], context.starts[number, part] + match.start())
    return None


def answer_at(context: str, text: str, start: int) -> Answer | None:
    """The answer that is said to stand at a place, in the context's own case; None where it does not."""
    found = context[start : start + len(text)] if start >= 0 else ""
    return Answer(found, start) if text and found.lower() == text.lower() else None


def _words(answer: str) -> str:
    """A pattern for an answer that does not begin or end inside a word."""
    words = answer.split()
    before = r"(?<!\w)" if re.match(r"\w", words[0][0]) else ""
    after = r"(?!\w)" if re.match(r"\w", words[-1][-1]) else ""
    return before + r"\s+".join(map(re.escape, words)) + after
