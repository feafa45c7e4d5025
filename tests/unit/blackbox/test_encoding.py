"""Texts as token ids: cutting, places of characters, and spans there and back."""

import unicodedata
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_lms import FAMILIES, SENTIMENT, SIMILAR, WHERE, pretrained, save_small
from support.unigrams import save_unigrams
from transformers import RobertaConfig, RobertaModel

from fute.blackbox import encoding
from fute.blackbox.encoding import NULL, Place, answer_tokens, collate, encode, encode_rows, segments_for
from fute.blackbox.heads import BlackBox, BlackBoxError, Pretrained
from fute.blackbox.predict import MAX_ANSWER_TOKENS, best_span, cut, predict
from fute.data.rows import Answer, BadRow, Row, alphanumeric
from fute.embeddings.sentence_encoder import SentenceEncoder
from fute.tokenizer import load_tokenizer


@cache
def box(family: str, max_tokens: int = 120) -> BlackBox:
    return pretrained(family).with_head(WHERE, inputs=2, max_tokens=max_tokens, seed=1)


def text_of(which: BlackBox, ids) -> str:
    return which.tokenizer.decode(ids)


def folded(text: str) -> str:
    """Letters and digits without case and accents, as BERT's tokenizer leaves them."""
    return alphanumeric(unicodedata.normalize("NFKD", text))


@settings(max_examples=60, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    words=st.lists(st.text("abçxyz9.é-", min_size=1, max_size=6), min_size=1, max_size=6),
    blanks=st.sampled_from([" ", "  ", "\n"]),
    data=st.data(),
)
def test_a_span_goes_to_tokens_and_back(family, words, blanks, data):
    context = blanks.join(words)
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    start = len(blanks.join(words[:first])) + (len(blanks) if first else 0)
    answer = Answer(blanks.join(words[first : last + 1]), start)
    row = Row("r/1", ("Where?", context), "-", answers=(answer,))
    (encoded,) = encode(box(family), [row.segments])
    span = answer_tokens(answer, row, encoded.places)
    logits = np.full((2, len(encoded.input_ids)), -1.0, dtype=np.float32)
    logits[0, span[0]] = logits[1, span[1]] = 5.0
    assert span != NULL
    read = text_of(box(family), encoded.input_ids[span[0] : span[1] + 1])
    assert folded(read) == folded(answer.text), "the tokens themselves, and not only their places, are the answer"
    if span[1] - span[0] < MAX_ANSWER_TOKENS:
        assert cut(row.segments, best_span(*logits, encoded.places, "context")) == answer.text


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_that_was_cut_off_or_is_not_there_is_null(family):
    context = "far away and long ago in a small town called Bonn"
    rows = [
        Row("r/1", ("Where?", context), "Bonn", answers=(Answer("Bonn", context.index("Bonn")),)),
        Row("r/2", ("Where?", context), "far", answers=(Answer("far", 0),)),
        Row("r/3", ("Where?", context), "unanswerable", answers=()),
    ]
    cut_off, there, unanswerable = (e.target for e in encode_rows(box(family, 30), rows))
    assert cut_off == unanswerable == NULL and there != NULL
    assert all(len(e.input_ids) <= 30 for e in encode_rows(box(family, 30), rows))
    whole = encode_rows(box(family), rows)[0].target
    assert whole != NULL


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_context_is_cut_unless_the_question_leaves_no_room(family):
    question, context = "where is it now, and for how long?", "a b c d e f"
    (alone,) = encode(box(family), [(question, "")])
    limit = len(alone.input_ids) + 5
    (short,) = encode(box(family, limit), [(question, context)])
    first = [[place for place in found.places if place and place.segment == 0] for found in (alone, short)]
    assert first[0] == first[1], "though the question is the longer segment"
    (long,) = encode(box(family, limit), [("q " * 150, context)])
    assert len(short.input_ids) == len(long.input_ids) == limit
    assert {place.segment for place in long.places if place} == {0, 1}


def test_an_answer_at_another_place_is_refused():
    row = Row("where/3", ("Where?", "in Oslo"), "Oslo", answers=(Answer("Oslo", 2),))
    with pytest.raises(BadRow, match=r"where/3, field 'answers': 'Oslo' is not at character 2"):
        encode_rows(box("bert"), [row])


