"""Regression, span QA, held-out shares and exclusion of other datasets' texts: from raw rows to splits."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.categories import CONTEXT
from support.raw_rows import memory

from fute.config.datasets import DatasetSettings
from fute.data.rows import Answer, BadRow, Row, SourceError, overlap_key
from fute.data.sources import load_dataset_rows, source_identity
from fute.data.splits import exclusion_keys, normalise, size_warnings

SPLITS = {"train": "train", "test": "test"}
STSB = {
    "title": "STS-B", "category": "cr", "task": "regression", "metric": "spearman", "splits": SPLITS,
    "fields": ["sentence1", "sentence2"], "label_field": "label", "scale": {"low": 0, "high": 5, "step": 0.2},
}  # fmt: skip
SQUAD = {"title": "SQuAD", "category": "qa", "task": "span", "metric": "span_f1", "reader": "squad", "splits": SPLITS}
PHRASEBANK = {
    "title": "FPB", "category": "cr", "domain": "finance", "fields": ["sentence"], "label_field": "label",
    "labels": ["negative", "neutral", "positive"], "classes": ["negative", "neutral", "positive"],
    "splits": {"train": "all"}, "heldout_share": 0.2, "sample": None,
}  # fmt: skip


def settings(values, **changes):
    return DatasetSettings.model_validate(values | changes, context=CONTEXT)


def pairs(*labels):
    return [{"sentence1": f"a {n}", "sentence2": f"b {n}", "label": label} for n, label in enumerate(labels)]


def question(n, answer="it", context=None):
    context = f"Is it {n}?" if context is None else context
    start = context.find(answer) if answer else -1
    found = {"text": [answer], "answer_start": [start]} if answer else {"text": [], "answer_start": []}
    return {"id": str(n), "title": "t", "context": context, "question": f"what is {n}", "answers": found}


def questions(numbers, **changes):
    return [question(n, **changes) for n in numbers]


# --- regression -----------------------------------------------------------------------------------------


def test_numbers_keep_their_value_and_get_a_rounded_target():
    evaluated = [pair | {"sentence1": "t"} for pair in pairs(2.5, 3.0)]
    rows, counts = normalise("stsb", settings(STSB), memory(pairs(5.0, 1.75, 0), evaluated), dev_share=0)
    assert rows["train"] == [
        Row("stsb/train/0", ("a 0", "b 0"), "5.0", value=5.0),
        Row("stsb/train/1", ("a 1", "b 1"), "1.8", value=1.75),
        Row("stsb/train/2", ("a 2", "b 2"), "0.0", value=0.0),
    ]
    assert [row.label for row in rows["test"]] == ["2.4", "3.0"]
    assert counts["test"]["classes"] == {"2.4": 1, "3.0": 1}


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (5.2, "is 5.2, outside 0.0 to 5.0; correct it or scale of stsb"),
        (-1, "is -1, outside"),
        ("3.0", "is '3.0', not a number; cells of CSV and TSV are text: save the rows as JSON lines or Parquet"),
        (True, "is True, not a number"),
        (float("nan"), "is nan, not a number"),
        (None, "is None, not a number"),
    ],
)
def test_numbers_off_the_scale_are_refused(label, message):
    with pytest.raises(BadRow, match=f"test.jsonl, row 2, field 'label': {message}"):
        normalise("stsb", settings(STSB), memory(pairs(1.0, 2.0), pairs(1.0, label)))


@pytest.mark.parametrize("unlabelled", [{}, {"unlabelled": []}])
def test_minus_one_is_a_number_where_numbers_are_learned(unlabelled):
    tone = settings(STSB, scale={"low": -1, "high": 1, "step": 0.5}, **unlabelled)
    evaluated = [pair | {"sentence1": "t"} for pair in pairs(-1, 0, 1, -1.0)]
    rows, counts = normalise("tone", tone, memory(pairs(-1, 0, 1, -1, -1), evaluated), dev_share=0)
    assert [(row.label, row.value) for row in rows["train"]] == [
        ("-1.0", -1.0), ("0.0", 0.0), ("1.0", 1.0), ("-1.0", -1.0), ("-1.0", -1.0),
    ]  # fmt: skip
    assert rows["train"][0].segments == ("a 0", "b 0")
    assert (counts["train"]["unlabelled"], counts["test"]["unlabelled"]) == (0, 0)
    assert counts["test"]["classes"] == {"-1.0": 2, "0.0": 1, "1.0": 1}


def test_unlabelled_is_for_classes():
    with pytest.raises(ValidationError, match="unlabelled is for task classification, not for regression; remove such"):
        settings(STSB, unlabelled=["99"])


# --- span QA --------------------------------------------------------------------------------------------


def test_questions_keep_answers_and_unanswerable_ones_stay():
    train = [*questions(range(8)), question(8, answer="")]
    test = [question(9, "of\n two  lines", "made of\n two  lines")]
    rows, counts = normalise("squad2", settings(SQUAD), memory(train, test), dev_share=0)
    assert rows["train"][3] == Row("squad2/train/3", ("what is 3", "Is it 3?"), "it", answers=(Answer("it", 3),))
    assert rows["train"][8] == Row("squad2/train/8", ("what is 8", "Is it 8?"), "unanswerable", answers=())
    assert (rows["test"][0].label, rows["test"][0].answers) == ("of two lines", (Answer("of\n two  lines", 5),))
    assert counts["train"]["classes"] == {"span": 8, "yes": 0, "no": 0, "unanswerable": 1}


def test_yes_and_no_are_counted_apart_from_spans_of_these_words():
    boolq = settings(SQUAD, reader="boolq_span")
    raw = [{"question": f"q{n}", "title": "t", "passage": "p", "answer": n % 3 == 0} for n in range(6)]
    counts = normalise("b", boolq, memory(raw, [raw[n] | {"passage": "x"} for n in (0, 1)]), dev_share=0).counts
    assert counts["test"]["classes"] == {"span": 0, "yes": 1, "no": 1, "unanswerable": 0}
    for answer, context in (("yes", "I say yes"), ("Oslo", "[aug] yes no Oslo")):
        said = normalise("s", settings(SQUAD), memory(questions([1]), [question(2, answer, context)]), dev_share=0)
        assert said.counts["test"]["classes"]["span"] == 1


def test_an_answer_that_is_not_in_its_context_is_an_error_unless_a_share_is_allowed():
    bad = question(0) | {"answers": {"text": ["Rome"], "answer_start": [0]}}
    raw = memory([*questions(range(1, 9)), bad, bad], questions([99]))
    with pytest.raises(SourceError, match=r"2 of 10 rows .*train.jsonl, row 9: cannot be used: its answer is not in"):
        normalise("s", settings(SQUAD), raw)
    rows, counts = normalise("s", settings(SQUAD, max_skipped=0.2), raw, dev_share=0)
    assert len(rows["train"]) == 8
    assert counts["train"]["skipped"] == {"its answer is not in its context": 2}
    with pytest.raises(SourceError, match=r"s, split train: 2 of 10 questions cannot be used, more than 19%"):
        normalise("s", settings(SQUAD, max_skipped=0.19), raw)


def test_a_line_of_many_questions_gives_rows_of_their_own_ids():
    line = {
        "context": {"documents": [{"text": "Rome."}]},
        "qas": [{"question": f"q{n}", "answers": {"open-ended": {"cannot_answer": "yes"}}} for n in range(11)],
    }
    raw = memory([{"header": {}}, line], [{"header": {}}, line | {"qas": line["qas"][:1]}])
    rows, counts = normalise("n", settings(SQUAD, reader="multiqa"), raw, dev_share=0)
    assert [row.id for row in rows["train"]] == [f"n/train/1.{n}" for n in range(1, 11)]  # 1.0 is the test question
    assert counts["train"] | {"classes": None} == {
        "raw": 11, "unlabelled": 0, "in_own_test": 1, "excluded": 0, "kept": 10, "classes": None,
    }  # fmt: skip


def test_the_paragraphs_of_a_question_depend_on_the_seed_and_its_id_alone():
    def hotpot(n):
        titles = ["S", *(f"D{i}" for i in range(8))]
        context = {"title": titles, "sentences": [["It is Rome."]] * 9}
        return {"question": f"q{n}", "answer": "Rome", "supporting_facts": {"title": ["S"]}, "context": context}

    entry = settings(SQUAD, reader="hotpot_qa", distractors=2)
    all_rows = [hotpot(n) for n in range(10)]
    first = normalise("h", entry, memory(all_rows, [hotpot(99)]), dev_share=0).rows["train"]
    fewer = normalise("h", entry, memory(all_rows[:6], [hotpot(99)]), dev_share=0).rows["train"]
    other = normalise("h", entry, memory(all_rows, [hotpot(99)]), dev_share=0, seed=1).rows["train"]
    assert first[:6] == fewer
    assert first != other
    assert len({row.segments[1] for row in first}) > 1


# --- evaluation rows that are cut from train ------------------------------------------------------------


@given(size=st.integers(10, 200), seed=st.integers(0, 50))
def test_a_share_of_the_rows_is_held_out(size, seed):
    raw = memory([{"sentence": f"s {n}", "label": n % 3} for n in range(size)], [])
    rows, counts = normalise("f", settings(PHRASEBANK), raw, seed=seed)
    ids = [{row.id for row in rows[split]} for split in ("train", "dev", "test")]
    assert len(ids[2]) == round(0.2 * size) == counts["test"]["held_out_of_train"]
    assert len(ids[1]) == round(0.1 * (size - len(ids[2])))
    assert set.union(*ids) == {f"f/train/{n}" for n in range(size)} and sum(map(len, ids)) == size


def test_held_out_texts_leave_train_and_more_evaluation_rows_do_not_change_that():
    # the last five texts are those of the first five
    raw = memory([{"sentence": f"s  {n}" if n < 35 else f"S {n - 35}", "label": 1} for n in range(40)], [])
    rows, counts = normalise("f", settings(PHRASEBANK), raw, dev_share=0, test_rows=5)
    assert len(rows["test"]) == 5 and counts["test"]["held_out_of_train"] == 8
    assert counts["train"]["in_own_test"] > 0
    assert counts["train"]["in_own_test"] + counts["train"]["kept"] == 32
    held_out = {row.id for row in normalise("f", settings(PHRASEBANK), raw, dev_share=0).rows["test"]}
    assert held_out.isdisjoint(row.id for row in rows["train"])


def test_a_file_that_both_parts_are_cut_from_is_read_once_and_marks_both(tmp_path):
    (tmp_path / "f").mkdir()
    lines = [json.dumps({"sentence": f"s {n}", "label": n % 3}) for n in range(10)]
    (tmp_path / "f" / "all.jsonl").write_text("\n".join(lines) + "\n")
    one = settings(PHRASEBANK)
    raw = load_dataset_rows("f", one, source="files", root=tmp_path)
    assert (len(list(raw.train)), list(raw.test), len(raw.lock["files"])) == (10, [], 1)
    # evaluation rows change with this file: whoever drops files of part `train` keeps it
    assert [file["part"] for file in source_identity("f", one, "files", tmp_path)["files"]] == ["train"]


# --- texts of other datasets' evaluation rows -----------------------------------------------------------


def test_questions_another_dataset_evaluates_on_leave_train_whatever_their_context():
    one = settings(SQUAD, overlaps=["squad2"], overlap_by="first")
    evaluated = [
        Row("squad2/validation/0", ("What IS  3", "another context"), "x"),
        Row("squad1/test/0", ("what is 5", "own rows are compared in full"), "x"),
    ]
    keys = exclusion_keys("squad1", one, evaluated)
    assert keys == {overlap_key(["what is 3"])}
    raw = memory(questions(range(10)), questions([50]))
    rows, counts = normalise("squad1", one, raw, exclude=keys, dev_share=0)
    assert counts["train"]["excluded"] == 1
    assert "squad1/train/3" not in {row.id for row in rows["train"]} and len(rows["train"]) == 9


def test_whole_rows_are_compared_unless_the_entry_says_otherwise():
    evaluated = [Row("mrpc/validation/0", ("A 1", "b 1"), "x"), Row("mrpc/validation/1", ("a 2", "else"), "x")]
    raw = memory(pairs(1.0, 2.0, 3.0), [{"sentence1": "t", "sentence2": "u", "label": 1.0}])
    keys = exclusion_keys("stsb", settings(STSB), evaluated)
    rows, _ = normalise("stsb", settings(STSB), raw, exclude=keys, dev_share=0)
    assert [row.id for row in rows["train"]] == ["stsb/train/0", "stsb/train/2"]


# --- sizes, entries -------------------------------------------------------------------------------------


def test_a_difference_from_the_official_size_is_a_warning():
    raw = memory(questions(range(10)), questions([20, 21]))
    one = settings(SQUAD, expected={"train": 10, "dev": 3})
    counts = normalise("s", one, raw).counts
    assert size_warnings(one, counts) == ["2 labelled rows for test, the official split has 3"]
    assert size_warnings(settings(SQUAD), counts) == []
    held_out = settings(PHRASEBANK, expected={"train": 2264})
    counts = normalise("f", held_out, memory([{"sentence": f"s {n}", "label": 1} for n in range(10)], [])).counts
    assert size_warnings(held_out, counts) == ["10 labelled rows for train, the official split has 2264"]


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        (STSB, {"scale": None}, "belongs to task regression"),
        (SQUAD, {"scale": {"low": 0, "high": 1, "step": 0.1}}, "belongs to task regression"),
        (STSB, {"metric": "f1"}, "metric must be one of .*spearman"),
        (STSB, {"classes": ["a", "b"], "labels": ["a", "b"]}, "labels and classes are for task classification"),
        (STSB, {"category": "nli"}, "classes must be"),
        (SQUAD, {"reader": "fields"}, "reader fields does not give what task span needs"),
        (SQUAD, {"files": {"reader": "med_qa"}}, "reader med_qa does not give what task span needs"),
        (PHRASEBANK, {"hub": {"repo": "a/b", "reader": "drop"}}, "reader drop does not give"),
        (SQUAD, {"fields": ["question"]}, "fields and label_field are for reader fields, not for squad"),
        (PHRASEBANK, {"label_field": None}, "needs fields"),
        (PHRASEBANK, {"fields": ["a", "b", "c"]}, "needs fields"),
        (PHRASEBANK, {"labels": ["negative", "neutral"]}, "labels must map to every class"),
        (PHRASEBANK, {"metric": "f1"}, "metric f1 is that of the second of two classes"),
        (PHRASEBANK, {"splits": SPLITS}, "either splits.test or heldout_share"),
        (PHRASEBANK, {"files": {"splits": SPLITS}}, "either splits.test or heldout_share"),
        (PHRASEBANK, {"heldout_share": None}, "either splits.test or heldout_share"),
    ],
)
def test_entries_that_contradict_themselves_are_refused(values, changes, message):
    with pytest.raises(ValidationError, match=message):
        settings(values, **changes)


def test_a_set_that_nobody_may_pass_on_says_how_to_get_it(tmp_path):
    one = settings(SQUAD, reader="multiqa", obtain="ask its makers")
    with pytest.raises(SourceError, match=r"newsqa, source files: .*does not exist, nor .*; ask its makers"):
        load_dataset_rows("newsqa", one, source="files", root=tmp_path)
    with pytest.raises(SourceError, match="newsqa: has no hub entry in the registry; ask its makers"):
        load_dataset_rows("newsqa", one, source="hub", root=None)


# --- rows in JSON ---------------------------------------------------------------------------------------

ROW = Row("s/0", ("q", "in Rome"), "Rome", answers=(Answer("Rome", 3),))


def test_values_and_answers_survive_json():
    for row in (ROW, Row("s/1", ("q", "c"), "unanswerable", answers=()), Row("s/2", ("a", "b"), "1.8", value=1.75)):
        assert Row.from_json(json.loads(json.dumps(row.to_json())), "here") == row
    assert "answers" not in Row("s/2", ("a", "b"), "1.8", value=0.0).to_json()
    assert Row("s/2", ("a", "b"), "0.0", value=0.0).to_json()["value"] == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": [{"text": "Rome", "start": 2}]}, "'Rome' is not at character 2 of the context"),
        ({"answers": [{"text": "Rome"}]}, "holds something that is not"),
        ({"answers": [{"text": "Rome", "start": -4}]}, "not a text with a place"),
        ({"answers": [{"text": "", "start": 0}]}, "not a text with a place"),
        ({"answers": {}}, "must be a list"),
        ({"segments": ["q"]}, "with two segments"),
        ({"value": "1.0"}, "field 'value': is not a number"),
    ],
)
def test_rows_with_wrong_answers_are_refused(changes, message):
    with pytest.raises(BadRow, match=f"x.jsonl, row 1.*{message}"):
        Row.from_json(ROW.to_json() | changes, "x.jsonl, row 1")


# --- unusable rows --------------------------------------------------------------------------------------

PAIRS = {
    "title": "QQP", "category": "cr", "fields": ["sentence1", "sentence2"], "label_field": "label",
    "labels": ["no", "yes"], "classes": ["no", "yes"], "splits": SPLITS,
}  # fmt: skip


def test_two_of_some_thousand_rows_without_a_text_are_left_out_and_counted():
    """As in GLUE's QQP, where two training rows have an empty second question."""
    train = pairs(*[0, 1] * 1500)
    train[7]["sentence2"] = ""
    train[2000]["sentence2"] = None
    evaluated = [{"sentence1": "t", "sentence2": "u", "label": 1}]
    rows, counts = normalise("qqp", settings(PAIRS), memory(train, evaluated), dev_share=0)
    left_out = counts["train"]["unusable"]
    assert len(left_out) == 2 and "row 8, field 'sentence2': is empty" in left_out[0]
    assert {"qqp/train/7", "qqp/train/2000"}.isdisjoint(row.id for row in rows["train"])
    assert size_warnings(settings(PAIRS), counts)[0].startswith("left out of train: train.jsonl, row 8")
    assert "unusable" not in counts["test"]


