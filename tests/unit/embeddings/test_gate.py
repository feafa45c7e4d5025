"""The gate: held-out loss against the label prior, held-out accuracy against the majority."""

from __future__ import annotations

import math

import pytest
import torch

from fute.config.gate import GateConfig
from fute.embeddings.gate import HeldOut, Measured, gate_words, measure, verdict
from fute.surrogate.text2text import Example

YES, NO = (7, 1), (8, 9, 1)


def examples(targets: list[tuple]) -> list[Example]:
    return [Example(i, tuple(range(2, 3 + i)), target, False, False) for i, target in enumerate(targets)]


def held_out(given: list[tuple], learned: list[tuple], kind: str = "text") -> HeldOut:
    def groups(rows):
        """Odd ones first: a surrogate's groups change the order."""
        return [[e for e in rows if e.index % 2], [e for e in rows if not e.index % 2]]

    return HeldOut(examples(given), examples(learned), kind, groups)


def test_the_prior_of_texts_is_the_share_of_each_label():
    gate = held_out([YES, NO, (5, 1)], [YES, YES, YES, NO])
    assert gate.prior_losses() == pytest.approx([-math.log(3 / 4), -math.log(1 / 4), -math.log(1 / 5)])
    entropy = -(3 / 4 * math.log(3 / 4) + 1 / 4 * math.log(1 / 4))
    assert sum(held_out([YES, YES, YES, NO], [YES, YES, YES, NO]).prior_losses()) / 4 == pytest.approx(entropy)


def test_the_prior_of_heads_is_what_a_constant_reaches():
    numbers = held_out([(1.0,), (6.0,)], [(2.0,), (4.0,)], "number")
    assert numbers.prior_losses() == [4.0, 9.0]
    soft = held_out([((1.0, 0.0),)], [((0.5, 0.25),), ((1.0, 0.25),)], "soft")
    assert soft.prior_losses() == pytest.approx([(-math.log(0.75) - math.log(0.75)) / 2])
    spans = held_out([(3, 4), (0, 0)], [(1, 1)], "span")
    assert spans.prior_losses() == pytest.approx([2 * math.log(2), 2 * math.log(2)])
    assert held_out([(0,)], [(0,), (1,)], "class").prior_losses() == [math.log(2)]


def test_the_majority_is_the_most_frequent_label_of_the_learned_pairs():
    assert held_out([YES, YES, NO], [YES, NO, NO]).majority() == 1 / 3


def knows(truth: list[tuple], right: float):
    """A surrogate that gives each text's true label the probability `right`; texts are told by their index."""

    def losses_of(all_examples, label):
        def losses(batch):
            return torch.tensor([-math.log(right if e.target_ids == truth[e.index] else 1 - right) for e in batch])

        return losses

    return losses_of


def test_accuracy_is_that_of_the_likeliest_label():
    given = [YES, NO, NO, YES, NO]
    truth = [YES, NO, YES, YES, NO]  # the surrogate errs on the third
    gate = held_out(given, [YES, NO, NO])
    found = measure(gate, knows(truth, 0.9), accuracy=True)
    assert found.accuracy == pytest.approx(4 / 5)
    assert found.loss == pytest.approx(-(4 * math.log(0.9) + math.log(0.1)) / 5)
    only_loss = measure(gate, knows(truth, 0.9), accuracy=False)
    assert only_loss.accuracy is None and only_loss.loss == pytest.approx(found.loss)


def test_a_label_that_was_not_learned_counts_as_wrong():
    found = measure(held_out([YES, (5, 1)], [YES, NO]), knows([YES, (5, 1)], 0.8), accuracy=True)
    assert found.accuracy == 1 / 2 and found.loss == pytest.approx(-math.log(0.8))


