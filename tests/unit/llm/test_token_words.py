"""What the tokens of a server say of the classes, and that a label is right or there is none."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fute.llm.class_scores import decided
from fute.llm.token_words import BYTE_OF_LETTER, Token, class_log_scores, token_classes

YES_NO = (("no", "No"), ("yes", "Yes"))
NLI = (("correct",), ("uncertain",), ("incorrect", "invalid"))
LETTERS = {byte: letter for letter, byte in BYTE_OF_LETTER.items()}


def token(text: str, logprob: float | None = -1.0, given: object = None) -> Token:
    read = Token.read({"token": text, "logprob": logprob, "bytes": given})
    assert read is not None
    return read


@pytest.mark.parametrize(
    ("text", "classes", "owners"),
    [
        (" correct", NLI, [0]),
        ("in", NLI, [2]),
        ("Correct", NLI, []),
        (" ", NLI, []),
        ("n", (("no",), ("never",)), [0, 1]),
        ("no", (("no",), ("not",)), [0]),
        ("Ġcorrect", NLI, [0]),
        ("▁▁correct", NLI, [0]),
        ("Ġ", (("Ġusta",), ("le",)), [0]),
        ("Ġusta", (("Ġusta",), ("usta",)), [0]),
        ("ĠÐ´Ð°", (("нет",), ("да",)), [1]),
        ("да", (("нет",), ("да",)), [1]),
        (r"bytes: \xd0\xb4", (("нет",), ("да",)), [1]),
        ("<0xD0>", (("нет",), ("да",)), [0, 1]),
        ("<0xD0><0xB4>", (("нет",), ("да",)), [1]),
        ("é", (("低",), ("高",)), []),
        ("�", (("низко",), ("да",)), []),
        ("\u3000是", (("否",), ("是",)), [1]),
    ],
)
def test_the_classes_of_a_token(text, classes, owners):
    assert token_classes(token(text), classes) == owners


def test_the_field_bytes_is_the_text_where_it_holds_bytes():
    russian = (("нет",), ("да",))
    assert token_classes(token("�", given=[0xD0, 0xB4]), russian) == [1]
    assert token_classes(token("да", given=list("нет".encode())), russian) == [0]
    assert token_classes(token("да", given=list("Ð½ÐµÑĤ".encode())), russian) == [0]
    for broken in ([256], ["d"], [], "text", [-1], [1.5], {}):
        assert token_classes(token("да", given=broken), russian) == [1]
    assert token("token_id:3").is_id and not token("token_id:3", given=list(b"yes")).is_id


@pytest.mark.parametrize("logprob", [None, "x", "-0.1", True, math.nan, 10**400, [], {}])
def test_a_log_probability_that_is_no_number_is_none(logprob):
    assert token("yes", logprob).logprob is None


def test_an_entry_without_a_text_is_no_token():
    for entry in (None, "yes", {}, {"token": None}, {"token": ""}, {"token": 9820}, {"token": None, "bytes": [999]}):
        assert Token.read(entry) is None
    assert Token.read({"token": None, "bytes": list(b"yes"), "logprob": -1}) == Token("yes", b"yes", -1.0)


def test_class_scores_of_returned_tokens():
    tokens = [token("yes", math.log(0.25)), token("y", math.log(0.25)), token("yes", math.log(0.125)), token("x", -9.0)]
    got, seen = class_log_scores(tokens, YES_NO)
    assert got == pytest.approx([math.log(0.375 - math.exp(-9.0)), math.log(0.625)])
    assert seen == (False, True)


def test_a_beginning_that_two_classes_share_counts_for_neither_and_bounds_both():
    classes = (("negative",), ("neutral",), ("positive",))
    tokens = [token("ne", math.log(0.5)), token("positive", math.log(0.3)), token("negative", math.log(0.1))]
    got, seen = class_log_scores(tokens, classes)
    assert np.exp(got) == pytest.approx([0.6, 0.6, 0.3])
    assert seen == (False, False, True) and decided(got, seen) is None
    tokens[0] = token("ne", math.log(0.1))
    got, seen = class_log_scores(tokens, classes)
    assert np.exp(got) == pytest.approx([0.1, 0.6, 0.3]), "0.5 was not returned"
    assert seen == (True, False, True)
    # a beginning of its own word leaves the best class the best
    tokens = [token("ne", math.log(0.1)), token("negative", math.log(0.6)), token("positive", math.log(0.2))]
    got, seen = class_log_scores(tokens, classes)
    assert np.exp(got) == pytest.approx([0.6, 0.2, 0.2]) and seen == (True, False, True) and decided(got, seen) == 0
    # with all of "ne" the first class would tie with the last, and be the label
    tokens = [token("ne", math.log(0.25)), token("negative", math.log(0.25)), token("positive", math.log(0.5))]
    assert decided(*class_log_scores(tokens, classes)) is None


# --- an LLM whose true answers are known ----------------------------------------------------------------------------

# Words of classes, and words of none; no beginning of one of these is one of those.
WORDS = {
    "yes-no": (YES_NO, ("The", "I", "YES", "NO", "Sure", "**", "\n", "好")),
    "correct": (NLI, ("The", "I", "Correct", "Wrong", '"', "да")),
    "russian": ((("нет",), ("да", "Да")), ("The", "Это", "好", "é", "ДА")),
    "chinese": ((("否", "不是"), ("是", "正确")), ("The", "这", "ü", "高")),
}


def byte_letters(text: str) -> str:
    return "".join(LETTERS[byte] for byte in text.encode())


WRITINGS = {
    "text": lambda text: {"token": text},
    "bytes": lambda text: {"token": text, "bytes": list(text.encode())},
    "bytes only": lambda text: {"token": "�", "bytes": list(text.encode())},
    "byte letters": lambda text: {"token": byte_letters(text)},
    "byte letters as bytes": lambda text: {"token": byte_letters(text), "bytes": list(byte_letters(text).encode())},
    "sentence piece": lambda text: {"token": text.replace(" ", "▁")},
    "byte entries": lambda text: {"token": "".join(f"<0x{byte:02X}>" for byte in text.encode())},
    "escaped": lambda text: {"token": "bytes:" + "".join(rf"\x{byte:02x}" for byte in text.encode())},
}
"""How servers write a token."""


@st.composite
def answers(draw: st.DrawFn) -> tuple[tuple, list[dict], list[float], list[float]]:
    """Classes, returned tokens, the true probability of each class, and what was left out of classes seen."""
    classes, others = WORDS[draw(st.sampled_from(sorted(WORDS)))]
    spelt = [
        (index, blank + word[: draw(st.integers(1, len(word)))] if draw(st.booleans()) else blank + word)
        for index, words in enumerate(classes)
        for word in words
        for blank in draw(st.sampled_from([("",), (" ",), ("", " "), ("", "")]))
    ] + [(None, blank + word) for word in others for blank in ("", " ")]
    weights = draw(st.lists(st.integers(0, 1000), min_size=len(spelt), max_size=len(spelt)).filter(any))
    total = sum(weights)
    tokens = [(index, text, weight / total) for (index, text), weight in zip(spelt, weights, strict=True)]
    truth = [sum(p for i, _, p in tokens if i == index) for index in range(len(classes))]
    tokens.sort(key=lambda each: -each[2])
    returned = tokens[: draw(st.integers(1, len(tokens)))]
    returned = [each for each in returned if draw(st.integers(0, 9))] or returned[:1]
    writing = WRITINGS[draw(st.sampled_from(sorted(WRITINGS)))]
    entries, seen, lost = [], set(), [0.0] * len(classes)
    for index, text, p in returned:
        value = math.log(p) if p else draw(st.sampled_from([-math.inf, -9999.0]))
        value = draw(st.sampled_from([value] * 8 + [None, math.nan]))
        entries.append(writing(text) | {"logprob": value})
        if p and value is not None and not math.isnan(value):
            seen.add(index)
    for index, text, p in tokens:
        if index in seen and index is not None and (index, text, p) not in returned:
            lost[index] += p
    return classes, draw(st.permutations(entries)), truth, lost


def right_or_none(got: int | None, truth: list[float], lost: list[float]) -> bool:
    """True for no label and for the likeliest class.

    Where tokens of a class were returned and others of it were not, the class may be the likeliest by what nobody saw:
    such a class may be missed, by no more than that.
    """
    return got is None or all(p <= truth[got] + gone + 1e-6 for p, gone in zip(truth, lost, strict=True))


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(answers())
def test_a_label_is_the_right_one_or_none(answer):
    classes, entries, truth, lost = answer
    tokens = [Token.read(entry) for entry in entries]
    log_scores, seen = class_log_scores(tokens, classes)
    assert np.isfinite(log_scores).all()
    assert right_or_none(decided(log_scores, seen), truth, lost)


@settings(max_examples=80)
@given(answers(), st.data())
def test_a_label_is_given_where_everything_was_returned(answer, data):
    classes, *_ = answer
    weights = data.draw(st.lists(st.integers(1, 1000), min_size=len(classes), max_size=len(classes), unique=True))
    writing = WRITINGS[data.draw(st.sampled_from(sorted(WRITINGS)))]
    rest = data.draw(st.integers(0, min(weights) - 1))
    total = sum(weights) + rest
    entries = [
        writing(" " + words[0]) | {"logprob": math.log(w / total)} for words, w in zip(classes, weights, strict=True)
    ]
    log_scores, seen = class_log_scores([Token.read(entry) for entry in entries], classes)
    assert decided(log_scores, seen) == int(np.argmax(weights)) and all(seen)