def test_offsets_that_point_elsewhere_are_refused(monkeypatch):
    """A tokenizer whose offsets are not those of the context would teach other words without a sign of it."""
    honest = encoding._places

    def elsewhere(*given):
        return tuple(p and p._replace(start=p.start + 30, end=p.end + 30) for p in honest(*given))

    monkeypatch.setattr(encoding, "_places", elsewhere)
    row = Row("where/3", ("Where?", "a man in Oslo there"), "Oslo", answers=(Answer("Oslo", 9),))
    with pytest.raises(BadRow, match=r"'Oslo' at character 9 became the tokens of ''; .*offsets are wrong"):
        encode_rows(box("bert"), [row])


def test_a_text_enters_as_the_model_takes_it():
    assert segments_for(1, ("a", "b")) == ("b",) and segments_for(1, ("a",)) == ("a",)
    assert segments_for(2, ("a", "b")) == ("a", "b") and segments_for(2, ("a",)) == ("a", "")


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_lose_tokens_of_the_longer_segment_and_keep_their_marks(family):
    pair = pretrained(family).with_head(SIMILAR, inputs=2, max_tokens=24, seed=1)
    (found,) = encode(pair, [("a" * 40, "bcd")])
    text = text_of(pair, found.input_ids)
    assert len(found.input_ids) == 24 and text.count("a") > 10 and all(letter in text for letter in "bcd")
    if family in ("gpt2", "llama"):
        assert "a\n\nbcd" in text, "two segments are told apart"
    else:
        mark, count = {"t5": ("</s>", 2), "bart": ("</s>", 3), "bert": ("[SEP]", 2)}[family]
        assert text.count(mark) == count


def test_an_end_mark_written_in_a_text_does_not_end_it(tmp_path):
    tokenizer = load_tokenizer(save_unigrams(tmp_path))
    for task, text in ((SENTIMENT, ("good</s>bad",)), (SIMILAR, ("a</s>", ""))):
        which = pretrained("t5").with_head(task, inputs=len(text), max_tokens=40, seed=1)
        which.tokenizer = tokenizer
        (found,) = encode(which, [text])
        assert found.input_ids.count(1) == len(text) and found.input_ids[-1] == 1


def test_a_tokenizer_that_ends_no_text_is_refused_where_a_head_reads_the_end():
    which = pretrained("t5").with_head(SENTIMENT, inputs=1, max_tokens=40, seed=1)
    which.tokenizer = pretrained("gpt2").tokenizer
    with pytest.raises(BlackBoxError, match=r"0 end marks in the ids of 1 segment\(s\) \('good'\)"):
        encode(which, [("good",)])


def test_an_answers_tokens_by_hand():
    """Between tokens that touch it; not among those that were kept."""
    row, answer = Row("r", ("q", "a-good-ish"), "-", answers=(Answer("good", 2),)), Answer("good", 2)
    question, *context = [Place(0, 0, 1), *(Place(1, *ends) for ends in ((0, 1), (1, 2), (2, 4), (4, 6), (6, 7)))]
    assert answer_tokens(answer, row, [None, question, None, *context, None]) == (5, 6)
    assert answer_tokens(answer, row, [None, question, None, *context[:3], None]) == NULL
    assert answer_tokens(answer, row, [None, question, None]) == NULL


def test_rows_are_tokenised_some_at_a_time(monkeypatch):
    rows = [Row(f"r/{n}", ("Where?", "x" * n + " here"), "-", answers=(Answer("here", n + 1),)) for n in range(1, 6)]
    whole = encode_rows(box("bert"), rows)
    sizes = []
    monkeypatch.setattr(encoding, "ENCODED_AT_ONCE", 2)
    monkeypatch.setattr(encoding, "encode", lambda which, texts: sizes.append(len(texts)) or encode(which, texts))
    assert encode_rows(box("bert"), rows) == whole and [e.index for e in whole] == [0, 1, 2, 3, 4]
    assert sizes == [2, 2, 1], "places of tokens are held for some rows alone"


