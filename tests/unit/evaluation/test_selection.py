"""Measures, Table 3's intervals, controls and geometry against brute force, hand cases and libraries."""

import time
from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, ndcg_score, silhouette_samples

from fute.evaluation.controls import null_comparison, order_noise
from fute.evaluation.correlation import spearman
from fute.evaluation.geometry import label_shared_across, nearest, neighbour_purity, project, silhouette_by
from fute.evaluation.metrics import best_rank, ndcg, ndcg_rows, performance_rate
from fute.evaluation.permutation import choice_test, distinct, ndcg_test, orders_of, spearman_test
from fute.evaluation.resampling import bootstrap_counts
from fute.evaluation.selection import Block, average_blocks, prompt_performance, selection_table
from fute.evaluation.true_order import reliability
from fute.evaluation.two_way import two_way

quick = settings(max_examples=50, deadline=None)  # no deadline: other jobs may hold the cores

percents = st.integers(0, 100).map(float)
few_scores = st.integers(0, 3).map(float)


def lists_of(n, *elements):
    return st.tuples(*(st.lists(element, min_size=n, max_size=n) for element in elements))


def slow_dcg(relevance, order):
    return sum((2 ** relevance[i] - 1) / np.log2(rank + 2) for rank, i in enumerate(order))


def slow_ndcg(relevance, scores):
    """Mean over every order that the scores allow; exact integers before the last division."""
    relevance = [int(r) for r in relevance]
    orders = [
        order for order in permutations(range(len(scores))) if all(scores[a] >= scores[b] for a, b in pairwise(order))
    ]
    ideal = slow_dcg(relevance, sorted(range(len(scores)), key=lambda i: -relevance[i]))
    return 100 * np.mean([slow_dcg(relevance, order) for order in orders]) / ideal if ideal else 100.0


# ---- NDCG


def test_ndcg_by_hand():
    # gains 2^rel - 1 = 7, 3, 1; the scores put them at ranks 2, 1, 3
    reached = 3 / 1 + 7 / np.log2(3) + 1 / 2
    ideal = 7 / 1 + 3 / np.log2(3) + 1 / 2
    assert ndcg([3, 2, 1], [0.5, 0.9, 0.1]) == pytest.approx(100 * reached / ideal)
    assert ndcg([300, 200, 100], [0.5, 0.9, 0.1], scale="unit") == pytest.approx(100 * reached / ideal)


@quick
@given(st.integers(1, 5).flatmap(lambda n: lists_of(n, percents, few_scores)))
def test_ndcg_is_the_mean_over_all_orders_of_ties(case):
    relevance, scores = case
    assert ndcg(relevance, scores) == pytest.approx(slow_ndcg(relevance, scores), rel=1e-9)


@quick
@given(st.integers(2, 13).flatmap(lambda n: lists_of(n, percents, few_scores)))
def test_linear_ndcg_is_scikit_learns(case):
    relevance, scores = case
    expected = 100 * ndcg_score([relevance], [scores]) if any(relevance) else 100
    assert ndcg(relevance, scores, gain="linear") == pytest.approx(expected)


@quick
@given(st.integers(1, 13).flatmap(lambda n: lists_of(n, percents, few_scores)), st.sampled_from(["unit", "percent"]))
def test_ndcg_bounds_ideal_and_invariance(case, scale):
    relevance, scores = (np.array(values) for values in case)
    value = ndcg(relevance, scores, scale=scale)
    assert 0 <= value <= 100 + 1e-9
    assert ndcg(relevance, relevance, scale=scale) == pytest.approx(100)
    assert ndcg(relevance, np.exp(scores) * 5 - 7, scale=scale) == value  # strictly monotone
    order = np.random.default_rng(0).permutation(len(scores))
    assert ndcg(relevance[order], scores[order], scale=scale) == pytest.approx(value)


def test_ndcg_does_not_overflow_and_keeps_small_relevances():
    expected = 100 * (0.5 + 1 / np.log2(3)) / (1 + 0.5 / np.log2(3))
    assert ndcg([5000.0, 4999.0, 0.0], [1, 2, 0]) == pytest.approx(expected)
    rows = ndcg_rows([[5000.0, 4999.0, 0.0], [2.0, 1.0, 0.0]], [1, 2, 0])
    assert rows == pytest.approx([expected, ndcg([2, 1, 0], [1, 2, 0])]), "each row has a scale of its own"
    tiny = ndcg([1e-13, 2e-13], [1, 0])
    assert tiny == pytest.approx(ndcg([1e-13, 2e-13], [1, 0], gain="linear"), rel=1e-9)


