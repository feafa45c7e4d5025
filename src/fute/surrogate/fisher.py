"""The diagonal of the empirical Fisher information, exactly: the mean of squared *per-example* gradients.

    F_jj = (1/n) sum_i g_i[j]^2,    g_i = d/dtheta log P(y_i given x_i)

(Wang et al., "Towards Unified Task Embeddings Across Multiple Models", Eq. 3). One backward pass serves a
whole batch: hooks catch what goes into each module (a) and the gradient that comes back to its output (b),
and the gradient of example i by a weight is the sum over its tokens of b a^T. Tokens are summed *before*
squaring, and so are all places where a tied weight is used. No tensor of examples x parameters ever exists.

The square of a batch's mean gradient, which public Fisher code often computes in its place (the Task2Vec and
the Vu et al. repositories), is offered as a `reduction` for comparison only: opposite gradients cancel in it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.models.t5.modeling_t5 import T5Attention

from fute.surrogate.text2text import IGNORED, Batch, negative_log_likelihood, target_logits

Reduction = Literal["mean_of_squares", "batch_mean_square", "square_of_mean"]
TokenReduction = Literal["sum", "mean"]
Labels = Literal["given", "sampled"]
Reduce = Literal["none", "rows", "tensors"]
Include = Callable[[str], bool]
SumOverRanks = Callable[[Tensor], Tensor]

# Elements of one block of per-example gradients: 4 MB stay in the last-level cache of a CPU; a GPU wants few,
# large launches.
_BLOCK = {"cpu": 2**20, "cuda": 2**26}


@dataclass
class FisherDiagonal:
    """`values`: parameter name -> mean of squares; `traces`: (n,) squared gradient norm of each example.

    `traces` is empty where not asked for, and for the two reductions that never see single examples.
    """

    values: dict[str, Tensor]
    traces: Tensor


def diagonal_fisher(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    *,
    reduction: Reduction = "mean_of_squares",
    token_reduction: TokenReduction = "sum",
    labels: Labels = "given",
    generator: torch.Generator | None = None,
    include: Include | None = None,
    reduce: Reduce = "none",
) -> dict[str, Tensor]:
    """Diagonal of the empirical Fisher of `model` on `batches`: the `values` of `fisher_pass`, see there."""
    return fisher_pass(
        model,
        batches,
        reduction=reduction,
        token_reduction=token_reduction,
        labels=labels,
        generator=generator,
        include=include,
        reduce=reduce,
    ).values


def fisher_pass(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    *,
    reduction: Reduction = "mean_of_squares",
    token_reduction: TokenReduction = "sum",
    labels: Labels = "given",
    generator: torch.Generator | None = None,
    include: Include | None = None,
    reduce: Reduce = "none",
    traces: bool = False,
    sum_over_ranks: SumOverRanks = lambda tensor: tensor,
) -> FisherDiagonal:
    """One pass over `batches` in eval mode, without any change of parameters.

    batches: dicts as a transformers model takes them: `input_ids`, `attention_mask`, `labels` (-100: no
        loss).
    reduction: `mean_of_squares` is the Fisher; `batch_mean_square` = sum over batches of the squared gradient
        of the batch-mean loss, over n (Vu et al. 2020, repository tuvuumass/task-transferability);
        `square_of_mean` = ((1/n) sum_i g_i)^2 (the authors' repository xnyuwg/fute).
    token_reduction: log P(y given x) is the sum over target tokens, or their mean.
    labels: the given targets, or one draw a position from the model's own distribution, given the targets
        before it; drawn from `generator`.
    include: which parameters, by name; nothing below the lowest of them is back-propagated. Default: all.
    reduce: `rows` = mean over all dimensions but the first (1-D tensors stay), accumulated in the pass
        without the full tensor; `tensors` = one mean a tensor.
    traces: also return each example's squared gradient norm (about a tenth of the time).
    sum_over_ranks: sums a tensor over processes, when each was given its share of the batches.

    Keys are the names of `model.named_parameters()`, a tied tensor once; values are fp32.
    Raises TypeError for a module with parameters whose per-example gradient is not known here, ValueError
    where `include` selects nothing or there is no example.
    """
    names = _included(model, include)
    if reduction == "mean_of_squares":
        accumulators = {id(p): _Accumulator(p, reduce, traces) for p in names}
        by_batch = list(_per_example(model, accumulators, batches, token_reduction, labels, generator))
        norms = torch.cat([torch.zeros(0, device=model.device), *by_batch]).cpu()
        count = len(norms)
        sums = {name: accumulators[id(p)].total for p, name in names.items()}
    else:
        count, norms = 0, torch.zeros(0)
        each_batch = reduction == "batch_mean_square"
        sums = {name: torch.zeros_like(p, dtype=torch.float32) for p, name in names.items()}
        for gradients, size in _batch_gradients(model, names, batches, token_reduction, labels, generator):
            count += size
            for name, gradient in gradients.items():
                sums[name] += (gradient / size).square() if each_batch else gradient
    total = int(sum_over_ranks(torch.tensor(count, device=model.device)))
    if total == 0:
        raise ValueError("no example to take the Fisher information of: `batches` is empty")
    values = {name: sum_over_ranks(value) / total for name, value in sums.items()}
    if reduction == "square_of_mean":
        values = {name: value.square() for name, value in values.items()}
    if reduction != "mean_of_squares":
        values = {name: reduced(value, reduce) for name, value in values.items()}
    return FisherDiagonal(values, norms if traces else torch.zeros(0))


def loop_fisher(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    *,
    token_reduction: TokenReduction = "sum",
    include: Include | None = None,
    reduce: Reduce = "none",
) -> dict[str, Tensor]:
    """The same mean of squares by one backward pass an example: the slow, plain reference."""
    names = _included(model, include)
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for p, name in names.items()}
    singles = ({k: v[i : i + 1] for k, v in b.items()} for b in batches for i in range(len(b["labels"])))
    count = 0
    for gradients, _ in _batch_gradients(model, names, singles, token_reduction, "given", None):
        count += 1
        for name, gradient in gradients.items():
            sums[name].addcmul_(gradient, gradient)
    return {name: reduced(value / count, reduce) for name, value in sums.items()}


def reduced(value: Tensor, reduce: Reduce) -> Tensor:
    """Mean over all dimensions but the first (`rows`), or over all (`tensors`)."""
    if reduce == "tensors":
        return value.mean()
    return value.flatten(1).mean(1) if reduce == "rows" and value.ndim > 1 else value


def _included(model: PreTrainedModel, include: Include | None) -> dict[nn.Parameter, str]:
    names = {p: name for name, p in model.named_parameters() if include is None or include(name)}
    if not names:
        raise ValueError("`include` selects no parameter of the model")
    return names


def example_losses(
    model: PreTrainedModel,
    batch: Batch,
    token_reduction: TokenReduction,
    labels: Labels = "given",
    generator: torch.Generator | None = None,
) -> Tensor:
    """-log P(y given x) of each example, (B,): over its target tokens the sum or the mean."""
    logits, targets = target_logits(model, batch, use_cache=False)
    if labels == "sampled":
        chances = logits.detach().float().softmax(-1).flatten(0, 1).cpu()  # drawn alike on every device
        drawn = torch.multinomial(chances, 1, generator=generator).view_as(targets).to(targets.device)
        targets = torch.where(targets == IGNORED, targets, drawn)
    losses = negative_log_likelihood(logits, targets).sum(1)
    return losses / (targets != IGNORED).sum(1) if token_reduction == "mean" else losses


@contextmanager
def _evaluating(model: PreTrainedModel, trained: Iterable[nn.Parameter]) -> Iterator[None]:
    """Eval mode, with a gradient for `trained` only; all flags as before afterwards."""
    flags = [(p, p.requires_grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    model.eval().requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for module, mode in modes:
            module.training = mode


def _batch_gradients(model, names, batches, token_reduction, labels, generator):
    """Yields the gradient of the summed loss of each batch, by parameter name, and the batch's size."""
    with _evaluating(model, names):
        for batch in batches:
            loss = example_losses(model, batch, token_reduction, labels, generator).sum()
            found = torch.autograd.grad(loss, list(names), allow_unused=True)
            used = {name: g.float() for name, g in zip(names.values(), found, strict=True) if g is not None}
            yield used, len(batch["labels"])


def _per_example(model, accumulators, batches, token_reduction, labels, generator) -> Iterator[Tensor]:
    """Accumulates the squares of each batch, and yields the squared gradient norm of each example, (B,)."""
    # Weights ask for no gradient: the hooks make the outputs of included modules do so, hence nothing below
    # the lowest included module is back-propagated, and no weight gradient is computed twice.
    with _evaluating(model, ()), ExitStack() as stack:
        hooks = _Hooks(model, accumulators, stack)
        for batch in batches:
            hooks.batch_size = len(batch["labels"])
            example_losses(model, batch, token_reduction, labels, generator).sum().backward()
            traces = torch.zeros(hooks.batch_size, device=model.device)
            for accumulator in accumulators.values():
                accumulator.flush()  # what was used somewhere without a part in the loss
                if accumulator.trace is not None:
                    traces += accumulator.trace
                    accumulator.trace = None
            yield traces


class _Hooks:
    """Hooks on every included module, which hand inputs and backprops to its parameters' accumulators."""

    def __init__(self, model: PreTrainedModel, accumulators: dict[int, "_Accumulator"], stack: ExitStack) -> None:
        self.accumulators = accumulators
        self.batch_size = 0
        self._stack = stack
        self._done: set[nn.Module] = set()
        for name, module in model.named_modules():
            own = [self._of(p) for p in module.parameters(recurse=False)]
            if isinstance(module, T5Attention) and module.has_relative_attention_bias:
                self._relative_bias(module)
            if any(own) and module not in self._done:
                self._add(module.register_forward_hook(self._hook(name, module)))

    def _add(self, handle: RemovableHandle) -> None:
        self._stack.callback(handle.remove)

    def _of(self, parameter: nn.Parameter | None) -> "_Accumulator | None":
        return self.accumulators.get(id(parameter))

    def _hook(self, name: str, module: nn.Module):
        """A forward hook for a module of a known kind. Exact types: a subclass may compute something else."""
        if type(module) is nn.Linear:
            catch = self._linear
        elif type(module) is nn.Embedding and module.max_norm is None and not module.scale_grad_by_freq:
            catch = self._embedding
        elif type(module) is nn.LayerNorm or is_rms_norm(module):
            catch = self._norm
        else:
            raise TypeError(
                f"no exact per-example gradient is known for module {name!r} of type "
                f"{type(module).__name__}; exclude its parameters, or add its rule to fute.surrogate.fisher"
            )

        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            if args[0].shape[0] != self.batch_size:
                raise TypeError(
                    f"module {name!r} was called on {tuple(args[0].shape)}, which does not keep the "
                    f"{self.batch_size} examples of the batch apart; exclude its parameters"
                )
            if not output.requires_grad:
                output.requires_grad_()
            used = [a for p in module.parameters(recurse=False) if (a := self._of(p))]
            for accumulator in used:
                accumulator.pending += 1

            def backprop(b: Tensor) -> None:
                catch(module, args[0].detach(), b.detach())
                for accumulator in used:
                    accumulator.pending -= 1
                    if accumulator.pending == 0:
                        accumulator.flush()

            output.register_hook(backprop)

        return hook

    def _linear(self, module: nn.Linear, a: Tensor, b: Tensor) -> None:
        b = b.reshape(len(b), -1, b.shape[-1]).float()
        if weight := self._of(module.weight):
            weight.outer.append((a.reshape(len(a), -1, a.shape[-1]).float(), b))
        if bias := self._of(module.bias):
            bias.dense.append(b.sum(1))

    def _embedding(self, module: nn.Embedding, ids: Tensor, b: Tensor) -> None:
        if module.padding_idx is not None:  # autograd gives this row no gradient
            b = b.masked_fill((ids == module.padding_idx)[..., None], 0)
        self._of(module.weight).rows.append((ids.flatten(1), b.flatten(1, -2).float()))

    def _norm(self, module: nn.Module, h: Tensor, b: Tensor) -> None:
        h, b = h.float(), b.float()
        if type(module) is nn.LayerNorm:
            scaled = nn.functional.layer_norm(h, module.normalized_shape, eps=module.eps)
        else:
            eps = module.eps if hasattr(module, "eps") else module.variance_epsilon
            eps = torch.finfo(h.dtype).eps if eps is None else eps
            scaled = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)
        between = tuple(range(1, b.ndim - 1))
        if weight := self._of(module.weight):
            weight.dense.append((b * scaled).sum(between))
        if bias := self._of(getattr(module, "bias", None)):
            bias.dense.append(b.sum(between))

    def _relative_bias(self, attention: T5Attention) -> None:
        """T5 adds one table of biases to the scores of all examples: give each example its own copy."""
        table = attention.relative_attention_bias
        self._done.add(table)
        if not (accumulator := self._of(table.weight)):
            return
        seen: list[Tensor] = []
        self._add(table.register_forward_hook(lambda module, args, output: seen.append(args[0])))

        def expand(module: T5Attention, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            if kwargs.get("position_bias") is not None:
                return None
            length = args[0].shape[1]
            bias = module.compute_bias(length, length, device=args[0].device)
            bias = bias.repeat(self.batch_size, 1, 1, 1).requires_grad_()
            buckets = seen.pop().flatten()

            def scatter(b: Tensor) -> None:
                by_position = b.float().permute(0, 2, 3, 1).flatten(1, 2)
                empty = by_position.new_zeros(len(b), *table.weight.shape)
                accumulator.dense.append(empty.index_add_(1, buckets, by_position))

            bias.register_hook(scatter)
            return args, kwargs | {"position_bias": bias}

        self._add(attention.register_forward_pre_hook(expand, with_kwargs=True))


def is_rms_norm(module: nn.Module) -> bool:
    """Norms that only scale h / rms(h): T5's, torch's, and transformers' `...RMSNorm` classes."""
    name = type(module).__name__
    return isinstance(module, nn.RMSNorm) or name == "T5LayerNorm" or name.endswith("RMSNorm")


class _Accumulator:
    """Sum over examples of the squared gradient of one tensor, from the parts of one batch at a time.

    Parts of a batch of B examples: `outer` (a, b) with gradient sum_t b_t a_t^T; `rows` (ids, b) with b_t
    added to row ids_t; `dense`, the gradient itself, (B, *shape), of small tensors. `pending` counts uses in
    the forward pass whose backprop has not come yet: a tied tensor is squared when its last part is there.
    """

    def __init__(self, parameter: nn.Parameter, reduce: Reduce, traced: bool) -> None:
        self.reduce, self.traced = reduce, traced
        self.total = reduced(torch.zeros_like(parameter, dtype=torch.float32), reduce)
        self.rows_by_columns = parameter.shape
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
            self.trace = squares.flatten(1).sum(1)
        elif self.outer or self.rows:
            sparse = self._sparse_rows()
            if not self.outer:
                self._add_sparse(sparse)
            else:
                a = torch.cat([a for a, _ in self.outer], 1)
                b = torch.cat([b for _, b in self.outer], 1)
                (self._add_blocks if self.reduce == "none" else self._add_row_norms)(a, b, sparse)
        self.pending = 0
        self.outer, self.rows, self.dense = [], [], []

    def _sparse_rows(self) -> list[tuple[Tensor, Tensor]]:
        """For each example: the sorted rows an embedding touched, and their gradients."""
        if not self.rows:
            return []
        ids = torch.cat([ids for ids, _ in self.rows], 1)
        gradients = torch.cat([b for _, b in self.rows], 1)
        sparse = []
        for example_ids, gradient in zip(ids, gradients, strict=True):
            touched, place = example_ids.unique(return_inverse=True)
            sparse.append((touched, gradient.new_zeros(len(touched), gradient.shape[1]).index_add_(0, place, gradient)))
        return sparse

    def _add_sparse(self, sparse: list[tuple[Tensor, Tensor]]) -> None:
        squares = [(touched, gradient.square()) for touched, gradient in sparse]
        self.trace = torch.stack([square.sum() for _, square in squares])
        for touched, square in squares:
            if self.reduce == "none":
                self.total.index_add_(0, touched, square)
            elif self.reduce == "rows":
                self.total.index_add_(0, touched, square.mean(1))
            else:
                self.total += square.sum() / self.rows_by_columns.numel()

    def _add_blocks(self, a: Tensor, b: Tensor, sparse: list[tuple[Tensor, Tensor]]) -> None:
        """Full squares: blocks of rows, and within a block one or a few examples at a time."""
        size, columns = len(a), a.shape[2]
        budget = _BLOCK.get(a.device.type, _BLOCK["cuda"])
        rows = min(b.shape[2], max(1, budget // columns))
        chunk = min(size, max(1, budget // (rows * columns)))
        starts = torch.arange(0, b.shape[2] + rows, rows, device=a.device)
        bounds = [torch.searchsorted(touched, starts).tolist() for touched, _ in sparse]
        buffer = a.new_empty(chunk * rows * columns)
        self.trace = a.new_zeros(size)
        for k, start in enumerate(range(0, b.shape[2], rows)):
            total = self.total[start : start + rows]
            for first in range(0, size, chunk):
                part = slice(first, first + chunk)
                backprops, inputs = b[part, :, start : start + rows].transpose(1, 2), a[part]
                shape = (len(inputs), len(total), columns)
                gradients = buffer[: len(inputs) * len(total) * columns].view(shape)
                if len(inputs) == 1:
                    torch.mm(backprops[0], inputs[0], out=gradients[0])
                else:
                    torch.bmm(backprops, inputs, out=gradients)
                for i, gradient in enumerate(gradients, first):
                    if sparse:
                        low, high = bounds[i][k : k + 2]
                        touched, rows_of_it = sparse[i]
                        gradient.index_add_(0, touched[low:high] - start, rows_of_it[low:high])
                    total.addcmul_(gradient, gradient)
                    if self.traced:
                        self.trace[i] += torch.dot(gradient.view(-1), gradient.view(-1))

    def _add_row_norms(self, a: Tensor, b: Tensor, sparse: list[tuple[Tensor, Tensor]]) -> None:
        """Row means without the gradient: |sum_t b_to a_t|^2 = b_o^T (A A^T) b_o, over pairs of tokens.

        In fp64, since terms of a row whose gradient nearly cancels are larger than their sum.
        """
        chunk = max(1, _BLOCK["cuda"] // (8 * a.shape[1] * max(a.shape[2], b.shape[2])))
        norms = torch.cat([row_norms(*parts) for parts in zip(a.split(chunk), b.split(chunk), strict=True)])
        for i, (touched, gradient) in enumerate(sparse):
            norms[i, touched] = (b[i][:, touched].T @ a[i] + gradient).square().sum(1)
        self.trace = norms.sum(1)
        self.total += norms.sum(0) / a.shape[2] if self.reduce == "rows" else norms.sum() / self.rows_by_columns.numel()


def row_norms(a: Tensor, b: Tensor) -> Tensor:
    """Squared norms of the rows of each example's sum_t b_t a_t^T: (B, T, i), (B, T, o) -> (B, o)."""
    a, b = a.double(), b.double()
    return ((a @ a.transpose(1, 2)) @ b).mul_(b).sum(1).clamp_(min=0).float()
