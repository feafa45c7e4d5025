"""Sums of squared outer-product gradients on the CPU: both strategies, the choice of one, and their scratch."""

import json

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from fute.surrogate.fisher import squares
from fute.surrogate.fisher.accumulator import Accumulator, row_norms
from fute.surrogate.fisher.squares import add_squared_outer_sums, squared_norms, squared_outer_sums_reference

STRATEGIES = {"pairs": squares._add_pairs, "blocks": squares._add_blocks}


def random_parts(examples: int, tokens: int, columns: int, rows: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """a (B, T, I) and b (B, T, O); half of the examples are padded, some on either side."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(examples, tokens, columns, generator=generator)
    b = torch.randn(examples, tokens, rows, generator=generator)
    for n in range(0, examples, 2):
        b[n, : tokens // 3 if n % 4 else 0] = 0
        b[n, tokens - tokens // 4 :] = 0
    return a, b


def add(strategy: str, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(b.shape[2], a.shape[2])
    STRATEGIES[strategy](total, a, b, squares._used_tokens(b))
    return total


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_by_hand():
    """One example of two tokens: (1*2 + 3*4)^2 = 196, (1*5 + 3*6)^2 = 529; another of one: 1 and 4."""
    a = torch.tensor([[[2.0, 5.0], [4.0, 6.0]], [[1.0, 2.0], [9.0, 9.0]]])
    b = torch.tensor([[[1.0], [3.0]], [[1.0], [0.0]]])
    for strategy in STRATEGIES:
        assert add(strategy, a, b).tolist() == [[197.0, 533.0]]
    assert squared_outer_sums_reference(a, b).tolist() == [[197.0, 533.0]]
    assert squared_norms(a, b).tolist() == [725.0, 5.0]
    assert row_norms(a, b).tolist() == [[725.0], [5.0]]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("examples", "tokens", "columns", "rows"),
    [(1, 1, 1, 1), (1, 4, 33, 7), (9, 1, 5, 20), (5, 7, 13, 31), (7, 40, 16, 8)],
)
@pytest.mark.parametrize("scratch", [1, 50, 700, 2**20])
def test_strategies_equal_the_formula(monkeypatch, strategy, examples, tokens, columns, rows, scratch):
    """Down to scratch for less than a row: blocks of rows, of examples and of pairs, with odd ends."""
    monkeypatch.setattr(squares, "_SCRATCH", scratch)
    a, b = random_parts(examples, tokens, columns, rows, seed=scratch)
    expected = squared_outer_sums_reference(a, b)
    assert error(add(strategy, a, b), expected) < 2e-6
    total = torch.ones(rows, columns)
    add_squared_outer_sums(total, a, b)
    assert error(total - 1, expected) < 1e-5, "it adds to what is there"


def test_bf16_parts_are_multiplied_in_fp32():
    a, b = (part.bfloat16() for part in random_parts(4, 9, 12, 10))
    total = torch.zeros(10, 12)
    add_squared_outer_sums(total, a, b)
    assert error(total, squared_outer_sums_reference(a, b)) < 2e-6


@pytest.mark.parametrize(
    ("tokens", "expected"), [(1, "pairs"), (4, "pairs"), (6, "pairs"), (7, "blocks"), (40, "blocks")]
)
def test_few_tokens_take_pairs(tokens, expected):
    a, b = torch.randn(3, tokens, 64), torch.randn(3, tokens, 64)
    assert squares._strategy(a, b, squares._used_tokens(b)) == expected
    padded_a, padded_b = (torch.cat([part, torch.zeros(3, 50, 64)], 1) for part in (a, b))
    used = squares._used_tokens(padded_b)
    assert squares._strategy(padded_a, padded_b, used) == expected, "padding does not count"


def test_gradients_that_cancel_keep_their_digits():
    """Two tokens whose gradients cancel to a thousandth: pairs would lose six digits of the square."""
    a = torch.randn(4, 1, 32).repeat(1, 2, 1)
    b = torch.randn(4, 1, 48) * torch.tensor([1.0, -0.999])[None, :, None]
    expected = squared_outer_sums_reference(a, b)
    total = torch.zeros(48, 32)
    add_squared_outer_sums(total, a, b)
    assert squares._strategy(a, b, squares._used_tokens(b)) == "blocks"
    lost = error(add("pairs", a, b), expected)
    assert lost > 1e-3 and error(total, expected) < 1e-3 * lost
    of_rows = torch.einsum("nto,nti->noi", b.double(), a.double()).square().sum(2)
    assert error(row_norms(a, b), of_rows) < 1e-6


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_examples_without_a_gradient_add_nothing(monkeypatch, strategy):
    monkeypatch.setattr(squares, "_SCRATCH", 1)  # one example at a time
    a, b = torch.randn(3, 9, 5), torch.randn(3, 9, 4)
    b[::2] = 0
    assert error(add(strategy, a, b), squared_outer_sums_reference(a[1:2], b[1:2])) < 1e-6
    assert (add(strategy, a, 0 * b) == 0).all()


def test_a_small_tensor_of_several_uses_is_summed_before_it_is_squared():
    accumulator = Accumulator(nn.Parameter(torch.zeros(2)), "none", traced=True)
    accumulator.dense = [torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[-1.0, 1.0], [1.0, 0.0]])]
    accumulator.flush()
    assert accumulator.total.tolist() == [16, 9] and accumulator.trace.tolist() == [9, 16]


@pytest.mark.parametrize("reduce", ["none", "rows", "tensors"])
@pytest.mark.parametrize("with_outer", [True, False])
def test_tied_rows_by_brute_force(reduce, with_outer):
    """A table used as encoder input, decoder input and head, the same ids in both and repeatedly in each."""
    vocabulary, columns, examples = 6, 5, 4
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator)

    encoder_ids = torch.randint(0, 3, (examples, 8), generator=generator)
    decoder_ids = torch.randint(0, 4, (examples, 3), generator=generator)
    rows = [(encoder_ids, normal(examples, 8, columns)), (decoder_ids, normal(examples, 3, columns))]
    outer = [(normal(examples, 3, columns), normal(examples, 3, vocabulary))] if with_outer else []
    gradients = torch.zeros(examples, vocabulary, columns, dtype=torch.float64)
    for n in range(examples):
        for ids, b in rows:
            for t, row in enumerate(ids[n]):
                gradients[n, row] += b[n, t]
        for a, b in outer:
            gradients[n] += (b[n].T @ a[n]).double()
    accumulator = Accumulator(nn.Parameter(torch.zeros(vocabulary, columns)), reduce, traced=True)
    accumulator.rows, accumulator.outer = rows, outer
    accumulator.flush()
    expected = gradients.square().sum(0)
    expected = {"none": expected, "rows": expected.mean(1), "tensors": expected.mean()}[reduce]
    assert error(accumulator.total, expected) < 1e-6
    torch.testing.assert_close(accumulator.trace.double(), gradients.square().sum((1, 2)), rtol=1e-6, atol=0)


def peak_bytes(tmp_path, a: torch.Tensor, b: torch.Tensor) -> int:
    """Peak of what `add_squared_outer_sums` has allocated and not yet freed."""
    total = torch.zeros(b.shape[2], a.shape[2])
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        add_squared_outer_sums(total, a, b)
    profiled.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    changes = [e for e in events if e.get("name") == "[memory]"]
    live = peak = 0
    for event in sorted(changes, key=lambda e: e["ts"]):
        live += event["args"]["Bytes"]
        peak = max(peak, live)
    return peak


@pytest.mark.parametrize("tokens", [4, 12])
def test_scratch_is_bounded(tmp_path, tokens):
    """For 16 and 64 examples: a few scratch tensors and copies of a and b, never examples x parameters."""
    columns, rows = 512, 1024
    for examples in (16, 64):
        a, b = torch.randn(examples, tokens, columns), torch.randn(examples, tokens, rows)
        peak = peak_bytes(tmp_path, a, b)
        assert 0 < peak <= 4 * (4 * squares._SCRATCH) + 2 * (a.nbytes + b.nbytes)
    assert peak < examples * rows * columns * 4 / 4, "the comparison would say nothing"