@pytest.mark.filterwarnings("error")  # zeros are not negative
def test_ndcg_where_nothing_is_relevant():
    assert ndcg([0, 0, 0], [1, 2, 3]) == 100


def test_negative_relevance_counts_as_zero_and_warns():
    with pytest.warns(UserWarning, match="1 negative relevance") as caught:
        value = ndcg([-20, 30, 10], [3, 2, 1])
    assert value == ndcg([0, 30, 10], [3, 2, 1])
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 2], [1]), {}, "one score per relevance"),
        (([], []), {}, "one score per relevance"),
        (([[1, 2]], [1, 2]), {}, "1-D"),
        (([1, 2], [1, np.nan]), {}, "finite"),
        (([1, np.nan], [1, 2]), {}, "finite"),
        (([1, 2], [1, 2]), {"gain": "exp"}, "exp2 or linear"),
        (([1, 2], [1, 2]), {"scale": "per cent"}, "percent or unit"),
    ],
)
def test_ndcg_refuses(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ndcg(*arguments, **options)


# ---- ranks, rates, correlation


@quick
@given(st.integers(1, 5).flatmap(lambda n: lists_of(n, few_scores, few_scores)))
def test_best_rank_against_brute_force(case):
    gains, scores = case
    n = len(gains)
    orders = [order for order in permutations(range(n)) if all(scores[a] >= scores[b] for a, b in pairwise(order))]
    best = [i for i in range(n) if gains[i] == max(gains)]
    expected = np.mean([min(order.index(i) + 1 for i in best) for order in orders])
    assert best_rank(gains, scores) == pytest.approx(expected)


def test_best_rank_by_hand():
    assert best_rank([-3, 2, 1], [0.9, 0.8, 0.1]) == 2
    assert best_rank([1, 0, 0, 0], [5, 5, 5, 1]) == 2  # ties share 1..3
    assert best_rank([1, 1, 0], [0, 4, 9]) == 2  # of equal gains the better ranked
    assert best_rank(range(10), np.zeros(10)) == 5.5  # chance, in-class Table 1
    assert best_rank([1, 1, 1], [0, 0, 0]) == 1  # every source is a best one
    assert best_rank([1, 1, 0], [0, 0, 0]) == pytest.approx(4 / 3)
    with pytest.raises(ValueError, match="one length"):
        best_rank([1, 2], [1])


def test_performance_rate():
    assert performance_rate([40, 80, 60], 2) == pytest.approx(75)
    assert performance_rate([40, 80, 60], 1) == 100
    assert performance_rate([0, 0], 1) == 100
    for performance in ([], [[40, 80]], [40, float("nan")]):
        with pytest.raises(ValueError, match=r"must be finite, \(prompts,\)"):
            performance_rate(performance, 0)
    for selected in (-1, 3, 1.0, [3, 1, 2]):
        with pytest.raises(ValueError, match="a place from 0 to 2, got"):
            performance_rate([40, 80, 60], selected)


@pytest.mark.filterwarnings("error")
def test_spearman():
    assert spearman([1, 2, 3], [10, 30, 20]) == pytest.approx(0.5)
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3])) and np.isnan(spearman([1, 2, 3], [1, 1, 1]))
    assert np.isnan(spearman([1.0], [2.0]))


# ---- Table 3


def make_block(n_prompts=4, n_rows=60, n_classes=3, seed=0, **scores):
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, n_classes, n_rows)
    right = rng.random((n_prompts, n_rows)) < np.linspace(0.3, 0.7, n_prompts)[:, None]
    predictions = np.where(right, gold, rng.integers(0, n_classes, (n_prompts, n_rows)))
    return Block(
        prompts=tuple(f"p{i + 1}" for i in range(n_prompts)),
        classes=tuple("abcdef"[:n_classes]),
        gold=gold,
        predictions=predictions,
        scores={name: np.asarray(values, dtype=float) for name, values in scores.items()},
    )


def row_of(frame, method):
    return frame.set_index("method").loc[method]


@pytest.mark.parametrize("n_rows", [1, 2, 7, 56])
def test_performance_of_samples_is_scikit_learns(n_rows):
    """Few rows, so that classes are missing from gold, from predictions, and from both."""
    block = make_block(n_rows=n_rows)
    counts = np.concatenate([bootstrap_counts(n_rows, 25, seed=1), np.eye(n_rows, dtype=int)[:1]])
    accuracy = prompt_performance(block, counts, "accuracy")
    macro_f1 = prompt_performance(block, counts, "macro_f1")
    for draw, count in enumerate(counts):
        rows = np.repeat(np.arange(n_rows), count)
        for t, predicted in enumerate(block.predictions):
            assert accuracy[draw, t] == pytest.approx(100 * np.mean(predicted[rows] == block.gold[rows]))
            expected = f1_score(block.gold[rows], predicted[rows], average="macro", zero_division=0)
            assert macro_f1[draw, t] == pytest.approx(100 * expected)


