"""Readers of question answering: they turn a raw row into (question, context) and the places of its answers.

SQuAD is read as released. All other datasets get MultiQA's form (`squad_form`): only questions with a single span,
with yes or no, or without an answer are kept. An answer that several annotators gave is listed once. Contexts keep
their outer whitespace, since places count from their start.
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
    """Read SQuAD 1.1 and 2.0: context, question, answers {text: [...], answer_start: [...]} (empty: unanswerable)."""
    context, given = raw.text("context"), raw.get("answers", Mapping)
    texts, starts = (given.get(name) for name in ("text", "answer_start"))
    if not _all(texts, str) or not _all(starts, int) or len(texts) != len(starts):
        raise BadRow(raw.where, "answers", "needs text and answer_start, lists of one length", CORRECT)
    answers = [answer_at(context, text, start) for text, start in zip(texts, starts, strict=True)]
    yield _example(raw.text("question"), context, answers)


def multiqa(raw: Raw) -> Iterator[Example | Skipped]:
    """Read a line of MultiQA's own files: a header, or documents with several questions, whose answers have places.

    A question with no answers is unanswerable even if it is not marked `cannot_answer`.
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
    answers: list[Answer | None] = []
    for single in (candidate["single_answer"] for candidate in candidates if "single_answer" in candidate):
        if "extractive" in single:
            for place in single["extractive"]["instances"]:
                start = context.starts[place["doc_id"], place["part"]] + place["start_byte"]  # counts characters
                answers.append(answer_at(context.text, place["text"], start))
        elif "yesno" in single:
            answers.append(YES_NO[single["yesno"]])
    if not answers and candidates:
        if any("list" in candidate for candidate in candidates):
            return Skipped(A_LIST)
        if not any("extractive" in candidate["single_answer"] for candidate in candidates):
            return Skipped(NOT_A_SPAN)
    return _example(question, context.text, answers)


def hotpot_qa(raw: Raw) -> Iterator[Example | Skipped]:
    """Read HotpotQA, distractor setting: answer, supporting_facts, context {title: [...], sentences: [[...]]}.

    The supporting paragraphs and `distractors` others are kept, in their original order. The answer is searched in
    the supporting ones alone, as in MultiQA.
    """
    given, titles = raw.get("context", Mapping), raw.get("supporting_facts", Mapping).get("title")
    names, texts = given.get("title"), given.get("sentences")
    if not (_all(titles, str) and _all(names, str) and _all(texts, list) and len(names) == len(texts)):
        raise BadRow(raw.where, "context", "needs titles, sentences of each, and supporting titles", CORRECT)
    if not all(_all(text, str) for text in texts):
        raise BadRow(raw.where, "context", "has a sentence that is not a text", CORRECT)
    paragraphs = [{"title": name, "text": "".join(text)} for name, text in zip(names, texts, strict=True)]
    others = [number for number, paragraph in enumerate(paragraphs) if paragraph["title"] not in titles]
    if raw.entry.distractors is not None:
        others = raw.draw.sample(others, min(raw.entry.distractors, len(others)))
    kept = [p for number, p in enumerate(paragraphs) if p["title"] in titles or number in others]
    within = [number for number, paragraph in enumerate(kept) if paragraph["title"] in titles]
    answer = raw.text("answer")
    yield _search(raw, kept, [answer], within=within, yes_no=answer in YES_NO)


def duorc(raw: Raw) -> Iterator[Example | Skipped]:
    """Read DuoRC: plot, title, question, answers, no_answer. One answer that is a span is enough; many are not."""
    documents = [{"title": raw.get("title", str), "text": raw.text("plot")}]
    if raw.get("no_answer", bool):
        yield Example((raw.text("question").strip(), join_documents(documents).text), answers=())
    else:
        yield _search(raw, documents, raw.get("answers", list))


def drop(raw: Raw) -> Iterator[Example | Skipped]:
    """Read DROP as released: answer {number, date, spans}, validated_answers (lists of the same) or none.

    The first answer must be a single span; validated answers that are single spans are further gold answers.
    """
    main = raw.get("answer", Mapping)
    if main.get("number") or any((main.get("date") or {}).values()):
        yield Skipped(NOT_A_SPAN)
    elif len(main.get("spans") or ()) != 1:
        yield Skipped(A_LIST)
    else:
        spans = [spans[0] for spans in (main["spans"], *_validated_spans(raw)) if len(spans) == 1]
        yield _search(raw, [{"text": raw.text("passage")}], spans, first=True)


def _validated_spans(raw: Raw) -> list[list[str]]:
    """Spans of each validated answer of DROP: the release lists answers, the hub's tables have a list per field."""
    given = raw.values.get("validated_answers") or []
    if isinstance(given, Mapping):
        spans = given.get("spans") or []
    elif _all(given, dict):
        spans = [answer.get("spans") for answer in given]
    else:
        raise BadRow(raw.where, "validated_answers", "holds something that is no answer of DROP", CORRECT)
    return [each or [] for each in spans]


def drop_flat(raw: Raw) -> Iterator[Example | Skipped]:
    """Read DROP without types of answers: answer, answers (the accepted ones). A bare number is of type number."""
    if NUMBER.fullmatch(raw.text("answer").strip()):
        yield Skipped(NOT_A_SPAN)
    else:
        yield _search(raw, [{"text": raw.text("passage")}], [raw.text("answer"), *raw.get("answers", list)], first=True)


def wiki_hop(raw: Raw) -> Iterator[Example | Skipped]:
    """Read WikiHop: question (a relation and its subject), answer (lower case), supports (paragraphs)."""
    yield _search(raw, [{"text": text} for text in raw.get("supports", list)], [raw.text("answer")])


def boolq_span(raw: Raw) -> Iterator[Example | Skipped]:
    """Read BoolQ, with its answer as the span `yes` or `no` that MultiQA puts before every context.

    The original files have titles, the repository on the hub (google/boolq) has none.
    """
    titled = {"title": raw.text("title")} if "title" in raw.values else {}
    documents = [titled | {"text": raw.text("passage")}]
    answer = YES_NO["yes" if raw.get("answer", bool) else "no"]
    yield Example((raw.text("question").strip(), join_documents(documents).text), answers=(answer,))


def _all(values: Any, kind: type) -> bool:
    """True if `values` is a list of values of this type."""
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
    """Example whose gold answers are those of `answers` that occur in the documents; skipped if none does.

    within: numbers of the documents to search. yes_no: the answer is one of these words. first: skip the question
    if the first answer does not occur, even if others do.
    """
    if not _all(answers, str):
        raise BadRow(raw.where, None, f"has an answer that is not a text: {list(answers)}", CORRECT)
    context = join_documents(documents)
    if yes_no:
        return Example((raw.text("question").strip(), context.text), answers=(YES_NO[answers[0]],))
    places = [find_answer(documents, context, answer, within) for answer in answers]
    if first and places[0] is None:
        return Skipped(NOT_THERE)
    answers_found = [answer for answer in places if answer is not None]
    return _example(raw.text("question"), context.text, answers_found or [None])


def _example(question: str, context: str, answers: Sequence[Answer | None]) -> Example | Skipped:
    """Example with these answers, each once; unanswerable if there are none; skipped if one is None (not found)."""
    if None in answers:
        return Skipped(NOT_THERE)
    return Example((question.strip(), context), answers=tuple(dict.fromkeys(a for a in answers if a is not None)))
