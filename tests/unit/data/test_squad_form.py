"""MultiQA's SQuAD-2 form: the context, and every answer at its place in it."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fute.data.rows import Answer
from fute.data.squad_form import YES_NO, answer_at, find_answer, join_documents

TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=40)
DOCUMENT = st.fixed_dictionaries({}, optional={"title": TEXT, "text": TEXT, "snippet": TEXT, "url": TEXT})


def test_the_context_is_multiqas():
    documents = [{"text": "It has hills.", "title": "Rome", "url": "left out"}, {"snippet": "A city."}]
    context = join_documents(documents)
    assert context.text == "[aug] yes no  [title] Rome [text] It has hills. [snippet] A city."
    assert context.starts == {(0, "title"): 22, (0, "text"): 34, (1, "snippet"): 58}


def test_yes_and_no_stand_before_every_context():
    text = join_documents([]).text
    assert [(word, answer.start) for word, answer in YES_NO.items()] == [("yes", 6), ("no", 10)]
    assert [text[answer.start :][: len(answer.text)] for answer in YES_NO.values()] == ["yes", "no"]


@given(st.lists(DOCUMENT, max_size=5))
def test_every_part_is_in_the_context_where_it_is_said_to_be(documents):
    context = join_documents(documents)
    for (number, part), start in context.starts.items():
        content = documents[number][part]
        assert context.text[start : start + len(content)] == content
        assert context.text[:start].endswith(f" [{part}] ")
    given_parts = {(n, p) for n, doc in enumerate(documents) for p in doc if p != "url"}
    assert set(context.starts) == given_parts


@given(st.lists(DOCUMENT, min_size=1, max_size=4), st.data())
def test_shifted_places_hold_what_stood_in_the_document(documents, data):
    context = join_documents(documents)
    assume(any(documents[number][part] for number, part in context.starts))
    number, part = data.draw(st.sampled_from([key for key in context.starts if documents[key[0]][key[1]]]))
    content = documents[number][part]
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(start + 1, len(content)))
    answer = answer_at(context.text, content[start:end], context.starts[number, part] + start)
    assert answer == Answer(content[start:end], context.starts[number, part] + start)


@given(st.lists(DOCUMENT, min_size=1, max_size=4), st.data())
def test_whole_words_are_found_and_stand_where_they_are_said_to(documents, data):
    words = [w for d in documents for p in ("title", "text", "snippet") for w in re.findall(r"\w+", d.get(p, ""))]
    assume(words)
    word = data.draw(st.sampled_from(words))
    context = join_documents(documents)
    answer = find_answer(documents, context, word)
    assert answer is not None and answer.text == word
    assert context.text[answer.start : answer.start + len(word)] == word


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("art", "art"),  # not the one inside "party"
        ("Art", "art"),  # the other case, where this one is not there
        ("PARTY", "party"),
        ("in  1990", "in\n1990"),  # whitespace equals whitespace; the text is the document's
        ("$5", "$5"),
        ("5", "5"),  # a word of its own in "US$5", not in "55"
        ("199", None),
        ("part", None),
        ("", None),
        (" ", None),
    ],
)
def test_answers_are_whole_words(answer, found):
    documents = [{"title": "Party", "text": "A 55 party for art in\n1990 cost US$5."}]
    context = join_documents(documents)
    result = find_answer(documents, context, answer)
    assert result == (found and Answer(found, context.text.rindex(found)))


def test_texts_come_before_titles_and_some_documents_can_be_left_out():
    documents = [{"title": "Oslo", "text": "A city."}, {"title": "Norway", "text": "oslo, then Oslo."}]
    context = join_documents(documents)
    assert find_answer(documents, context, "Oslo") == Answer("Oslo", context.text.rindex("Oslo"))
    assert find_answer(documents, context, "Oslo", within=[0]) == Answer("Oslo", context.text.index("Oslo"))
    assert find_answer(documents, context, "Oslo", within=[]) is None
    assert find_answer(documents, context, "oslo").start == context.text.index("oslo")


@pytest.mark.parametrize(("text", "start"), [("Rome", 1), ("old", -9), ("", 0), ("Rome", 99)])
def test_an_answer_that_is_elsewhere_is_not_at_its_place(text, start):
    assert answer_at("Rome is old. Rome", text, start) is None


def test_an_answer_takes_the_case_of_its_context():
    assert answer_at("in Rome", "rome", 3) == Answer("Rome", 3)
