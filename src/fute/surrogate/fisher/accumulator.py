"""The sum over examples of the squared gradient of one tensor, gathered from all places where it is used."""

from typing import Literal

import torch
from torch import Tensor, nn

from fute.surrogate.fisher.squares import add_squared_outer_sums, squared_norms

Reduce = Literal["none", "rows", "tensors"]

# Elements of one fp64 tensor of the row norms: 16 MB on a CPU; a GPU wants few, large launches.
_SCRATCH = {"cpu": 2**21, "cuda": 2**26}


def reduced(value: Tensor, reduce: Reduce) -> Tensor:
    """Mean over all dimensions but the first (`rows`; 1-D tensors stay), or over all (`tensors`)."""
    if reduce == "tensors":
        return value.mean()
    return value.flatten(1).mean(1) if reduce == "rows" and value.ndim > 1 else value


class Accumulator:
    """Sum over examples of the squared gradient of one tensor, from the parts of one batch at a time.

    Parts of a batch of B examples, appended as they come: `outer` (a, b) with gradient sum_t b_t a_t^T, (B, T, I)
    and (B, T, O); `rows` (ids, b) with b_t added to row ids_t, (B, T) and (B, T, I); `dense`, the gradient
    itself, (B, *shape), of small tensors. `pending` counts uses in the forward pass whose backprop has not come
    yet: a tied tensor is squared when its last part is there.
    `trace`, if `traced`: squared gradient norm of each example of the batch, (B,), fp32.
    """

    def __init__(self, parameter: nn.Parameter, reduce: Reduce, traced: bool) -> None:
        self.reduce, self.traced = reduce, traced
        self.total = reduced(torch.zeros_like(parameter, dtype=torch.float32), reduce)
        self.columns = parameter[0].numel()
        self.size = parameter.numel()
        self.pending = 0
        self.trace: Tensor | None = None
        self.outer: list[tuple[Tensor, Tensor]] = []
        self.rows: list[tuple[Tensor, Tensor]] = []
        self.dense: list[Tensor] = []

    def flush(self) -> None:
        """Square and add what has gathered."""
        if self.dense:
            squares = torch.stack(self.dense).sum(0).square()
            self.total += reduced(squares.sum(0), self.reduce)
            self._trace(squares.flatten(1).sum(1))
        if self.outer:
            a, b = _joined(self.outer)
            (self._add_squares if self.reduce == "none" else self._add_row_norms)(a, b)
        if self.rows:
            self._add_sparse(*_joined(self.rows), (a, b) if self.outer else None)
        self.pending = 0
        self.outer, self.rows, self.dense = [], [], []

    def _trace(self, norms: Tensor) -> None:
        if self.traced:
            self.trace = norms if self.trace is None else self.trace + norms

    def _add_squares(self, a: Tensor, b: Tensor) -> None:
        add_squared_outer_sums(self.total, a, b)
        if self.traced:
            self._trace(squared_norms(a, b))

    def _add_row_norms(self, a: Tensor, b: Tensor) -> None:
        chunk = max(1, _SCRATCH.get(a.device.type, _SCRATCH["cuda"]) // (a.shape[1] * max(a.shape[2], b.shape[2])))
        of_examples = []
        for inputs, backprops in zip(a.split(chunk), b.split(chunk), strict=True):
            norms = row_norms(inputs, backprops)
            self.total += norms.sum(0) / self.columns if self.reduce == "rows" else norms.sum() / self.size
            of_examples.append(norms.sum(1))
        self._trace(torch.cat(of_examples))

    def _add_sparse(self, ids: Tensor, b: Tensor, outer: tuple[Tensor, Tensor] | None) -> None:
        """What embedded tokens add: (G + S)^2 - G^2 = S (2 G + S) in the rows touched, G being the `outer` part."""
        gradient = _summed_by_id(ids, b.float())
        entries = gradient.square()
        if outer:
            entries += 2 * gradient * _rows_of_outer(ids, *outer)
        self._trace(entries.sum((1, 2)))
        # index_put_ adds in a fixed order on CUDA too, which index_add_ does not.
        if self.reduce == "none":
            self.total.index_put_((ids,), entries, accumulate=True)
        elif self.reduce == "rows":
            self.total.index_put_((ids,), entries.mean(2), accumulate=True)
        else:
            self.total += entries.sum() / self.size


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """All parts of an example in one, along its tokens; a single part is not copied."""
    if len(parts) == 1:
        return parts[0]
    first, second = zip(*parts, strict=True)
    return torch.cat(first, 1), torch.cat(second, 1)


def _summed_by_id(ids: Tensor, b: Tensor) -> Tensor:
    """(B, T), (B, T, I) -> (B, T, I): at an id's first place in an example its sum of b, at others zero."""
    equal = ids[:, :, None] == ids[:, None, :]
    is_first = ~equal.tril(-1).any(2)
    return (equal & is_first[:, :, None]).to(b.dtype) @ b


def _rows_of_outer(ids: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Rows ids (B, T) of each example's sum_s b_s a_s^T, (B, S, I) and (B, S, O) -> (B, T, I)."""
    backprops = b.gather(2, ids[:, None, :].expand(-1, b.shape[1], -1))
    return backprops.float().mT @ a.float()


def row_norms(a: Tensor, b: Tensor) -> Tensor:
    """Squared norms of the rows of each example's sum_t b_t a_t^T: (B, T, I), (B, T, O) -> (B, O), fp32.

    |sum_t b_to a_t|^2 = b_o^T (A A^T) b_o, over pairs of tokens. In fp64, since the terms of a row whose
    gradient nearly cancels are larger than their sum.
    """
    a, b = a.double(), b.double()
    return ((a @ a.mT) @ b).mul_(b).sum(1).clamp_(min=0).float()
