"""MultiQA's SQuAD-2 form: join documents into one context, and find answers in it (repository alontalmor/MultiQA).

The context starts with the words `yes` and `no`, so that a model of spans can answer yes/no questions. Each part of
a document comes after its name: `[aug] yes no  [title] Rome [text] Rome is ...`.
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
    """Join documents into a context. Parts other than title, text and snippet are left out."""
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
    """Find the first place of an answer in the documents (or in those with the numbers `within`); None if missing.

    Only whole words match; a match in the same case is preferred; any run of whitespace equals any other. The text
    of the result is that of the context.
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
    """Answer at a place, in the context's case; None if the context has other words there (case aside)."""
    words = context[start : start + len(text)] if start >= 0 else ""
    return Answer(words, start) if text and words.lower() == text.lower() else None


def _words(answer: str) -> str:
    """Pattern that matches an answer where it neither begins nor ends inside a word."""
    words = answer.split()
    before = r"(?<!\w)" if re.match(r"\w", words[0][0]) else ""
    after = r"(?!\w)" if re.match(r"\w", words[-1][-1]) else ""
    return before + r"\s+".join(map(re.escape, words)) + after
