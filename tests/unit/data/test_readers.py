"""Every form of raw rows, with its traps. The rows have the fields of the real files."""

import random
from typing import get_args

import pytest

from fute.config.datasets import DatasetSettings, LabelReader, SpanReader
from fute.data.examples import Example, Raw, Skipped
from fute.data.qa_readers import A_LIST, NOT_A_SPAN, NOT_THERE
from fute.data.readers import READERS, form_of
from fute.data.rows import Answer, BadRow
from fute.data.squad_form import YES_NO


def entry(reader, **changes):
    span = reader in get_args(SpanReader)
    values = {"title": "T", "category": "qa", "reader": reader, "splits": {"train": "train", "test": "test"}}
    values |= {"task": "span", "metric": "span_f1"} if span else {"classes": ["A", "B"], "labels": {"A": "A", "B": "B"}}
    return DatasetSettings.model_validate(values | changes)


def read(reader, values, seed=0, **changes):
    raw = Raw(values, "raw.jsonl, row 4", entry(reader, **changes), random.Random(seed))
    return list(READERS[reader].read(raw))


def one(reader, values, **changes):
    (example,) = read(reader, values, **changes)
    if isinstance(example, Example) and example.answers:
        context = example.segments[1]
        assert all(context[a.start : a.start + len(a.text)] == a.text for a in example.answers)
    return example


def texts(example):
    return [answer.text for answer in example.answers]


def test_every_form_has_a_reader():
    assert set(READERS) == {*get_args(LabelReader), *get_args(SpanReader)}
    assert form_of(entry("squad", files={"reader": "duorc"}), "files").read is READERS["duorc"].read
    assert form_of(entry("squad", files={"reader": "duorc"}), "hub").read is READERS["squad"].read


# --- squad ----------------------------------------------------------------------------------------------

SQUAD = {
    "id": "5", "title": "Normans", "context": " The Normans were in Normandy, in France.", "question": " Where? ",
    "answers": {"text": ["Normandy", "in Normandy", "Normandy"], "answer_start": [21, 18, 21]},
}  # fmt: skip


def test_squad_keeps_its_context_and_each_answer_once():
    example = one("squad", SQUAD)
    # the question is cut, the context is not: its places would be wrong by one
    assert example.segments == ("Where?", " The Normans were in Normandy, in France.")
    assert example.answers == (Answer("Normandy", 21), Answer("in Normandy", 18))


def test_squad_without_answers_is_unanswerable():
    assert one("squad", SQUAD | {"answers": {"text": [], "answer_start": []}}).answers == ()


def test_a_squad_answer_that_is_elsewhere_cannot_be_used():
    wrong = SQUAD | {"answers": {"text": ["Normandy", "Normandy"], "answer_start": [21, 20]}}
    assert one("squad", wrong) == Skipped(NOT_THERE)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"text": ["a"]}, "needs text and answer_start"),
        ({"text": ["a"], "answer_start": []}, "lists of one length"),
        ({"text": ["a"], "answer_start": [None]}, "needs text and answer_start"),
        ([], "is of type list, not Mapping"),
    ],
)
def test_squad_answers_of_another_form_are_refused(answers, message):
    with pytest.raises(BadRow, match=rf"raw.jsonl, row 4, field 'answers': .*{message}"):
        read("squad", SQUAD | {"answers": answers})


# --- multiqa --------------------------------------------------------------------------------------------


def multiqa(*answers):
    documents = [{"title": "Spain", "text": "Madrid is its capital."}, {"snippet": "Madrid, again", "url": "x"}]
    qas = [{"qid": f"Q_q_{n}", "question": f"q{n} ", "answers": given} for n, given in enumerate(answers)]
    return {"id": "Q_1", "context": {"documents": documents}, "qas": qas}


def place(text, start, document=0, part="text"):
    instance = {"doc_id": document, "part": part, "start_byte": start, "text": text, "token_inds": [0, 0]}
    return {"single_answer": {"extractive": {"answer": text, "aliases": ["x"], "instances": [instance]}}}


def open_ended(*candidates):
    return {"open-ended": {"annotators_answer_candidates": list(candidates)}}


CONTEXT = "[aug] yes no  [title] Spain [text] Madrid is its capital. [snippet] Madrid, again"