def test_many_labels_have_no_accuracy():
    many = [(i, 1) for i in range(21)]
    assert measure(held_out(many[:2], many), knows(many, 0.9), accuracy=True).accuracy is None
    assert measure(held_out(many[:2], many[:20]), knows(many, 0.9), accuracy=True).accuracy == 1
    two = [(1.0,), (4.0,)]
    assert measure(held_out(two, two, "number"), knows(two, 0.9), accuracy=True).accuracy is None


@pytest.mark.parametrize("accuracy", [True, False])
@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_held_out_loss_that_is_not_finite_names_its_pair(loss, accuracy):
    def losses_of(all_examples, label):
        return lambda batch: torch.tensor([loss if example.index == 2 else 0.1 for example in batch])

    gate = held_out([YES, NO, NO, YES], [YES, NO])
    with pytest.raises(FloatingPointError, match=f"loss of held-out pair 2 is {loss}; lower the learning rate"):
        measure(gate, losses_of, accuracy=accuracy)


@pytest.mark.parametrize(
    ("loss", "accuracy", "learned"),
    [(0.5, 0.72, True), (0.5, 0.71, False), (0.70, 0.9, False), (7.6, 0.9, False), (0.5, None, True)],
)
def test_both_must_hold(loss, accuracy, learned):
    """25 rows, 13 of the majority: 52 % and two standard errors of 9.99 % are 71.98 %."""
    gate = held_out([YES] * 13 + [NO] * 12, [YES, NO])
    facts = verdict(gate, [Measured(loss, accuracy)])
    assert facts["prior_loss"] == pytest.approx(math.log(2)) and facts["rows"] == 25
    if accuracy is None:
        assert facts["needed_accuracy"] is None
    else:
        assert facts["majority"] == 13 / 25
        assert facts["needed_accuracy"] == pytest.approx(0.71984, abs=1e-5)
    assert facts["learned"] is learned
    assert ("DID NOT LEARN" in gate_words({"gate": facts})) is not facts["learned"]
    assert ("(needed: over 72%)" in gate_words({"gate": facts})) is (accuracy is not None)


def test_what_a_surrogate_reaches_that_reads_nothing_is_not_enough():
    """16 rows, half of each label: a loss of log 2, and an accuracy of 50 % and two standard errors, 75 %."""
    gate = held_out([YES, NO] * 8, [YES, NO])
    assert not verdict(gate, [Measured(math.log(2), None)])["learned"]
    assert not verdict(gate, [Measured(0.5, 0.75)])["learned"] and verdict(gate, [Measured(0.5, 0.76)])["learned"]


def test_order_seeds_are_averaged_and_a_constant_can_be_learned():
    gate = held_out([YES, NO], [YES, NO])
    facts = verdict(gate, [Measured(0.4, None), Measured(0.8, None)])
    assert facts["held_out_loss"] == pytest.approx(0.6) and facts["order_losses"] == [0.4, 0.8] and facts["learned"]
    assert verdict(gate, [Measured(0.4, 0.6), Measured(0.5, 1.0)])["held_out_accuracy"] == 0.8
    constant = held_out([YES, YES], [YES, YES])
    assert verdict(constant, [Measured(0.049, None)])["learned"]
    assert not verdict(constant, [Measured(0.051, None)])["learned"]
    close = held_out([(0.1,), (0.3,)], [(0.1,), (0.3,)], "number")  # a variance of 0.01
    assert not verdict(close, [Measured(0.02, None)])["learned"] and verdict(close, [Measured(0.005, None)])["learned"]


@pytest.mark.parametrize(
    ("available", "pairs", "split"),
    [
        (1000, 100, (100, 20)),  # a fifth, of what is left over
        (110, 100, (90, 20)),  # too few left over: the last ones
        (60, 48, (45, 15)),  # at most a quarter of all
        (10_000, None, (9_744, 256)),
        (48, 96, (36, 12)),
        (3, None, (3, 0)),
    ],
)
def test_which_pairs_are_held_out(available, pairs, split):
    assert GateConfig().split(available, pairs) == split
    assert GateConfig(held_out=0).split(available, pairs) == (min(available, pairs or available), 0)
