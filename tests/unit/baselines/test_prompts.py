"""Prompt-selection baselines against hand-worked cases, slow versions from the definitions, and bounds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fute.baselines.prompts import (
    calibrate_by_content_free,
    calibrate_by_mean,
    confident_prompts,
    description_length,
    global_entropy,
    local_entropy,
    mutual_information,
    select,
    self_select_scores,
    spell,
    zero_label,
)
from fute.llm.self_select import self_select_prompt
from fute.llm.self_select_step import parse_self_select

quick = settings(max_examples=50, deadline=None)  # no deadline: other jobs may hold the cores


@st.composite
def distributions(draw):
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4)))
    weights = draw(arrays(float, shape, elements=st.floats(0, 1)))
    weights[..., 0] += 1e-3
    return weights / weights.sum(axis=-1, keepdims=True)


def random_distributions(rng, prompts=13, examples=40, classes=3):
    sharpness = rng.uniform(0.2, 6, size=(prompts, 1, 1))
    weights = np.exp(sharpness * rng.normal(size=(prompts, examples, classes)))
    return weights / weights.sum(axis=-1, keepdims=True)


# ---- select


@pytest.mark.parametrize(("scores", "expected"), [([1, 3, 2], 1), ([2, 5, 5], 1), ([0, 0, 0], 0), ([-3.0, -np.inf], 0)])
def test_select_takes_the_best_and_of_equal_ones_the_lowest_number(scores, expected):
    assert select(scores) == expected


@pytest.mark.parametrize("scores", [[], [1.0, np.nan], [[1.0, 2.0]]])
def test_select_refuses_what_has_no_best(scores):
    with pytest.raises(ValueError, match="select needs"):
        select(scores)


# ---- entropies


def test_entropies_by_hand():
    p = [
        [[1.0, 0.0], [0.0, 1.0]],  # certain, both classes: all information
        [[0.5, 0.5], [0.5, 0.5]],  # undecided; ties are predicted as class 0
        [[1.0, 0.0], [1.0, 0.0]],  # certain, one class
        [[0.75, 0.25], [0.25, 0.75]],
    ]
    quarter = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    two = math.log(2)
    np.testing.assert_allclose(mutual_information(p), [two, 0, 0, two - quarter], atol=1e-12)
    np.testing.assert_allclose(local_entropy(p), [0, two, 0, quarter], atol=1e-12)
    np.testing.assert_allclose(global_entropy(p), [two, 0, 0, two], atol=1e-12)
    three = [[[0.6, 0.3, 0.1], [0.6, 0.1, 0.3], [0.1, 0.2, 0.7]]]  # predictions 0, 0, 2
    np.testing.assert_allclose(global_entropy(three), [math.log(3) - 2 / 3 * two])


@quick
@given(distributions())
def test_prompts_of_equal_answers_tie_exactly(p):
    """Prompts with the same words share their labels; a difference of one rounding would rank them."""
    twice = np.concatenate([p, p])
    for method in (mutual_information, local_entropy, global_entropy, zero_label):
        scores = method(twice)
        np.testing.assert_array_equal(scores[: len(p)], scores[len(p) :])


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (np.ones((2, 3)), "shape"),
        (np.ones((0, 3, 2)), "empty"),
        ([[[0.5, 0.5], [0.7, 0.7]]], r"p\[0, 1\]"),
        ([[[1.5, -0.5]]], r"p\[0, 0\]"),
        ([[[np.nan, 1.0]]], "softmax"),
    ],
)
def test_what_is_no_distribution_is_refused(p, message):
    for method in (mutual_information, local_entropy, global_entropy, zero_label):
        with pytest.raises(ValueError, match=message):
            method(p)


# ---- ZPS


def slow_two_means(values):
    """Upper cluster of the best split of sorted values: exact, since 1-D clusters are intervals."""
    order = sorted(values)

    def cost(group):
        return sum((v - sum(group) / len(group)) ** 2 for v in group)

    cut = min(range(1, len(order)), key=lambda k: cost(order[:k]) + cost(order[k:]))
    return [value >= order[cut] for value in values]


def slow_zero_label(p, vote):
    prompts, examples, classes = len(p), len(p[0]), len(p[0][0])
    confidence = []
    for t in range(prompts):
        gaps = [sorted(p[t][x])[-1] - sorted(p[t][x])[-2] for x in range(examples)]
        confidence.append(sum(gaps) / examples)
    kept = [t for t, keep in enumerate(slow_two_means(confidence)) if keep]
    predictions = [[list(p[t][x]).index(max(p[t][x])) for x in range(examples)] for t in range(prompts)]
    agreed = [0] * prompts
    for x in range(examples):
        support = []
        for y in range(classes):
            if vote == "log":
                support.append(sum(math.log(p[t][x][y] + 1e-12) for t in kept) / len(kept))
            elif vote == "prob":
                support.append(sum(p[t][x][y] for t in kept) / len(kept))
            else:
                support.append(sum(predictions[t][x] == y for t in kept))
        label = support.index(max(support))
        for t in range(prompts):
            agreed[t] += predictions[t][x] == label
    return [count / examples for count in agreed]


@pytest.mark.parametrize("vote", ["log", "prob", "vote"])
def test_zero_label_against_loops(vote):
    rng = np.random.default_rng(7)
    for classes in (2, 3):
        for _ in range(15):
            p = random_distributions(rng, classes=classes)
            np.testing.assert_allclose(zero_label(p, vote), slow_zero_label(p.tolist(), vote))


def test_zero_label_votes_differ_where_they_should():
    """Two sure prompts against one that is surer: only in logarithms does its certainty outweigh them."""
    p = np.array([[[0.9, 0.1]], [[0.9, 0.1]], [[1e-9, 1 - 1e-9]], [[0.5, 0.5]]])
    assert confident_prompts(p).tolist() == [True, True, True, False]
    np.testing.assert_array_equal(zero_label(p, "vote"), [1, 1, 0, 1])
    np.testing.assert_array_equal(zero_label(p, "prob"), [1, 1, 0, 1])
    np.testing.assert_array_equal(zero_label(p, "log"), [0, 0, 1, 0])
    # a probability of 0 counts as 1e-12: two prompts of 1 - 1e-9 outweigh it
    p = np.array([[[1.0, 0.0]], [[1e-9, 1 - 1e-9]], [[1e-9, 1 - 1e-9]], [[0.5, 0.5]]])
    np.testing.assert_array_equal(zero_label(p, "log"), [0, 1, 1, 0])


def test_zero_label_filter_keeps_the_confident_cluster():
    p = [[[0.95, 0.05]], [[0.52, 0.48]], [[0.1, 0.9]], [[0.55, 0.45]]]
    assert confident_prompts(p).tolist() == [True, False, True, False]
    assert confident_prompts([[[0.95, 0.05]], [[0.94, 0.06]]]).tolist() == [True, False], "however small the gap"


@pytest.mark.parametrize("vote", ["log", "prob", "vote"])
def test_zero_label_keeps_all_prompts_of_equal_confidence(vote):
    p = [[[0.8, 0.2], [0.8, 0.2]], [[0.2, 0.8], [0.8, 0.2]], [[0.8, 0.2], [0.2, 0.8]]]
    assert confident_prompts(p).all()
    np.testing.assert_allclose(zero_label(p, vote), [1, 0.5, 0.5])


def test_zero_label_does_not_cluster_roundings():
    p = np.array([[[0.1 + 0.2, 0.7]], [[0.3, 0.7]], [[0.3, 0.7]]])
    assert confident_prompts(p).all()


@pytest.mark.parametrize("vote", ["log", "prob", "vote"])
def test_zero_label_of_one_prompt_or_one_class_or_equal_prompts_is_one(vote):
    one = random_distributions(np.random.default_rng(0), prompts=1)
    np.testing.assert_array_equal(zero_label(one, vote), [1])
    np.testing.assert_array_equal(zero_label(np.repeat(one, 4, axis=0), vote), np.ones(4))
    np.testing.assert_array_equal(zero_label(np.ones((3, 5, 1)), vote), np.ones(3))


@pytest.mark.parametrize("vote", ["log", "prob", "vote"])
def test_flipped_zero_label_counts_the_other_class(vote):
    p = np.random.default_rng(3).dirichlet([1, 1], size=(5, 20))
    np.testing.assert_allclose(zero_label(p, vote, flip=True), 1 - zero_label(p, vote))
    with pytest.raises(ValueError, match="swaps two classes, and p has 3"):
        zero_label(np.full((2, 4, 3), 1 / 3), vote, flip=True)


def test_zero_label_refuses_an_unknown_vote():
    with pytest.raises(ValueError, match="log, prob, vote"):
        zero_label([[[0.5, 0.5]]], "majority")


# ---- SPELL


def test_spell_by_hand():
    nll = np.log([[2.0, 4.0], [10.0, 10.0]])
    np.testing.assert_allclose(spell(nll), [-3, -10])
    assert select(spell(nll)) == 0


@pytest.mark.parametrize(
    ("nll", "message"), [([[-2.0]], "log-prob"), ([1.0], "shape"), ([[np.inf]], "finite"), ([[]], "shape")]
)
def test_spell_refuses_what_is_no_nll(nll, message):
    with pytest.raises(ValueError, match=message):
        spell(nll)


# ---- Self-Select


@pytest.mark.parametrize(
    ("answer", "ranking"),
    [
        ("4", (4,)),
        ("Template 10.", (10,)),
        ("**7** is the best", (7,)),
        ("3, 1, 2", (3, 1, 2)),
        ("[5, 2, 5, 99, 1]", (5, 2, 1)),
        ("6 > 2 > 11", (6, 2, 11)),
        ("3\n1\n2\n", (3, 1, 2)),
        ("I give 0 of 99 others a chance: 12, then 3", (12,)),
        ("With 0.95 certainty it is number 8", (8,)),
        ("GPT2 and v3 aside, 5", (5,)),
        ("Template_3", (3,)),
        ("template3, since the others are vague", (3,)),
        ("_7_", (7,)),
        ("3 because 2 and 1 are vague", (3,)),
        ("Of the 13 templates, I choose Template 4", (4,)),
    ],
)
def test_self_select_answers(answer, ranking):
    parsed = parse_self_select(answer, 13)
    assert parsed.ranking == ranking
    assert not parsed.fell_back


@pytest.mark.parametrize("answer", ["", "none of them", "14", "0", "0.5"])
def test_self_select_falls_back_to_prompt_one_and_says_so(answer):
    parsed = parse_self_select(answer, 13)
    assert parsed.ranking == (1,)
    assert parsed.fell_back


@quick
@given(st.text(), st.integers(1, 20))
def test_any_answer_gives_a_ranking(answer, n_prompts):
    parsed = parse_self_select(answer, n_prompts)
    assert select(self_select_scores(parsed.ranking, n_prompts)) == parsed.ranking[0] - 1


def test_self_select_scores():
    np.testing.assert_array_equal(self_select_scores([3, 1], 4), [-2, -3, -1, -3])
    np.testing.assert_array_equal(self_select_scores([2], 3), [-2, -1, -2])
    np.testing.assert_array_equal(self_select_scores([3, 1], 4, list_as_scores=True), [3, 1, 2, 4])
    np.testing.assert_array_equal(self_select_scores([4, 2], 4, list_as_scores=True), [4, 2, 1, 3])


@pytest.mark.parametrize("ranking", [[1, 1], [0], [4]])
def test_self_select_scores_refuse_what_is_no_ranking(ranking):
    with pytest.raises(ValueError, match=r"1\.\.3"):
        self_select_scores(ranking, 3)


def test_self_select_prompt_numbers_the_templates():
    prompt = self_select_prompt("Is the review positive?", ["{text} Good?", "Read:\n{text}"])
    assert "Is the review positive?" in prompt
    assert "Template 1:\n{text} Good?" in prompt
    assert "Template 2:\nRead:\n{text}" in prompt
    assert "Template 3" not in prompt
    with pytest.raises(ValueError, match="at least one"):
        self_select_prompt("x", [])


def test_masked_examples_are_as_if_they_were_not_there():
    rng = np.random.default_rng(3)
    p, mask = rng.dirichlet(np.ones(3), size=(4, 30)), np.ones((4, 30), dtype=bool)
    mask[:, ::7] = False
    for score in (mutual_information, local_entropy, global_entropy, zero_label, confident_prompts):
        assert (score(p, labelled=mask) == score(p[:, mask[0]])).all(), score.__name__


def test_a_prompt_without_a_label_does_not_agree_and_has_no_vote():
    yes, no = [0.1, 0.9], [0.9, 0.1]
    p = np.array([[yes, yes], [no, yes], [no, yes]])
    mask = np.array([[True, True], [False, True], [False, True]])
    # on the first example only the first prompt is heard: the pseudo-label is its class
    for vote in ("log", "prob", "vote"):
        assert zero_label(p, vote, mask).tolist() == [1, 0.5, 0.5]
        assert zero_label([[yes, yes]] * 3, vote, mask).tolist() == [1, 0.5, 0.5], "bounds agree with nothing"
    # three answers with a gap of 0.4 are no surer than one with 0.8
    p = np.array([[[0.7, 0.3]] * 3, [[0.9, 0.1]] * 3])
    assert confident_prompts(p, [[True] * 3, [True, False, False]]).tolist() == [False, True]


def test_an_example_that_nobody_labels_counts_for_no_one():
    yes, no = [0.1, 0.9], [0.9, 0.1]
    p = np.array([[yes, yes], [no, yes], [no, yes]])
    mask = np.array([[False, True]] * 3)
    assert zero_label(p, "vote", mask).tolist() == [1, 1, 1]


def test_every_prompt_needs_a_labelled_example():
    with pytest.raises(ValueError, match="a labelled example for every prompt"):
        local_entropy(np.full((2, 3, 2), 0.5), np.array([[True] * 3, [False] * 3]))


def test_variants_by_hand():
    """Two prompts on two examples: one sure and varied, one that leans to class 0 always."""
    p = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.6, 0.4]]])

    def h(*q: float) -> float:
        return -sum(x * np.log(x) for x in q)

    mean_entropies = np.array([(h(0.9, 0.1) + h(0.2, 0.8)) / 2, (h(0.9, 0.1) + h(0.6, 0.4)) / 2])
    np.testing.assert_allclose(description_length(p), -mean_entropies)
    np.testing.assert_allclose(global_entropy(p, hard=False), [h(0.55, 0.45), h(0.75, 0.25)])
    np.testing.assert_allclose(global_entropy(p), [np.log(2), 0])
    np.testing.assert_allclose(mutual_information(p, hard=True), [np.log(2), 0] - mean_entropies)
    np.testing.assert_allclose(mutual_information(p), [h(0.55, 0.45), h(0.75, 0.25)] - mean_entropies)
    calibrated = calibrate_by_mean(p)
    weights = np.array([0.9 / 0.75, 0.1 / 0.25])
    np.testing.assert_allclose(calibrated[1, 0], weights / weights.sum())
    np.testing.assert_allclose(global_entropy(calibrated)[1], np.log(2), err_msg="0.6 / 0.75 is under 0.4 / 0.25")


def test_calibration_uses_the_labelled_examples_and_keeps_distributions():
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=(4, 6))
    labelled = np.ones((4, 6), dtype=bool)
    labelled[1, 2:] = False
    found = calibrate_by_mean(p, labelled)
    np.testing.assert_allclose(found.sum(-1), 1)
    np.testing.assert_allclose(found[1, :2], calibrate_by_mean(p[1:2, :2])[0])
    same = np.tile(p[:, :1], (1, 6, 1))
    np.testing.assert_allclose(calibrate_by_mean(same), 1 / 3, err_msg="what is said of all examples says nothing")
    never = np.array([[[0.5, 0.5, 0.0], [0.25, 0.75, 0.0]]])
    assert (calibrate_by_mean(never)[..., 2] == 0).all()
    # an example without a label, all on a class that the labelled ones never have
    hidden = calibrate_by_mean(np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]), np.array([[True, True, False]]))
    assert hidden.tolist() == [[[1, 0], [1, 0], [0, 1]]]


def test_contextual_calibration_and_pmi():
    rng = np.random.default_rng(1)
    p, free = rng.dirichlet(np.ones(3), size=(2, 5)), rng.dirichlet(np.ones(3), size=(2, 3))
    found = calibrate_by_content_free(p, free)
    for prompt in range(2):
        for example in range(5):
            weights = p[prompt, example] / free[prompt].mean(0)
            np.testing.assert_allclose(found[prompt, example], weights / weights.sum())
    pmi = np.log(p) - np.log(free[:, :1])  # a difference of log-probabilities, then a softmax
    expected = np.exp(pmi) / np.exp(pmi).sum(-1, keepdims=True)
    np.testing.assert_allclose(calibrate_by_content_free(p, free[:, :1]), expected)
    np.testing.assert_allclose(calibrate_by_content_free(p, np.full((2, 1, 3), 1 / 3)), p)
    never = np.array([[[0.75, 0.25, 0.0]]])
    np.testing.assert_allclose(calibrate_by_content_free(never, never[..., [1, 0, 2]]), [[[0.9, 0.1, 0.0]]])
    with pytest.raises(ValueError, match="probability 0"):
        calibrate_by_content_free(p, np.tile([[[0.0, 0.5, 0.5]]], (2, 1, 1)))
    with pytest.raises(ValueError, match="other prompts or classes"):
        calibrate_by_content_free(p, free[:1])