def test_multiqa_answers_are_shifted_into_the_joined_context():
    example = one("multiqa", multiqa(open_ended(place("madrid", 0), place("again", 8, 1, "snippet"))))
    assert example.segments == ("q0", CONTEXT)
    assert example.answers == (Answer("Madrid", CONTEXT.index("Madrid")), Answer("again", CONTEXT.index("again")))


def test_a_line_of_multiqa_holds_several_questions_or_a_header():
    assert read("multiqa", {"header": {"dataset_name": "NewsQA"}}) == []
    found = read(
        "multiqa",
        multiqa(
            open_ended(place("Madrid", 0)),
            {"open-ended": {"cannot_answer": "yes"}},
            open_ended(),  # empty, though not marked
            open_ended({"single_answer": {"extractive": {"answer": "Rome", "instances": []}}}),  # found nowhere
            open_ended({"single_answer": {"yesno": "no"}}),
            open_ended({"list": [{"extractive": {"answer": "Madrid"}}]}),
            open_ended({"single_answer": {"number": 3.0}}),
            {"multi-choice": {"choices": [], "correct_answer_index": 0}},
            open_ended(place("Madrid", 1)),
            open_ended({"list": []}, place("Spain", 0, 0, "title")),  # one annotator's list, another's answer
        ),
    )
    assert [example.segments[0] for example in found if isinstance(example, Example)] == [
        "q0", "q1", "q2", "q3", "q4", "q9",
    ]  # fmt: skip
    assert [found[n].answers for n in (1, 2, 3, 4)] == [(), (), (), (YES_NO["no"],)]
    assert [found[n].reason for n in (5, 6, 8)] == [A_LIST, NOT_A_SPAN, NOT_THERE]
    assert found[7] == Skipped("it is multiple choice")
    assert texts(found[9]) == ["Spain"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"id": 98, "question": "q", "answers": ["1.75 meter"]}, r"field 'context': is missing .*; add snippets"),
        ({"context": {"documents": []}, "qas": []}, "field 'context': has no documents"),
        ({"context": {"documents": [{"text": 3}]}, "qas": []}, "a document part that is not a text"),
        (multiqa({}) | {"qas": [{"question": "q"}]}, r"field 'qas': question 0 is not in MultiQA's form"),
        (multiqa(open_ended(place("Madrid", 0, 7))), r"question 0 is not in MultiQA's form \(KeyError"),
        (multiqa(open_ended({"single_answer": {"yesno": "perhaps"}})), "question 0 is not in MultiQA's form"),
    ],
)
def test_multiqa_lines_of_another_form_are_refused(values, message):
    with pytest.raises(BadRow, match=rf"raw.jsonl, row 4, .*{message}"):
        read("multiqa", values, obtain="add snippets")


# --- hotpot_qa ------------------------------------------------------------------------------------------


def hotpot(answer, **changes):
    return {
        "id": "5a", "question": "Which city?", "answer": answer, "type": "bridge", "level": "hard",
        "supporting_facts": {"title": ["Band", "Album", "Band"], "sent_id": [0, 0, 1]},
        "context": {
            "title": ["D0", "Band", "D1", "D2", "Album", "D3"],
            "sentences": [["Tulsa first."], ["They met.", " It was in Tulsa."], ["x"], ["y"], ["A record."], ["z"]],
        },
    } | changes  # fmt: skip


def titles(example):
    return [part.split(" [text]")[0] for part in example.segments[1].split(" [title] ")[1:]]


def test_hotpot_answers_are_found_in_the_supporting_paragraphs_alone():
    example = one("hotpot_qa", hotpot("Tulsa"))
    assert titles(example) == ["D0", "Band", "D1", "D2", "Album", "D3"]
    assert example.segments[1][: example.answers[0].start].endswith("They met. It was in ")
    assert one("hotpot_qa", hotpot("Tulsa first")) == Skipped(NOT_THERE)


def test_hotpot_contexts_are_cut_with_a_seed_in_their_old_order():
    cut = {seed: read("hotpot_qa", hotpot("Tulsa"), seed, distractors=2)[0] for seed in range(20)}
    for example in cut.values():
        kept = titles(example)
        assert len(kept) == 4 and {"Band", "Album"} <= set(kept)
        assert kept == [title for title in titles(one("hotpot_qa", hotpot("Tulsa"))) if title in kept]
        assert texts(example) == ["Tulsa"]
    assert len({example.segments for example in cut.values()}) == 6  # every pair of the four is drawn
    assert read("hotpot_qa", hotpot("Tulsa"), 3, distractors=2) == [cut[3]]
    assert titles(one("hotpot_qa", hotpot("Tulsa"), distractors=0)) == ["Band", "Album"]
    assert len(titles(one("hotpot_qa", hotpot("Tulsa"), distractors=9))) == 6


