"""The sum over examples of the squared gradient of one tensor, collected from all its uses."""

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

    Hooks append the parts of a batch of B examples to three lists:
    outer: (a, b), (B, T, I) and (B, T, O), with the gradient sum_t b_t a_t^T.
    rows: (ids, b), (B, T) and (B, T, I), with b_t added to row ids_t.
    dense: the gradient itself, (B, *shape), of small tensors.
    pending: uses in the forward pass whose backprop has not come yet. A tied tensor is squared after its last part.
    trace: if `traced`, squared gradient norm of each example of the batch, (B,), fp32.
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
        """Square the collected parts and add them to the total."""
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
        """Add the part of embedded tokens: (G + S)^2 - G^2 = S (2 G + S) in their rows, where G is the `outer` part."""
        gradient = _summed_by_id(ids, b.float())
        entries = gradient.square()
        if outer:
            entries += 2 * gradient * _rows_of_outer(ids, *outer)
        self._trace(entries.sum((1, 2)))
        # index_put_ adds in a fixed order on CUDA too; index_add_ does not.
        if self.reduce == "none":
            self.total.index_put_((ids,), entries, accumulate=True)
        elif self.reduce == "rows":
            self.total.index_put_((ids,), entries.mean(2), accumulate=True)
        else:
            self.total += entries.sum() / self.size


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Join all parts of an example along its tokens; a single part is not copied."""
    if len(parts) == 1:
        return parts[0]
    first, second = zip(*parts, strict=True)
    return torch.cat(first, 1), torch.cat(second, 1)


def _summed_by_id(ids: Tensor, b: Tensor) -> Tensor:
    """Sum b by id: (B, T), (B, T, I) -> (B, T, I), at an id's first place in an example; zero elsewhere."""
    equal = ids[:, :, None] == ids[:, None, :]
    is_first = ~equal.tril(-1).any(2)
    return (equal & is_first[:, :, None]).to(b.dtype) @ b


def _rows_of_outer(ids: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Rows `ids` of each example's sum_s b_s a_s^T: (B, T), (B, S, I), (B, S, O) -> (B, T, I)."""
    backprops = b.gather(2, ids[:, None, :].expand(-1, b.shape[1], -1))
    return backprops.float().mT @ a.float()


def row_norms(a: Tensor, b: Tensor) -> Tensor:
    """Squared norms of the rows of each example's sum_t b_t a_t^T: (B, T, I), (B, T, O) -> (B, O), fp32.

    |sum_t b_to a_t|^2 = b_o^T (A A^T) b_o, over pairs of tokens. Computed in fp64: where a row's gradient nearly
    cancels, the terms are larger than their sum.
    """
    a, b = a.double(), b.double()
    return ((a @ a.mT) @ b).mul_(b).sum(1).clamp_(min=0).float()
