"""Class scores against hand-worked numbers, scipy and brute force."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp, softmax
from transformers import LlamaConfig, MambaConfig

from fute.config.engines import EngineSettings
from fute.llm.class_scores import calibrate, decided, normalise
from fute.llm.engine import EngineError, ScoreRequest, tensor_parallel_size
from fute.llm.scoring import NextToken, class_log_scores, score_requests, verbalizer_ids

scores = arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.floats(-700, 0))
PIECES = ["no", "t", "yes", "Yes", "y", "may", "be", " ", "?", "A", ":"]


def pieces(text: str) -> list[int]:
    """Stand-in tokenizer: the longest piece that fits, ids are indices into PIECES."""
    longest_first = "|".join(re.escape(p) for p in sorted(PIECES, key=len, reverse=True))
    return [PIECES.index(p) for p in re.findall(longest_first, text)]


@given(scores)
def test_normalise_agrees_with_scipy_and_ignores_a_common_shift(x):
    np.testing.assert_allclose(normalise(x), softmax(x, axis=-1), atol=1e-12)
    np.testing.assert_allclose(normalise(x + 3.0), normalise(x), atol=1e-9)


@given(scores)
def test_prediction_is_the_likeliest_class_and_the_first_of_equals(x):
    for row in x:
        best = min(i for i, value in enumerate(row) if value == max(row))
        assert decided(row, [True] * len(row)) == best


@pytest.mark.parametrize("row", [[math.nan, -1.0], [-math.inf, -math.inf], [math.inf, 0.0]])
def test_normalise_refuses_rows_without_a_finite_maximum(row):
    with pytest.raises(ValueError, match="finite maximum"):
        normalise(row)


def test_scores_of_long_words_have_probabilities():
    """exp(-2000) is 0 in floating point."""
    np.testing.assert_allclose(normalise([[-2000.0, -2001.0], [0.0, -1.0]])[:, 0], [1 / (1 + math.exp(-1))] * 2)


def test_one_impossible_class_is_allowed():
    np.testing.assert_array_equal(normalise([-math.inf, -5.0]), [0.0, 1.0])


@given(arrays(float, 6, elements=st.floats(-60, 0)))
def test_class_scores_agree_with_scipy(logprobs):
    ids = [[[0], [3]], [[1]], [[2], [4], [5]]]
    expected = [logsumexp(logprobs[[0, 3]]), logprobs[1], logsumexp(logprobs[[2, 4, 5]])]
    np.testing.assert_allclose(class_log_scores(logprobs, ids), expected, rtol=1e-12)
    by_id = dict(enumerate(logprobs.tolist()))
    assert class_log_scores(by_id, ids) == class_log_scores(logprobs, ids)


def test_longer_verbalizers_multiply_along_their_tokens():
    first = {7: math.log(0.5), 8: math.log(0.25)}
    after = {(7,): {1: math.log(0.4)}, (7, 1): {2: math.log(0.5)}}
    got = class_log_scores(first, [[[7, 1, 2]], [[8]]], after)
    np.testing.assert_allclose(np.exp(got), [0.5 * 0.4 * 0.5, 0.25])


@given(scores)
def test_calibrating_by_the_own_mean_centres_every_class(x):
    offset = x.mean(axis=0)
    np.testing.assert_allclose(calibrate(x, offset).mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(calibrate(x, offset) + offset, x, atol=1e-9)


def test_calibrate_moves_a_prediction():
    assert decided([-1.0, -1.5], [True, True]) == 0
    assert decided(calibrate([-1.0, -1.5], [-0.5, -1.4]), [True, True]) == 1


def test_calibrate_refuses_another_number_of_classes():
    with pytest.raises(ValueError, match=r"offset of shape \(3,\)"):
        calibrate(np.zeros((2, 2)), np.zeros(3))
    with pytest.raises(ValueError, match="offset of shape"):
        calibrate(np.zeros((2, 2)), np.zeros(1))


def test_ids_are_those_after_the_prompt():
    ids = verbalizer_ids(pieces, "A:", [["no"], ["yes", "maybe"]], "sequence")
    assert ids == [[[0]], [[2], [5, 6]]]
    assert verbalizer_ids(pieces, "A:", [["no"], ["maybe"]], "first_token") == [[[0]], [[5]]]


def test_a_token_shared_within_a_class_counts_once():
    lower = lambda text: pieces(text.lower().replace("a", "A"))  # noqa: E731
    assert verbalizer_ids(lower, "A:", [["yes", "Yes"], ["no"]], "first_token") == [[[2]], [[0]]]
    # "not" continues "no": its mass is part of the mass of "no"
    assert verbalizer_ids(pieces, "A:", [["not", "no"], ["yes"]], "sequence") == [[[0]], [[2]]]


def test_a_first_token_shared_by_two_classes_is_an_error_with_both_words():
    with pytest.raises(ValueError, match=r"'no' and 'not' of two classes start .*\[0\].*sequence"):
        verbalizer_ids(pieces, "A:", [["no"], ["not"]], "first_token")
    # as sequences, "no" still contains every continuation by "t"
    with pytest.raises(ValueError, match=r"'not' and 'no' of two classes"):
        verbalizer_ids(pieces, "A:", [["not"], ["no"]], "sequence")


def test_sequences_tell_classes_with_one_first_token_apart():
    ids = verbalizer_ids(pieces, "A:", [["maybe"], ["mayno"]], "sequence")
    assert ids == [[[5, 6]], [[5, 0]]]


@pytest.mark.parametrize("word", ["es", "esno"])
def test_a_verbalizer_that_merges_with_the_prompt_is_an_error(word):
    # "y" + "es" becomes one token "yes": the prompt's own tokens change
    with pytest.raises(ValueError, match=f"'{word}' does not start a token of its own after 'A:y'"):
        verbalizer_ids(pieces, "A:y", [[word], ["no"]], "first_token")


def test_an_empty_verbalizer_is_an_error():
    with pytest.raises(ValueError, match="'' does not start a token"):
        verbalizer_ids(pieces, "A:", [[""], ["no"]], "first_token")


@pytest.mark.parametrize(
    ("log_scores", "seen", "index"),
    [
        ((-1.0, -2.0), (True, True), 0),
        ((-1.0, -1.0), (True, True), 0),
        ((-3.0, -1.0), (False, True), 1),
        ((-1.0, -3.0), (False, True), None),
        ((-1.0, -1.0), (True, False), 0),
        ((-1.0, -1.0), (False, True), None),
        ((-1.0, -1.0, -1.0), (False, False, False), None),
    ],
)
def test_a_label_is_decided_unless_a_class_that_was_not_seen_may_be_better(log_scores, seen, index):
    assert decided(log_scores, seen) == index


class Letters:
    """A tokenizer of letters, and a model that always answers with one token. Stands in for both."""

    leads = ("",)

    def __init__(self, answer: str = "n", logprob: float = -1.0) -> None:
        self.answer, self.tokenizer, self.asked, self.logprob = answer, self, 0, logprob

    def render(self, *turns, system=None):
        return turns[-1] + ":"

    def encode(self, texts):
        return [[ord(letter) for letter in text] for text in texts]

    def decode(self, ids):
        return self.answer if ids == [0] else "".join(map(chr, ids))

    def check_length(self, *of): ...

    def next_tokens(self, prompts, wanted, answer_tokens):
        self.asked += len(prompts)
        first = ord(self.answer) if len(self.answer) == 1 else 0
        return [NextToken(dict.fromkeys(tokens, self.logprob), [first]) for tokens in wanted]


def ask(engine: Letters, *words: str, **settings):
    request = ScoreRequest("sa-1 on u/0", "text", None, tuple((word,) for word in words))
    return score_requests(engine, engine, [request], EngineSettings(engine="transformers", **settings))


def test_engines_with_a_tokenizer_see_every_class_and_say_the_first_token():
    [result] = ask(Letters(), "no", "yes")
    assert (result.seen, result.first_token, result.log_scores) == ((True, True), "n", (-1.0, -1.0))


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("it is bad", "it is good"), "request sa-1 on u/0: .*begin with the same word 'it'"),
        (("no", "never"), "request sa-1 on u/0: verbalizers 'no' and 'never' of two classes start"),
    ],
)
def test_words_that_cannot_be_told_apart_are_refused_before_the_model_is_asked(words, match):
    engine = Letters()
    with pytest.raises(EngineError, match=match):
        ask(engine, *words)
    assert engine.asked == 0


def test_vllm_scores_so_many_words_and_no_more():
    words = [chr(256 + place) for place in range(129)]
    assert len(ask(Letters(), *words)[0].seen) == 129
    vllm = EngineSettings(engine="vllm")
    request = ScoreRequest("sa-1 on u/0", "text", None, tuple((word,) for word in words))
    with pytest.raises(EngineError, match=r"request sa-1 on u/0: .* begin with 129 tokens, .* at most 128"):
        score_requests(Letters(), Letters(), [request], vllm)
    score_requests(Letters(), Letters(), [replace(request, classes=request.classes[1:])], vllm)


@pytest.mark.parametrize(("truncated", "said"), [(True, "so: caf"), (False, "so: caf\ufffd")])
def test_the_bytes_of_a_cut_character_are_no_part_of_a_chain_of_thought(truncated, said):
    class Thinking(Letters):
        def render(self, *turns, system=None):
            systems.append(system)
            return "|".join(turns)

        def greedy(self, prompts, max_tokens):
            return [([*map(ord, "so: caf\ufffd")], truncated)] * len(prompts)

        def check_length(self, name, ids, answer_tokens):
            checked.append((len(ids), answer_tokens))

    checked, systems = [], []
    request = ScoreRequest("sa-11 on u/0", "text", "Judge.", (("no",), ("yes",)), followup="So?")
    settings = EngineSettings(engine="transformers", reasoning_tokens=300, answer_tokens=2)
    [result] = score_requests(Thinking(), Thinking(), [request], settings)
    assert checked == [(len("text"), 300), (result.prompt_tokens, 2)], "both turns must fit"
    assert systems == ["Judge.", "Judge."]
    assert result.reasoning == said and result.reasoning_tokens == len("so: caf") + 1
    assert result.prompt_tokens == len(f"text|{said}|So?")


def test_verbalizers_are_looked_up_for_each_ending_of_a_prompt_and_all_its_classes():
    class AfterZ(Letters):
        """Letters after a Z have other tokens."""

        def encode(self, texts):
            return [[ord(c) + 1000 * ("Z" in text[:place]) for place, c in enumerate(text)] for text in texts]

        def next_tokens(self, prompts, wanted, answer_tokens):
            self.wanted = wanted
            return super().next_tokens(prompts, wanted, answer_tokens)

    engine, yes_no = AfterZ(), (("n",), ("y",))
    asked = [("a", yes_no), ("Z", yes_no), ("a", (("j",), ("n",)))]
    requests = [ScoreRequest(f"sa-1 on u/{i}", text, None, words) for i, (text, words) in enumerate(asked)]
    score_requests(engine, engine, requests, EngineSettings(engine="transformers"))
    assert engine.wanted == [[ord("n"), ord("y")], [1000 + ord("n"), 1000 + ord("y")], [ord("j"), ord("n")]]


def test_a_reasoning_model_is_refused_by_engines_with_a_tokenizer():
    with pytest.raises(EngineError, match=r"request sa-1 on u/0: the model answers with '<think>'"):
        ask(Letters("<think>"), "no", "yes")


def test_scores_that_are_no_numbers_name_the_format_of_the_weights():
    with pytest.raises(EngineError, match=r"request sa-1 on u/0: .* \(NaN\), as where float16 is too narrow"):
        ask(Letters(logprob=math.nan), "no", "yes", dtype="float16")


@pytest.mark.parametrize(
    ("heads", "keys", "gpus", "used"),
    [
        (32, 8, 8, 8), (64, 8, 4, 4), (32, 8, 0, 1), (32, 8, 1, 1),
        (9, 3, 2, 1),  # SmolLM2 135M
        (24, 8, 3, 2), (24, 8, 6, 4), (12, 6, 4, 2), (32, 2, 8, 8), (16, None, 5, 4),
    ],
)  # fmt: skip
def test_a_model_is_spread_over_the_gpus_that_divide_its_heads(heads, keys, gpus, used):
    """vLLM refuses other numbers, also on a machine whose GPUs nobody chose."""
    config = LlamaConfig(num_attention_heads=heads, num_key_value_heads=keys, hidden_size=64 * heads)
    assert tensor_parallel_size(config, gpus) == used
    assert [tensor_parallel_size(MambaConfig(), gpus) for gpus in (0, 2, 3, 8)] == [1, 2, 2, 8]
