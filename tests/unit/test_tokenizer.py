"""Marks of a model that somebody wrote into a text."""

from support.unigrams import END, save_unigrams
from transformers import AutoTokenizer

from fute.config.surrogate import SurrogateSettings
from fute.surrogate.labelled import ClassTarget, Labelled
from fute.surrogate.text2text import Pair, Surrogate, encode_pairs
from fute.surrogate.unknown import unknown_tokens
from fute.tokenizer import load_tokenizer


def test_marks_among_unigrams_are_blanks_in_a_text(tmp_path):
    folder = save_unigrams(tmp_path)
    plain = AutoTokenizer.from_pretrained(folder)
    plain.split_special_tokens = True
    assert plain("good</s>bad")["input_ids"].count(END) == 2, "the mark in the text, and the one behind it"

    tokenizer = load_tokenizer(folder)
    read = tokenizer("good</s>bad<pad>", return_offsets_mapping=True)
    assert read["input_ids"] == tokenizer("good bad ")["input_ids"]
    assert [place for place in read["offset_mapping"] if place[0] >= 8][:3] == [(8, 9), (9, 10), (10, 11)]
    assert tokenizer("good", "bad")["input_ids"].count(END) == 2, "marks of its own"


def test_a_surrogate_reads_one_end_mark_however_many_stand_in_x_and_y(tmp_path):
    tokenizer = load_tokenizer(save_unigrams(tmp_path))
    surrogate = Surrogate(None, tokenizer, SurrogateSettings(family="encoder-decoder"), frozen=True)
    (example,) = encode_pairs(surrogate, [Pair(("good</s>bad</s>",), "good</s>")])
    assert example.input_ids.count(END) == example.target_ids.count(END) == 1
    assert example.input_ids[-1] == example.target_ids[-1] == END


def test_a_text_of_marks_alone_says_nothing_to_a_surrogate(tmp_path):
    """Nor do marks beside what it does not know; a blank text is left to the error that names its pair."""
    tokenizer = load_tokenizer(save_unigrams(tmp_path))
    texts = ["good", "</s>", "<pad> </s>", "电</s>", "good</s>", " "]
    as_y = unknown_tokens(tokenizer, [Pair(("good",), text) for text in texts])
    as_x = unknown_tokens(tokenizer, [Pair((text,), "good") for text in texts])
    assert as_x.unusable == as_y.unusable == (1, 2, 3) and as_x.share > 0
    assert unknown_tokens(tokenizer, [Labelled((text,), ClassTarget(0, 2)) for text in texts]).unusable == (1, 2, 3)