def test_resampled_rows_are_a_bootstrap():
    counts = bootstrap_counts(50, 4000, seed=3)
    assert (counts.sum(axis=1) == 50).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.08)
    np.testing.assert_allclose(counts.var(axis=0), 1 - 1 / 50, atol=0.12)
    np.testing.assert_array_equal(counts, bootstrap_counts(50, 4000, seed=3))
    assert (counts != bootstrap_counts(50, 4000, seed=4)).any()


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_selection_table_against_a_plain_loop(metric):
    block = make_block(good=[1, 2, 3, 4], tied=[2, 0, 2, 2], flat=[5, 5, 5, 5])
    draws, seed = 60, 9
    table = selection_table(block, metric=metric, draws=draws, seed=seed)

    def measure(rows):
        gold = block.gold[rows]
        if metric == "accuracy":
            return [100 * np.mean(predicted[rows] == gold) for predicted in block.predictions]
        return [
            100 * f1_score(gold, predicted[rows], average="macro", zero_division=0) for predicted in block.predictions
        ]

    everything = measure(np.arange(60))
    resampled = [measure(np.repeat(np.arange(60), count)) for count in bootstrap_counts(60, draws, seed)]
    noise = two_way(np.transpose(resampled)).residual * (draws - 1) / draws  # what rows add to all prompts is none
    assert table.frame["reliability"].to_numpy() == pytest.approx(reliability(everything, noise))
    oracle = row_of(table.frame, "Oracle")
    best = np.percentile(np.max(resampled, axis=1), [2.5, 97.5])
    assert [oracle["performance_lo"], oracle["performance_hi"]] == pytest.approx(best), "the best on each draw"
    for method, chosen in (("good", 3), ("tied", 0), ("flat", 0)):
        row, scores = row_of(table.frame, method), block.scores[method]
        assert row["selected"] == block.prompts[chosen]
        assert row["performance"] == pytest.approx(everything[chosen])
        assert row["rate"] == pytest.approx(performance_rate(everything, chosen))
        said = block.predictions[chosen]
        assert row["accuracy"] == pytest.approx(100 * np.mean(said == block.gold))
        assert row["macro_f1"] == pytest.approx(100 * f1_score(block.gold, said, average="macro"))
        assert row["ndcg"] == pytest.approx(ndcg(everything, scores))
        assert row["ndcg_linear"] == pytest.approx(ndcg(everything, scores, gain="linear"))
        assert row["spearman"] == pytest.approx(spearman(scores, everything), nan_ok=True)
        drawn = {
            "performance": [p[chosen] for p in resampled],
            "rate": [performance_rate(p, chosen) for p in resampled],
            "ndcg": [ndcg(p, scores) for p in resampled],
            "performance_minus_random": [p[chosen] - np.mean(p) for p in resampled],
            "ndcg_minus_random": [ndcg(p, scores) - ndcg(p, np.zeros(4)) for p in resampled],
        }
        for name, values in drawn.items():
            expected = pytest.approx(np.percentile(values, [2.5, 97.5]), abs=1e-9)
            assert [row[f"{name}_lo"], row[f"{name}_hi"]] == expected, name
        at = list(table.frame["method"]).index(method)
        np.testing.assert_allclose(table.draws["ndcg"][at], drawn["ndcg"])


def test_reliability_of_two_prompts_is_that_of_the_two_way_layout():
    block = make_block(n_prompts=2, n_rows=200, m=[1, 2])
    resampled = prompt_performance(block, bootstrap_counts(200, 60, 9), "accuracy")
    accuracy = 100 * (block.predictions == block.gold).mean(axis=1)
    expected = reliability(accuracy, two_way(resampled.T).residual * 59 / 60)
    row = row_of(selection_table(block, draws=60, seed=9).frame, "m")
    assert 0 < expected < 1 and row["reliability"] == pytest.approx(expected)
    assert row["margin"] == 1


