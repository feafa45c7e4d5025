"""Readers of question answering: a raw row becomes (question, context) and the places of its answers.

SQuAD is read as it was released. All other datasets take MultiQA's form (`squad_form`): only a question with
a single span, with yes or no, or without an answer survives. An answer that several annotators gave stands
once. Contexts keep their outer whitespace, or the places would be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fute.data.examples import CORRECT, Example, Raw, Skipped
from fute.data.rows import Answer, BadRow
from fute.data.squad_form import PARTS, YES_NO, Context, answer_at, find_answer, join_documents

NOT_THERE = "its answer is not in its context"
NOT_A_SPAN = "its answer is a number or a date, not a span"
A_LIST = "its answer is a list"
NUMBER = re.compile(r"-?[\d.,]+")


def squad(raw: Raw) -> Iterator[Example | Skipped]:
    """SQuAD 1.1 and 2.0: context, question, answers {text: [...], answer_start: [...]}; no answers: unanswerable."""
    context, given = raw.text("context"), raw.get("answers", Mapping)
    texts, starts = (given.get(name) for name in ("text", "answer_start"))
    if not _all(texts, str) or not _all(starts, int) or len(texts) != len(starts):
        raise BadRow(raw.where, "answers", "needs text and answer_start, lists of one length", CORRECT)
    found = [answer_at(context, text, start) for text, start in zip(texts, starts, strict=True)]
    yield _example(raw.text("question"), context, found)


def multiqa(raw: Raw) -> Iterator[Example | Skipped]:
    """A line of MultiQA's own files: a header, or documents with several questions, whose answers have places.

    Answers may be empty though the question is not marked `cannot_answer`: it is unanswerable, too.
    """
    if "header" in raw.values:
        return
    documents = _documents(raw)
    context = join_documents(documents)
    for number, qa in enumerate(raw.get("qas", list)):
        try:
            question, given = qa["question"].strip(), qa["answers"]
            yield _multiqa_question(question, context, given)
        except (AttributeError, KeyError, TypeError, IndexError) as error:
            problem = f"question {number} is not in MultiQA's form ({type(error).__name__}: {error})"
            raise BadRow(raw.where, "qas", problem, "use a file of MultiQA's release as it is") from None


def _documents(raw: Raw) -> list[dict[str, str]]:
    value = raw.get("context", Mapping).get("documents")
    if not isinstance(value, list) or not value:
        raise BadRow(raw.where, "context", "has no documents", CORRECT)
    documents = [{part: document[part] for part in PARTS if part in document} for document in value]
    if not all(isinstance(text, str) for document in documents for text in document.values()):
        raise BadRow(raw.where, "context", "has a document part that is not a text", CORRECT)
    return documents


def _multiqa_question(question: str, context: Context, given: Mapping[str, Any]) -> Example | Skipped:
    if "open-ended" not in given:
        return Skipped("it is multiple choice")
    if "cannot_answer" in given["open-ended"]:
        return Example((question, context.text), answers=())
    candidates = given["open-ended"]["annotators_answer_candidates"]
    found: list[Answer | None] = []
    for single in (candidate["single_answer"] for candidate in candidates if "single_answer" in candidate):
        if "extractive" in single:
            for place in single["extractive"]["instances"]:
                start = context.starts[place["doc_id"], place["part"]] + place["start_byte"]  # counts characters
                found.append(answer_at(context.text, place["text"], start))
        elif "yesno" in single:
            found.append(YES_NO[single["yesno"]])
    if not found and candidates:
        if any("list" in candidate for candidate in candidates):
            return Skipped(A_LIST)
        if not any("extractive" in candidate["single_answer"] for candidate in candidates):
            return Skipped(NOT_A_SPAN)
    return _example(question, context.text, found)


def hotpot_qa(raw: Raw) -> Iterator[Example | Skipped]:
    """HotpotQA, distractor setting: answer, supporting_facts, context {title: [...], sentences: [[...]]}.

    Kept are the supporting paragraphs and `distractors` others, in their old order; the answer is looked for in
    the supporting ones alone, as MultiQA does.
    """
    given, titles = raw.get("context", Mapping), raw.get("supporting_facts", Mapping).get("title")
    names, texts = given.get("title"), given.get("sentences")
    if not (_all(titles, str) and _all(names, str) and _all(texts, list) and len(names) == len(texts)):
        raise BadRow(raw.where, "context", "needs titles, sentences of each, and supporting titles", CORRECT)
    paragraphs = [{"title": name, "text": "".join(text)} for name, text in zip(names, texts, strict=True)]
    others = [number for number, paragraph in enumerate(paragraphs) if paragraph["title"] not in titles]
    if raw.entry.distractors is not None:
        others = raw.draw.sample(others, min(raw.entry.distractors, len(others)))
    kept = [p for number, p in enumerate(paragraphs) if p["title"] in titles or number in others]
    within = [number for number, paragraph in enumerate(kept) if paragraph["title"] in titles]
    answer = raw.text("answer")
    yield _search(raw, kept, [answer], within=within, yes_no=answer in YES_NO)


def duorc(raw: Raw) -> Iterator[Example | Skipped]:
    """DuoRC: plot, title, question, answers, no_answer. Any of the answers will do; many are no spans."""
    documents = [{"title": raw.get("title", str), "text": raw.text("plot")}]
    if raw.get("no_answer", bool):
        yield Example((raw.text("question").strip(), join_documents(documents).text), answers=())
    else:
        yield _search(raw, documents, raw.get("answers", list))


def drop(raw: Raw) -> Iterator[Example | Skipped]:
    """DROP as released: answer {number, date, spans}, validated_answers (lists of the same) or none.

    The first answer must be a single span; others that are one, too, are gold answers beside it.
    """
    main = raw.get("answer", Mapping)
    if main.get("number") or any((main.get("date") or {}).values()):
        yield Skipped(NOT_A_SPAN)
    elif len(main.get("spans", ())) != 1:
        yield Skipped(A_LIST)
    else:
        validated = (raw.values.get("validated_answers") or {}).get("spans", ())
        spans = [spans[0] for spans in (main["spans"], *validated) if len(spans) == 1]
        yield _search(raw, [{"text": raw.text("passage")}], spans, first=True)


def drop_flat(raw: Raw) -> Iterator[Example | Skipped]:
    """DROP without the types of answers: answer, answers (the accepted ones). A bare number counts as a number."""
    if NUMBER.fullmatch(raw.text("answer").strip()):
        yield Skipped(NOT_A_SPAN)
    else:
        yield _search(raw, [{"text": raw.text("passage")}], [raw.text("answer"), *raw.get("answers", list)], first=True)


def wiki_hop(raw: Raw) -> Iterator[Example | Skipped]:
    """WikiHop: question (a relation and its subject), answer (lower case), supports (paragraphs)."""
    yield _search(raw, [{"text": text} for text in raw.get("supports", list)], [raw.text("answer")])


def boolq_span(raw: Raw) -> Iterator[Example | Skipped]:
    """BoolQ with its answer as the span `yes` or `no` that MultiQA puts before every context."""
    documents = [{"title": raw.text("title"), "text": raw.text("passage")}]
    answer = YES_NO["yes" if raw.get("answer", bool) else "no"]
    yield Example((raw.text("question").strip(), join_documents(documents).text), answers=(answer,))


def _all(values: Any, kind: type) -> bool:
    """Whether this is a list of values of one type."""
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _search(
    raw: Raw,
    documents: Sequence[Mapping[str, str]],
    answers: list[str],
    *,
    within: Iterable[int] | None = None,
    yes_no: bool = False,
    first: bool = False,
) -> Example | Skipped:
    """The example whose gold answers are those that stand in the documents.

    within: numbers of the documents that are searched. yes_no: the answer is one of these words. first: no
    other answer will do where the first is not there.
    """
    if not _all(answers, str):
        raise BadRow(raw.where, None, f"has an answer that is not a text: {list(answers)}", CORRECT)
    context = join_documents(documents)
    if yes_no:
        return Example((raw.text("question").strip(), context.text), answers=(YES_NO[answers[0]],))
    found = [find_answer(documents, context, answer, within) for answer in answers]
    if first and found[0] is None:
        return Skipped(NOT_THERE)
    there = [answer for answer in found if answer is not None]
    return _example(raw.text("question"), context.text, there or [None])


def _example(question: str, context: str, found: Sequence[Answer | None]) -> Example | Skipped:
    """The example with these answers, each once; none: unanswerable. An answer that is None was not found."""
    if None in found:
        return Skipped(NOT_THERE)
    return Example((question.strip(), context), answers=tuple(dict.fromkeys(a for a in found if a is not None)))