@pytest.mark.parametrize(
    ("rows", "bad", "error", "message"),
    [
        (100, 1, BadRow, "row 1, field 'sentence2': is empty"),
        (100, 2, SourceError, r"train: 2 of 100 rows cannot be used, and at most 5 and 0.10% .*row 1, .*row 2, "),
        (999, 1, BadRow, "row 1, field"),
        (8000, 6, SourceError, "at least 6 of 8000 rows"),
    ],
)
def test_more_unusable_rows_than_a_few_are_an_error(rows, bad, error, message):
    train = pairs(*[0, 1] * (rows // 2), *[0] * (rows % 2))
    for pair in train[:bad]:
        pair["sentence2"] = " "
    with pytest.raises(error, match=message):
        normalise("qqp", settings(PAIRS), memory(train, pairs(0)), dev_share=0)


def test_an_entry_may_allow_more_or_no_unusable_row():
    train = pairs(*[0, 1] * 50)
    train[3]["label"] = 9
    other = [{"sentence1": "t", "sentence2": "u", "label": 1}]
    _, counts = normalise("qqp", settings(PAIRS, max_unusable={"share": 0.1}), memory(train, other), dev_share=0)
    assert len(counts["train"]["unusable"]) == 1
    with pytest.raises(BadRow, match="unknown label 9"):
        normalise("qqp", settings(PAIRS, max_unusable={"rows": 0}), memory(train, other), dev_share=0)


def test_a_repository_that_is_a_script_names_two_ways_out(monkeypatch):
    from fute.data import hub

    def refuse(*args, **options):
        raise RuntimeError("Dataset scripts are no longer supported, but found newsqa.py")

    monkeypatch.setattr(hub, "load_dataset", refuse)
    with pytest.raises(SourceError, match=r"newsqa.py\). If it is a script, .*refs/convert/parquet .*source: files"):
        hub.load_split("owner/newsqa", None, "train", "a" * 40, ["question"])