def test_references():
    block = make_block(method=[1, 0, 0, 0])
    frame = selection_table(block, draws=200).frame
    assert list(frame["method"]) == ["method", "Oracle", "Mean over prompts", "Random"]
    accuracy = 100 * (block.predictions == block.gold).mean(axis=1)
    oracle, mean, chance = (row_of(frame, name) for name in ("Oracle", "Mean over prompts", "Random"))
    assert oracle["selected"] == block.prompts[accuracy.argmax()]
    assert (oracle["performance"], oracle["rate"], oracle["ndcg"]) == (accuracy.max(), 100, 100)
    assert mean["performance"] == pytest.approx(accuracy.mean())
    assert np.isnan(mean["ndcg"])
    assert np.isnan(mean["ndcg_lo"])
    assert chance["selected"] == ""

    rng = np.random.default_rng(5)
    orders = [rng.permutation(4) for _ in range(4000)]
    simulated = {
        "performance": np.mean([accuracy[order.argmax()] for order in orders]),
        "rate": np.mean([performance_rate(accuracy, order.argmax()) for order in orders]),
        "ndcg": np.mean([ndcg(accuracy, order) for order in orders]),
        "ndcg_linear": np.mean([ndcg(accuracy, order, gain="linear") for order in orders]),
    }
    for name, value in simulated.items():
        assert chance[name] == pytest.approx(value, abs=1.5), name
    exact = np.mean([ndcg(accuracy, order) for order in permutations(range(4))])
    assert chance["ndcg"] == pytest.approx(exact)
    assert (frame["random_ndcg"] == chance["ndcg"]).all()
    assert frame["random_performance"].to_numpy() == pytest.approx(accuracy.mean())
    assert (chance["performance_minus_random_lo"], chance["ndcg_minus_random_hi"]) == (0, 0)
    assert list(frame["beats_random"])[1:] == ["", "", ""]


def test_margin_is_best_minus_second():
    frame = selection_table(make_block(a=[1, 5, 2, 4.5], tied=[3, 3, 1, 0]), draws=5).frame
    assert row_of(frame, "a")["margin"] == 0.5
    assert row_of(frame, "tied")["margin"] == 0
    assert np.isnan(row_of(selection_table(make_block(n_prompts=1, m=[5]), draws=5).frame, "m")["margin"])


def test_a_choice_of_three_prompts_is_no_proof():
    """Prompt 1 is always right, the others never. Taking it is a luck of one in three, however many rows there are."""
    gold = np.arange(200) % 2
    predictions = np.stack([gold, 1 - gold, 1 - gold])
    scores = {"right": [3, 2, 1], "wrong": [1, 2, 3]}
    block = Block(("a", "b", "c"), ("x", "y"), gold, predictions, {k: np.array(v) for k, v in scores.items()})
    frame = selection_table(block, draws=100).frame
    right, wrong = row_of(frame, "right"), row_of(frame, "wrong")
    assert right["performance_minus_random_lo"] > 60, "the interval of the number is far from 0"
    assert (right["performance_p"], right["ndcg_p"], right["performance_p_worse"]) == (1 / 3, 1 / 3, 1)
    assert (wrong["performance_p"], wrong["performance_p_worse"]) == (1, 2 / 3)
    assert set(frame["beats_random"][:2]) == {"neither"} and set(frame["beats_random"][2:]) == {""}
    assert frame.set_index("method").loc[["Oracle", "Random"], "ndcg_p"].isna().all()


def test_p_values_against_full_enumeration():
    block = make_block(n_prompts=5, good=[1, 2, 3, 5, 4], tied=[2, 0, 2, 2, 1])
    frame = selection_table(block, draws=20).frame
    accuracy = 100 * (block.predictions == block.gold).mean(axis=1)
    for method in ("good", "tied"):
        row, scores = row_of(frame, method), block.scores[method]
        everything = [ndcg(accuracy, scores[list(order)]) for order in permutations(range(5))]
        assert row["ndcg_p"] == pytest.approx(np.mean([value >= row["ndcg"] - 1e-9 for value in everything]))
        assert row["ndcg_p_worse"] == pytest.approx(np.mean([value <= row["ndcg"] + 1e-9 for value in everything]))
        correlations = [spearman(accuracy, scores[list(order)]) for order in permutations(range(5))]
        assert row["spearman_p"] == pytest.approx(np.mean([value >= row["spearman"] - 1e-9 for value in correlations]))
        assert row["performance_p"] == np.mean(accuracy >= row["performance"])
        assert row["performance_p_worse"] == np.mean(accuracy <= row["performance"])