def test_hotpot_yes_and_no_are_the_words_before_the_context():
    no = hotpot("no")
    no["context"]["sentences"][1] = ["There is no doubt."]
    assert one("hotpot_qa", no).answers == (Answer("no", 10),)
    assert one("hotpot_qa", hotpot("yes")).answers == (Answer("yes", 6),)


def test_hotpot_titles_without_sentences_are_refused():
    with pytest.raises(BadRow, match="field 'context': needs titles"):
        read("hotpot_qa", hotpot("Tulsa", context={"title": ["a"], "sentences": []}))
    with pytest.raises(BadRow, match="field 'context': has a sentence that is not a text"):
        read("hotpot_qa", hotpot("Tulsa", context={"title": ["a"], "sentences": [["b", None]]}))


# --- duorc, drop, wiki_hop, boolq_span ------------------------------------------------------------------

DUORC = {
    "plot_id": "/m/0", "plot": "\n\nMelanie arrives by train.", "title": "Ghosts",
    "question_id": "q", "question": "How?",
    "answers": ["They came by train.", "BY TRAIN", "train"], "no_answer": False,
}  # fmt: skip


def test_duorc_takes_those_answers_that_are_spans():
    example = one("duorc", DUORC)
    assert texts(example) == ["by train", "train"]
    assert example.segments[1].startswith("[aug] yes no  [title] Ghosts [text] \n\nMelanie")
    assert one("duorc", DUORC | {"answers": ["On foot."]}) == Skipped(NOT_THERE)
    assert one("duorc", DUORC | {"answers": [], "no_answer": True}).answers == ()
    assert one("duorc", DUORC | {"answers": []}) == Skipped(NOT_THERE)


def test_an_answer_that_is_no_text_is_refused():
    with pytest.raises(BadRow, match=r"row 4: has an answer that is not a text: \['train', None\]"):
        read("duorc", DUORC | {"answers": ["train", None]})


DATE = {"day": "", "month": "", "year": ""}
PASSAGE = {"query_id": "d", "passage": "Dayne ran 153 yards for Houston.", "question": "Who ran?"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"number": "", "date": DATE, "spans": ["Dayne"]}, ["Dayne", "Houston"]),
        ({"number": "153", "date": DATE, "spans": []}, NOT_A_SPAN),
        ({"number": "", "date": DATE | {"year": "2006"}, "spans": []}, NOT_A_SPAN),
        ({"number": "", "date": DATE, "spans": ["Dayne", "Houston"]}, A_LIST),
        ({"number": "", "date": DATE, "spans": []}, A_LIST),
        ({"number": "", "date": DATE, "spans": ["Brown"]}, NOT_THERE),  # an alternative does not stand in for it
    ],
)
def test_drop_keeps_single_spans(answer, expected):
    validated = {"number": ["", ""], "date": [DATE, DATE], "spans": [["Houston"], ["yards", "Dayne"], ["Texas"], []]}
    example = one("drop", PASSAGE | {"answer": answer, "validated_answers": validated})
    assert (texts(example) if isinstance(example, Example) else example.reason) == expected


def test_validated_answers_of_drop_are_read_as_the_release_lists_them():
    answer = {"number": "", "date": DATE, "spans": ["Dayne"]}
    listed = [{"number": "", "date": {}, "spans": ["Houston"]}, {"number": "153", "date": {}, "spans": []}]
    assert texts(one("drop", PASSAGE | {"answer": answer, "validated_answers": listed})) == ["Dayne", "Houston"]
    with pytest.raises(BadRow, match=r"validated_answers.*no answer of DROP"):
        one("drop", PASSAGE | {"answer": answer, "validated_answers": ["Houston"]})


def test_drop_without_a_list_of_spans_has_no_single_span():
    assert one("drop", PASSAGE | {"answer": {"number": "", "date": None, "spans": None}}) == Skipped(A_LIST)
    validated = {"spans": None}
    example = one("drop", PASSAGE | {"answer": {"spans": ["Dayne"]}, "validated_answers": validated})
    assert example == one("drop", PASSAGE | {"answer": {"spans": ["Dayne"]}})


