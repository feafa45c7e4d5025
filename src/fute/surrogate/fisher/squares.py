"""Sums over examples of squared gradients of a linear weight; each gradient is a sum over tokens of b a^T.

    total[o, i] += sum_n (sum_t b[n, t, o] a[n, t, i])^2

On CUDA a Triton kernel does this tile by tile. On a CPU there are two exact ways, and the cheaper one is taken:

blocks  Gradients of a few examples for a block of rows are squared and added. For K tokens this takes 2K operations
        per entry and example, and one write and one read of the entry, which dominate if K is small.
pairs   The square is a sum over pairs of tokens, (sum_t b_t a_t)^2 = sum_{s<=t} w_st (b_s b_t)(a_s a_t), with
        w = 1 for s = t and 2 otherwise. This is one matrix product over the pairs of all examples: K(K+1) operations
        per entry and example, and no gradient is ever written.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

Strategy = Literal["pairs", "blocks"]

# Elements of a scratch tensor: 4 MB fit in the last-level cache, and are enough to share among threads.
_SCRATCH = 2**20
# Up to so many pairs of tokens per example (6 tokens), pairs are faster than blocks. Measured on two cores of a
# server for weights of 512 x 512 to 32,128 x 512 and batches of 4 and 16: twice as fast at 4 tokens, equally fast at
# 6 to 8, half as fast at 10.
_MOST_PAIRS = 21
# Rounding errors grow with (sum of the terms' sizes) / (size of their sum). Up to this factor, pairs in fp32 (6e-8)
# stay within 1e-5.
_MOST_CANCELLATION = 64.0


def add_squared_outer_sums(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total[o, i] += sum over n of (sum over t of b[n, t, o] * a[n, t, i])^2, in place.

    total: (O, I), fp32. a: (B, T, I) and b: (B, T, O), of one floating dtype. Nothing is allocated on CUDA; on a CPU, a
    few scratch tensors of 4 MB (or of one row, if that is larger) and copies of a and b. Where terms cancel, rounding
    may leave an entry of about -1e-7 of their size: clamp the total when everything is added.
    Raises ImportError on CUDA without Triton.
    """
    if total.is_cuda:
        from fute.surrogate.fisher.kernel import add_squared_outer_sums_on_cuda  # needs Triton, CUDA's only

        add_squared_outer_sums_on_cuda(total, a, b)
    else:
        a, b = a.float(), b.float()
        used = _used_tokens(b)
        (_add_pairs if _strategy(a, b, used) == "pairs" else _add_blocks)(total, a, b, used)


def squared_outer_sums_reference(a: Tensor, b: Tensor) -> Tensor:
    """Sum by the formula: (B, T, I), (B, T, O) -> (O, I) in fp64; holds all B gradients at once."""
    return torch.einsum("nto,nti->noi", b.double(), a.double()).square().sum(0)


def squared_norms(a: Tensor, b: Tensor) -> Tensor:
    """Squared norm of each example's sum_t b_t a_t^T: (B, T, I), (B, T, O) -> (B,). The sum is not computed.

    |sum_t b_t a_t^T|^2 = sum over s, t of (b_s.b_t)(a_s.a_t).
    """
    a, b = a.float(), b.float()
    return ((a @ a.mT).double() * (b @ b.mT)).sum((1, 2)).clamp_(min=0).float()


def _used_tokens(b: Tensor) -> Tensor:
    """Tokens with a gradient, (B, T), also one that is not a number: padding and ignored labels have none."""
    return (b != 0).any(2)


def _strategy(a: Tensor, b: Tensor, used: Tensor) -> Strategy:
    tokens = used.sum(1)
    if (tokens * (tokens + 1)).sum() > 2 * _MOST_PAIRS * len(a):
        return "blocks"
    terms, squares = squared_norms(a.abs(), b.abs()).sum(), squared_norms(a, b).sum()
    return "pairs" if terms <= _MOST_CANCELLATION * squares else "blocks"


def _add_pairs(total: Tensor, a: Tensor, b: Tensor, used: Tensor) -> None:
    """Square by pairs. A scratch tensor holds some pairs of tokens by some rows or by all columns."""
    pairs = (used[:, :, None] & used[:, None, :]).triu().nonzero()
    for example, s, t in (part.unbind(1) for part in pairs.split(max(1, _SCRATCH // a.shape[2]))):
        inputs = a[example, s] * a[example, t]
        inputs *= torch.where(s == t, 1.0, 2.0)[:, None]
        for rows in _slices(len(total), _SCRATCH // max(1, len(s))):
            of_rows = b[:, :, rows]
            backprops = of_rows[example, s].mul_(of_rows[example, t])
            total[rows].addmm_(backprops.T, inputs)


def _add_blocks(total: Tensor, a: Tensor, b: Tensor, used: Tensor) -> None:
    """Square in blocks. A scratch tensor holds the gradients of some rows, for as many neighbouring examples as fit."""
    columns = a.shape[2]
    rows_at_once = min(len(total), max(1, _SCRATCH // columns))
    scratch = a.new_empty(max(1, _SCRATCH // (rows_at_once * columns)), rows_at_once, columns)
    for examples in _slices(len(a), len(scratch)):
        places = used[examples].any(0).nonzero()
        if len(places) == 0:
            continue
        tokens = slice(int(places[0]), int(places[-1]) + 1)
        inputs, backprops = a[examples, tokens], b[examples, tokens].mT
        for rows in _slices(len(total), rows_at_once):
            block = total[rows]
            gradients = scratch[: len(inputs), : len(block)]
            torch.bmm(backprops[:, rows], inputs, out=gradients)
            for gradient in gradients:
                block.addcmul_(gradient, gradient)


def _slices(length: int, step: int) -> Iterator[slice]:
    step = max(1, step)
    return (slice(start, start + step) for start in range(0, length, step))