def test_p_values_of_a_mean_over_datasets_against_full_enumeration():
    """One permutation of the five prompts for both datasets."""
    rng = np.random.default_rng(4)
    performances, scores = rng.uniform(40, 90, (2, 5)), rng.normal(size=(2, 5))
    orders = np.array(list(permutations(range(5))))

    def tails(mean):
        above = np.array([mean(order) for order in orders]) - mean(np.arange(5))
        return pytest.approx((np.mean(above >= -1e-9), np.mean(above <= 1e-9)))

    for test, measure in ((ndcg_test, ndcg), (spearman_test, spearman)):
        pairs = list(zip(performances, scores, strict=True))
        assert test(performances, scores) == tails(lambda o, m=measure, of=pairs: np.mean([m(p, s[o]) for p, s in of]))
    for choices in ([1, 1], [1, 3], [4, 0]):
        assert choice_test(performances, choices) == tails(lambda o, c=choices: performances[[0, 1], o[c]].mean())


def test_permutations_are_all_there_are_or_as_many_as_asked_for():
    everything, exact = orders_of(4, 24)
    assert exact and sorted(map(tuple, everything)) == list(permutations(range(4)))
    drawn, exact = orders_of(4, 23)
    assert not exact and drawn.shape == (23, 4) and (np.sort(drawn) == np.arange(4)).all()
    assert distinct([3, 1, 3, 2], [[0, 1]] * 4).tolist() == [0, 1, 3], "in the order in which they stand"


def test_equal_prompts_count_once():
    """Prompts 3 and 4 are equal, predictions and scores. Another method scores them differently: there they count."""
    block = make_block(n_prompts=4)
    predictions = block.predictions[[0, 1, 3, 3]]
    scores = {"same": np.array([1.0, 2.0, 4.0, 4.0]), "other": np.array([1.0, 2.0, 4.0, 3.0])}
    frame = selection_table(Block(block.prompts, block.classes, block.gold, predictions, scores), draws=20).frame
    assert row_of(frame, "same")["performance_p"] == 1 / 3 and row_of(frame, "other")["performance_p"] == 2 / 4
    # the first two are equal, and the last one is chosen: the third of three
    same = {"same": np.array([1.0, 1.0, 2.0, 4.0])}
    frame = selection_table(replace(block, predictions=block.predictions[[0, 0, 1, 3]], scores=same), draws=20).frame
    assert row_of(frame, "same")["performance_p"] == 1 / 3


@pytest.mark.parametrize(("n_prompts", "beats"), [(20, True), (19, False)])
def test_five_percent_is_small_enough(n_prompts, beats):
    """The best of 20 was chosen, and p is 1/20; that of 19 may be chance."""
    block = make_block(n_prompts, 20_000, first=[0] * (n_prompts - 1) + [9])
    row = row_of(selection_table(block, draws=2, permutations=1000).frame, "first")
    assert row["performance_p"] == 1 / n_prompts and (row["beats_random"] in ("performance", "both")) == beats


def test_the_verdict_follows_the_tests():
    """Seven prompts of different quality: a ranking in the right order has an exact p of 1/5,040."""
    block = make_block(n_prompts=7, n_rows=3000, right=np.arange(7), wrong=-np.arange(7), first=[0, 0, 0, 0, 0, 0, 9])
    frame = selection_table(block, draws=50).frame
    assert row_of(frame, "right")["ndcg_p"] == 1 / 5040 and row_of(frame, "right")["performance_p"] == 1 / 7
    assert row_of(frame, "right")["beats_random"] == "ndcg"
    assert row_of(frame, "wrong")["ndcg_p_worse"] == 1 / 5040 and row_of(frame, "wrong")["beats_random"] == "neither"
    # different choices on different datasets are different draws
    more = [selection_table(make_block(7, 3000, seed=s, m=np.arange(7)), draws=50, seed=s) for s in range(2)]
    turned = Block(
        more[1].block.prompts, ("a", "b", "c"), more[1].block.gold, more[1].block.predictions[::-1],
        {"m": -np.arange(7.0)},
    )  # fmt: skip
    mean = average_blocks([("a", more[0]), ("b", selection_table(turned, draws=50))])
    assert row_of(mean, "m")["performance_p"] == pytest.approx(1 / 42) and row_of(mean, "m")["beats_random"] == "both"
    shared = average_blocks([("a", more[0]), ("b", more[1])])
    assert row_of(shared, "m")["performance_p"] == pytest.approx(1 / 7), "one choice for both datasets is one draw"


def test_true_order_is_uncertain_with_few_rows_and_known_with_many():
    few, many = (row_of(selection_table(make_block(n_rows=n, m=[1, 2, 3, 4])).frame, "m") for n in (20, 20_000))
    assert few["random_ndcg"] < few["true_order_ndcg"] < 99 and few["reliability"] < 0.9
    assert many["true_order_ndcg"] > 99.9 and many["reliability"] > 0.99
    single = row_of(selection_table(make_block(n_rows=1, m=[1, 2, 3, 4])).frame, "m")
    assert single["true_order_ndcg"] >= single["random_ndcg"] - 1e-9