@pytest.mark.parametrize(
    ("answer", "answers", "expected"),
    [
        ("Dayne", ["Dayne", "Houston", "Dayne and Brown"], ["Dayne", "Houston"]),
        ("153", ["153"], NOT_A_SPAN),  # in the passage, but a number all the same
        ("-0.5", ["-0.5"], NOT_A_SPAN),
        ("Dayne and Houston", ["Dayne and Houston", "Dayne"], NOT_THERE),
        ("153 yards", ["153 yards"], ["153 yards"]),
    ],
)
def test_drop_without_types_keeps_spans(answer, answers, expected):
    example = one("drop_flat", PASSAGE | {"answer": answer, "answers": answers})
    assert (texts(example) if isinstance(example, Example) else example.reason) == expected


def test_wiki_hop_answers_have_their_documents_case():
    row = {"id": "W", "question": "participant_of juan rossell", "answer": "1996 summer olympics",
           "candidates": ["sport"], "supports": ["The 2004 Games.", "The 1996 Summer Olympics."]}  # fmt: skip
    example = one("wiki_hop", row)
    assert texts(example) == ["1996 Summer Olympics"]
    assert example.segments == (
        "participant_of juan rossell",
        "[aug] yes no  [text] The 2004 Games. [text] The 1996 Summer Olympics.",
    )


@pytest.mark.parametrize(("answer", "word"), [(True, "yes"), (False, "no")])
def test_boolq_as_spans(answer, word):
    row = {"question": "is it no", "title": "Law", "passage": "No, yes.", "answer": answer}
    assert one("boolq_span", row).answers == (YES_NO[word],)
    without_title = {name: value for name, value in row.items() if name != "title"}  # as on the hub
    assert set(READERS["boolq_span"].columns) == set(without_title)
    assert one("boolq_span", without_title).segments[1] == f"[aug] yes no  [text] {row['passage']}"
    with pytest.raises(BadRow, match="field 'answer': is of type str, not bool"):
        read("boolq_span", row | {"answer": "yes"})


# --- med_qa, medalpaca ----------------------------------------------------------------------------------


def test_both_forms_of_medqa_give_the_same_row():
    options = {"A": "Tell the patient's family", "B": 'Say "no"'}
    listed = [{"key": key, "value": value} for key, value in options.items()]
    bigbio = {"meta_info": "step1", "question": "What {next}?", "answer_idx": "B", "options": listed, "answer": "x"}
    dump = {"instruction": "Answer.", "input": f"Q:What {{next}}? \n{options}", "output": 'B: Say "no"'}
    expected = Example(("What {next}?", 'A: Tell the patient\'s family B: Say "no"'), "B")
    assert one("med_qa", bigbio) == one("medalpaca", dump) == expected
    assert one("medalpaca", dump | {"input": dump["input"] + ","}) == expected


@pytest.mark.parametrize(
    ("reader", "values", "message"),
    [
        ("med_qa", {"question": "q", "answer_idx": "A", "options": ["x"]}, "field 'options': holds 'x'"),
        (
            "med_qa",
            {"question": "q", "answer_idx": "A", "options": [{"key": ["A"], "value": "x"}]},
            r"field 'options': holds \{'key': \['A'\], 'value': 'x'\}, not \{key, value\}",
        ),
        ("med_qa", {"question": "q", "options": []}, "field 'answer_idx': is missing"),
        (
            "med_qa",
            {"question": "q", "answer_idx": "A", "options": [{"key": "A", "value": None}]},
            "or one that is not a text: {'A': None}",
        ),
        ("medalpaca", {"input": "Q:What? {'A': 1}", "output": "A: x"}, "or one that is not a text: {'A': 1}"),
        ("medalpaca", {"input": "Q:What?", "output": "A: x"}, "field 'input': does not end in the options"),
        ("medalpaca", {"input": "Q:What? {'A': x}", "output": "A: x"}, "has options that cannot be read"),
        ("medalpaca", {"input": "Q:What? {'A': {[]: 1}}", "output": "A: x"}, "has options that cannot be read"),
        ("medalpaca", {"input": f"Q:What? {{'A': {'-' * 9999}1}}", "output": "A: x"}, "has options that cannot be"),
        ("medalpaca", {"input": "Q:What? {'A': 'x'}", "output": " "}, "field 'output': is empty"),
    ],
)
def test_medqa_of_another_form_is_refused(reader, values, message):
    with pytest.raises(BadRow, match=rf"raw.jsonl, row 4, .*{message}"):
        read(reader, values)