def test_batches_are_padded_on_the_right():
    single = pretrained("bert").with_head(SENTIMENT, inputs=1, max_tokens=40, seed=1)
    batch = collate(single, encode(single, [("ab",), ("abcd e",)]))
    assert batch["attention_mask"].tolist() == [[1] * 4 + [0] * 3, [1] * 7]
    assert batch["input_ids"][0, 4:].tolist() == [single.pad_id] * 3
    assert batch["token_type_ids"].shape == (2, 7)


def test_a_label_that_is_no_class_is_named():
    single = pretrained("bert").with_head(SENTIMENT, inputs=1, max_tokens=40, seed=1)
    with pytest.raises(BadRow, match=r"mood/7, field 'label': is 'mixed', which is no class; the classes of mood are"):
        encode_rows(single, [Row("mood/7", ("x",), "mixed")])


@pytest.mark.parametrize("task, field", [(SIMILAR, "value"), (WHERE, "answers")])
def test_rows_of_another_task_are_named(task, field):
    which = pretrained("bert").with_head(task, inputs=2, max_tokens=40, seed=1)
    with pytest.raises(BadRow, match=rf"mood/7, field '{field}'"):
        encode_rows(which, [Row("mood/7", ("x", "y"), "positive")])


def pad_of(folder: Path, tokenizer) -> int:
    tokenizer.save_pretrained(folder)
    return Pretrained(folder).with_head(SENTIMENT, inputs=1, max_tokens=40, seed=1).pad_id


def test_gpt2_is_padded_with_the_authors_star_and_others_with_their_end(tmp_path):
    star = pretrained("gpt2").with_head(SENTIMENT, inputs=1, max_tokens=40, seed=1)
    assert star.tokenizer.convert_ids_to_tokens(star.pad_id) == "*" and star.tokenizer.pad_token is None
    folder = save_small(tmp_path / "m", "llama")
    tokenizer = load_tokenizer(folder)
    assert pad_of(folder, tokenizer) == tokenizer.pad_token_id
    tokenizer.pad_token = None
    assert pad_of(folder, tokenizer) == tokenizer.eos_token_id
    tokenizer.eos_token = None
    with pytest.raises(BlackBoxError, match="tokenizer of m has neither a padding nor an end-of-text token"):
        pad_of(folder, tokenizer)


def test_spans_need_a_tokenizer_with_offsets(monkeypatch):
    which = pretrained("bert")
    monkeypatch.setattr(type(which.tokenizer), "is_fast", False)
    with pytest.raises(BlackBoxError, match="does not say which characters a token covers"):
        which.with_head(WHERE, inputs=2, max_tokens=40, seed=1)
    which.with_head(SENTIMENT, inputs=1, max_tokens=40, seed=1)


def test_more_tokens_than_positions_are_refused():
    with pytest.raises(BlackBoxError, match=r"max_tokens is 161, but .* has 160 positions"):
        pretrained("bert").with_head(SENTIMENT, inputs=1, max_tokens=161, seed=1)


def test_roberta_has_no_use_for_its_positions_up_to_that_of_the_padding(tmp_path):
    save_small(tmp_path, "bert")  # the tokenizer, whose padding has the id 0
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = RobertaConfig(vocab_size=200, max_position_embeddings=40, pad_token_id=0, type_vocab_size=2, **shape)
    RobertaModel(config).save_pretrained(tmp_path)
    roberta, long = Pretrained(tmp_path), [("word " * 40,)]
    with pytest.raises(BlackBoxError, match=r"max_tokens is 40, but .* has 39 positions for a text"):
        roberta.with_head(SENTIMENT, inputs=1, max_tokens=40, seed=1)
    assert predict(roberta.with_head(SENTIMENT, inputs=1, max_tokens=39, seed=1), long)
    with pytest.raises(ValueError, match=r"a text has 40 tokens, but the encoder .* has 39 positions for a text"):
        SentenceEncoder(tmp_path, max_tokens=40, batch_size=1).encode(long)
    assert SentenceEncoder(tmp_path, max_tokens=39, batch_size=1).encode(long)[1] == 1