@pytest.mark.parametrize("n_prompts", [2, 7, 13])
def test_prompts_that_are_answered_alike_have_no_reliability(n_prompts):
    """An LLM that always says the same: there is no variance of which a share could be noise."""
    block = make_block(n_prompts=n_prompts, n_rows=999, m=np.arange(n_prompts))
    block = replace(block, predictions=np.tile(block.predictions[:1], (n_prompts, 1)))
    for metric in ("accuracy", "macro_f1"):
        row = row_of(selection_table(block, metric=metric, draws=50, permutations=100).frame, "m")
        assert np.isnan(row["reliability"]) and row["true_order_ndcg"] == pytest.approx(100)


def test_selection_table_is_fast_and_reproducible():
    block = make_block(n_prompts=13, n_rows=1000, **{f"m{i}": np.arange(13) * (-1) ** i for i in range(10)})
    for metric in ("accuracy", "macro_f1"):
        start = time.process_time()
        first = selection_table(block, metric=metric)
        assert time.process_time() - start < 1
        assert first.frame.equals(selection_table(block, metric=metric).frame)
    percents = ["performance", "accuracy", "macro_f1", "rate", "ndcg", "ndcg_linear", "true_order_ndcg"]
    values = first.frame[percents].to_numpy()
    assert (np.isnan(values) | ((values >= 0) & (values <= 100 + 1e-9))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gold": np.array([0, 3])}, "gold holds a class index"),
        ({"predictions": np.array([[0, -1]])}, "predictions holds a class index"),
        ({"predictions": np.array([0, 1])}, "predictions have shape"),
        ({"scores": {"m": np.array([1.0, 2.0])}}, "m: needs 1 finite"),
        ({"scores": {"m": np.array([np.nan])}}, "m: needs 1 finite"),
        ({"scores": {"Oracle": np.array([1.0])}}, "reference row"),
    ],
)
def test_block_refuses(change, message):
    fields = {
        "prompts": ("p",), "classes": ("x", "y"), "gold": np.array([0, 1]),
        "predictions": np.array([[0, 1]]), "scores": {},
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        Block(**{**fields, **change})


def test_average_of_blocks():
    methods = {"m": [1, 2, 3, 4], "n": [4, 3, 2, 1]}
    tables = [
        (name, selection_table(make_block(n_rows=rows, seed=rows, **methods), draws=300))
        for name, rows in (("cb", 56), ("wanli", 100), ("anli", 100))
    ]
    average = average_blocks(tables)
    row = row_of(average, "m")
    for name in ("performance", "rate", "ndcg", "random_ndcg", "true_order_ndcg", "reliability", "spearman"):
        assert row[name] == pytest.approx(np.mean([row_of(table.frame, "m")[name] for _, table in tables]))
    assert row["datasets"] == "cb, wanli, anli"
    assert row["n_rows"] == 256
    assert row_of(average, "Random")["ndcg_minus_random_hi"] == 0
    # The mean of three independent draws: variances add, and each interval is about 3.92 sd wide.
    single = [table.draws["performance"][0].std() for _, table in tables]
    width = row["performance_hi"] - row["performance_lo"]
    assert width == pytest.approx(3.92 * np.sqrt(np.sum(np.square(single))) / 3, rel=0.15)


def test_datasets_of_equal_rows_are_drawn_independently():
    """The same rows under two names: were draws shared, their mean would be as uncertain as one of them."""
    table = selection_table(make_block(n_rows=100, m=[1, 2, 3, 4]), draws=1000)
    average = row_of(average_blocks([("a", table), ("b", table)]), "m")
    one = row_of(table.frame, "m")
    ratio = (average["performance_hi"] - average["performance_lo"]) / (one["performance_hi"] - one["performance_lo"])
    assert ratio == pytest.approx(np.sqrt(0.5), abs=0.08)


def test_average_refuses_other_methods_and_repeated_datasets():
    a = selection_table(make_block(m=[1, 2, 3, 4]), draws=5)
    b = selection_table(make_block(n=[1, 2, 3, 4]), draws=5)
    with pytest.raises(ValueError, match="b has methods"):
        average_blocks([("a", a), ("b", b)])
    with pytest.raises(ValueError, match="different datasets"):
        average_blocks([("a", a), ("a", a)])
    with pytest.raises(ValueError, match="different datasets"):
        average_blocks([])


# ---- controls


def test_order_noise_by_hand():
    """Prompts 0.2, 0.5, 0.9 in the mean of two orders; the second order adds 0.2 to all, and 0.03, -0.06, 0.03."""
    table = [[0.1, 0.33], [0.4, 0.54], [0.8, 1.03]]
    result = order_noise(np.mean(table, axis=1), table)
    residuals = np.array([[-0.015, 0.015], [0.03, -0.03], [-0.015, 0.015]])
    means = np.mean(table, axis=1)
    assert result["sd_prompts"] == pytest.approx(means.std(ddof=1))
    assert result["sd_order_noise"] == pytest.approx(np.sqrt((residuals**2).sum() / 2 / 2))
    assert result["order_f"] == pytest.approx(2 * means.var(ddof=1) / ((residuals**2).sum() / 2))
    assert result["order_p"] < 0.05 and result["verdict"].startswith(
        "prompts can be told from the noise of order seeds"
    )
    noisy = order_noise([0.1, 0.2, 0.3], [[0.1, 0.3], [0.4, 0.2], [0.1, 0.3]])
    assert noisy["order_p"] > 0.5 and "prompts cannot be told from the noise" in noisy["verdict"]


def test_order_noise_is_that_of_the_scores_beside_it():
    """Scores of four orders each, made again and again, spread by it around what they are without noise."""
    random, n_orders, spread = np.random.default_rng(3), 4, 0.02
    tables = np.linspace(0.1, 0.9, 6)[:, None] + spread * random.standard_normal((400, 6, n_orders))
    noise = [order_noise(table.mean(axis=1), table)["sd_order_noise"] for table in tables]
    assert np.sqrt(np.mean(np.square(noise))) == pytest.approx(tables.mean(axis=2).std(axis=0).mean(), rel=0.03)


def test_order_noise_without_any_spread():
    certain = order_noise([0.3, 0.4], [[0.3, 0.3], [0.4, 0.4]])
    assert certain["order_f"] == np.inf and certain["verdict"].endswith("(F = inf, p <0.001)")
    # an order that moves all prompts alike makes no noise
    moved = order_noise([0.35, 0.45], [[0.3, 0.4], [0.4, 0.5]])
    assert moved["order_p"] < 1e-9 and moved["sd_order_noise"] == pytest.approx(0, abs=1e-12)
    same = order_noise([0.3, 0.3, 0.3], np.full((3, 3), 0.3))
    assert np.isnan(same["order_p"]) and same["verdict"].startswith("all prompts have the same similarities")


def test_equal_prompts_are_one_row_of_the_layout():
    table = [[0.1, 0.3], [0.4, 0.2], [0.1, 0.5]]
    doubled = [table[0], table[1], table[2], table[0]]
    once, twice = (order_noise(np.mean(each, axis=1), each) for each in (table, doubled))
    assert once["order_p"] == twice["order_p"] and once["order_f"] == twice["order_f"]


@pytest.mark.parametrize("orders", [[[0.1], [0.2]], [[0.1, 0.2]], [0.1, 0.2], [[0.1, np.nan], [0.1, 0.2]]])
def test_order_noise_refuses(orders):
    with pytest.raises(ValueError, match=r"order seeds|finite"):
        order_noise([0.1, 0.2], orders)


def test_null_comparison():
    result = null_comparison([0.9, 0.5, 0.1], [[0.2, 0.4], [0.5, 0.3], [0.0, 0.0]])
    assert result["null_mean"] == pytest.approx(1.4 / 6) and result["null_max"] == 0.5
    assert result["null_sd_prompts"] == pytest.approx(
        (np.std([0.2, 0.5, 0.0], ddof=1) + np.std([0.4, 0.3, 0.0], ddof=1)) / 2
    )
    assert result["share_above_null"] == pytest.approx(2 / 3)  # 0.5 only equals its draw
    assert result["null_spearman"] == pytest.approx(spearman([0.9, 0.5, 0.1], [0.3, 0.4, 0.0]))
    assert null_comparison([0.9, 0.5], [[0.2], [0.6]])["share_above_null"] == 1 / 2, "one draw is enough"


# ---- geometry


def clusters(seed=0, size=8, dims=6):
    rng = np.random.default_rng(seed)
    centres = 5 * np.eye(3, dims)
    vectors = np.concatenate([centre + 0.3 * rng.normal(size=(size, dims)) for centre in centres])
    return vectors * rng.uniform(0.1, 9, size=(3 * size, 1)), np.repeat(["a", "b", "c"], size)


def test_silhouette():
    vectors, labels = clusters()
    value, note = silhouette_by(vectors, labels)
    assert value == pytest.approx(silhouette_samples(vectors, labels, metric="cosine").mean())
    assert value > 0.8
    assert note == ""


def test_silhouette_without_a_value_says_why():
    vectors, labels = clusters()
    value, note = silhouette_by(vectors, ["sa"] * len(labels))
    assert np.isnan(value)
    assert note == "all 24 vectors are of one group, sa"
    value, note = silhouette_by(vectors[:9], labels[:9])
    assert np.isnan(value)
    assert note == "groups of one vector: b"


@pytest.mark.parametrize("k", [1, 5, 100])
def test_neighbours_against_loops(k):
    rng = np.random.default_rng(2)
    vectors, labels, groups = rng.normal(size=(20, 4)), rng.integers(0, 3, 20), rng.integers(0, 4, 20)
    for within in (None, groups):
        shares = []
        for i in range(20):
            others = [j for j in range(20) if j != i and (within is None or within[j] == within[i])]

            def cosine(j, i=i):
                return vectors[i] @ vectors[j] / np.sqrt(vectors[i] @ vectors[i] * (vectors[j] @ vectors[j]))

            expected = sorted(others, key=cosine, reverse=True)[:k]
            assert nearest(vectors, k, within)[i].tolist() == expected
            if expected:
                shares.append(sum(labels[j] == labels[i] for j in expected) / len(expected))
        assert neighbour_purity(vectors, labels, k, within) == pytest.approx(np.mean(shares))


def test_neighbours_tie_by_index():
    """Same directions, other lengths: cosines are equal up to rounding only."""
    rng = np.random.default_rng(0)
    vectors = rng.uniform(0.1, 7, size=(40, 1)) * rng.normal(size=57)
    assert nearest(vectors, 3)[0].tolist() == [1, 2, 3]
    assert nearest(vectors, 3)[39].tolist() == [0, 1, 2]


def test_purity_of_clusters_and_of_points_alone():
    vectors, labels = clusters()
    assert neighbour_purity(vectors, labels) == 1
    assert np.isnan(neighbour_purity(vectors, labels, within=np.arange(24)))
    assert neighbour_purity(vectors[:4], ["a", "a", "a", "b"], k=5) == pytest.approx((3 * 2 / 3 + 0) / 4)


def test_labels_shared_across_groups():
    angles = np.radians([0, 2, 90, 85, 40, 43])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels, groups = list("aabbxy"), list("mkmkmk")
    # a finds a, b finds b; x and y, of which the other group has none, are left out; each has one of three others
    assert label_shared_across(vectors, labels, groups) == (1, pytest.approx(1 / 3))
    # one b on an a: nearest to each other; the other b is nearest to x, and the other a to its like
    vectors[2] = vectors[1]
    assert label_shared_across(vectors, labels, groups) == (pytest.approx(1 / 4), pytest.approx(1 / 3))
    assert np.isnan(label_shared_across(vectors, labels, ["m"] * 6)).all()


def test_maps_are_deterministic_and_separate_clusters():
    vectors, labels = clusters(size=22)  # 66 points, as in Figure 3
    maps = project(vectors)
    for mapped in (maps.tsne, maps.pca):
        assert mapped.shape == (66, 2)
        assert np.isfinite(mapped).all()
        assert (mapped[np.abs(mapped).argmax(axis=0), [0, 1]] > 0).all()
        to_own = [np.linalg.norm(mapped[labels == x] - mapped[labels == x].mean(axis=0), axis=1).max() for x in "abc"]
        centres = np.array([mapped[labels == x].mean(axis=0) for x in "abc"])
        between = min(np.linalg.norm(centres[i] - centres[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
        assert between > 2 * max(to_own)
    np.testing.assert_array_equal(maps.tsne, project(vectors).tsne)
    np.testing.assert_allclose(maps.tsne, project(vectors * 2.0).tsne, atol=1e-3)  # lengths do not count


def test_pca_spans_the_largest_variance():
    vectors, _ = clusters()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(np.cov(unit.T))[::-1]
    maps = project(vectors)
    np.testing.assert_allclose(np.var(maps.pca, axis=0, ddof=1), eigenvalues[:2])
    assert maps.explained == pytest.approx(tuple(eigenvalues[:2] / eigenvalues.sum()))


@pytest.mark.parametrize("n", [4, 5, 30])
def test_tsne_of_few_points(n):
    assert np.isfinite(project(np.random.default_rng(0).normal(size=(n, 10))).tsne).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: silhouette_by([[0.0, 0.0], [1.0, 2.0]], ["a", "b"]), r"vectors \[0\]"),
        (lambda: neighbour_purity(np.eye(3), ["a", "b"]), "one label for each of 3"),
        (lambda: nearest(np.eye(3), k=0), "at least 1"),
    ],
)
def test_geometry_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
