"""The pass that computes the Fisher diagonal, its options, and the plain loop that tests compare it with."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from fute.surrogate.fisher.accumulator import Accumulator, Reduce, reduced
from fute.surrogate.fisher.hooks import Hooks
from fute.surrogate.text2text import Batch, Labels, TokenReduction, example_losses

Reduction = Literal["mean_of_squares", "batch_mean_square", "square_of_mean"]
Include = Callable[[str], bool]
SumOverRanks = Callable[[Tensor], Tensor]
Losses = Callable[..., Tensor]
"""(model, batch, token_reduction, labels, generator, use_cache=False) -> -log P of each example, (B,)."""


@dataclass
class FisherDiagonal:
    """A Fisher diagonal and the size of each example's gradient.

    values: parameter name -> mean of squares. traces: (n,) squared gradient norm of each example; empty if not asked
    for, and for the two reductions that never see single examples.
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
    """Diagonal of the empirical Fisher information of `model` on `batches`: the `values` of `fisher_pass`."""
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
    losses: Losses = example_losses,
) -> FisherDiagonal:
    """Compute the Fisher diagonal in one pass over `batches`, in eval mode; parameters do not change.

    batches: dicts as a transformers model takes them: `input_ids`, `attention_mask`, `labels` (-100: no loss).
    reduction: `mean_of_squares` is the Fisher; `batch_mean_square` = sum over batches of the squared gradient
        of the batch-mean loss, over n (Vu et al. 2020, repository tuvuumass/task-transferability);
        `square_of_mean` = ((1/n) sum_i g_i)^2 (the authors' repository xnyuwg/fute).
    token_reduction: log P(y given x) is the sum over target tokens, or their mean.
    labels: the given targets, or for each position one draw from the model's own distribution after the given targets
        before it; drawn from `generator`.
    include: True for the name of a parameter to take; nothing below the lowest of them is back-propagated. Default:
        all.
    reduce: `rows` = mean over all dimensions but the first (1-D tensors stay), accumulated in the pass without the
        full tensor; `tensors` = one mean per tensor.
    traces: also return each example's squared gradient norm (costs a few percent of the time).
    sum_over_ranks: sums a tensor over processes, if each process gets its share of the batches.
    losses: computes -log P of each example; default: text to text, from the model's language-model head.

    Keys are the names of `model.named_parameters()`, a tied tensor once; values are fp32.
    Raises TypeError for a module with parameters whose per-example gradient is not known here; ValueError for an
    unknown option, if `include` selects nothing, and if there is no example; FloatingPointError, naming the tensor, for
    a value that is not finite.
    """
    for option, given, kind in (
        ("reduction", reduction, Reduction),
        ("token_reduction", token_reduction, TokenReduction),
        ("labels", labels, Labels),
        ("reduce", reduce, Reduce),
    ):
        if given not in get_args(kind):
            raise ValueError(f"{option} is {given!r}; give one of {', '.join(get_args(kind))}")
    names = _included(model, include)

    def loss(batch: Batch) -> Tensor:
        return losses(model, batch, token_reduction, labels, generator, use_cache=False).sum()

    if reduction == "mean_of_squares":
        accumulators = {id(p): Accumulator(p, reduce, traces) for p in names}
        by_batch = list(_per_example(model, accumulators, batches, loss))
        norms = torch.cat([torch.zeros(0, device=model.device), *by_batch]).cpu()
        count = len(norms)
        # Where the terms of a square cancel, rounding may leave a tiny negative number.
        sums = {name: accumulators[id(p)].total.clamp_(min=0) for p, name in names.items()}
    else:
        count, norms = 0, torch.zeros(0)
        each_batch = reduction == "batch_mean_square"
        sums = {name: torch.zeros_like(p, dtype=torch.float32) for p, name in names.items()}
        for gradients, size in _batch_gradients(model, names, batches, loss):
            count += size
            for name, gradient in gradients.items():
                sums[name] += (gradient / size).square() if each_batch else gradient
    total = int(sum_over_ranks(torch.tensor(count, device=model.device)))
    if total == 0:
        raise ValueError("no example to take the Fisher information of: `batches` is empty; give at least one batch")
    values = {name: sum_over_ranks(value).div_(total) for name, value in sums.items()}
    if reduction == "square_of_mean":
        values = {name: value.square() for name, value in values.items()}
    if reduction != "mean_of_squares":
        values = {name: reduced(value, reduce) for name, value in values.items()}
    for name, value in values.items():
        if not torch.isfinite(value).all():
            raise FloatingPointError(
                f"the Fisher information of {name} is not finite: gradients are too large, or no numbers; lower the "
                "learning rate of the training before it"
            )
    return FisherDiagonal(values, norms if traces else torch.zeros(0))


def check_modules(model: PreTrainedModel, include: Include | None = None) -> None:
    """Raise TypeError or ValueError if `fisher_pass` would, for the model itself: before the training, not after it."""
    with ExitStack() as stack:
        Hooks(model, dict.fromkeys(map(id, _included(model, include)), True), stack)


def loop_fisher(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    *,
    token_reduction: TokenReduction = "sum",
    include: Include | None = None,
    reduce: Reduce = "none",
    losses: Losses = example_losses,
) -> dict[str, Tensor]:
    """The same mean of squares by one backward pass per example: the slow, plain reference."""
    names = _included(model, include)
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for p, name in names.items()}
    singles = ({k: v[i : i + 1] for k, v in b.items()} for b in batches for i in range(len(b["labels"])))

    def loss(batch: Batch) -> Tensor:
        return losses(model, batch, token_reduction, use_cache=False).sum()

    count = 0
    for gradients, _ in _batch_gradients(model, names, singles, loss):
        count += 1
        for name, gradient in gradients.items():
            sums[name].addcmul_(gradient, gradient)
    return {name: reduced(value / count, reduce) for name, value in sums.items()}


def _included(model: PreTrainedModel, include: Include | None) -> dict[nn.Parameter, str]:
    names = {p: name for name, p in model.named_parameters() if include is None or include(name)}
    if not names:
        raise ValueError("`include` selects no parameter of the model; compare it with the parameters' names")
    return names


@contextmanager
def _evaluating(model: PreTrainedModel, trained: Iterable[nn.Parameter]) -> Iterator[None]:
    """Set eval mode inside the block, with gradients for `trained` only; restore all flags afterwards."""
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


def _batch_gradients(model, names, batches, loss):
    """Yield the gradient of the summed loss of each batch, by parameter name, and the batch's size."""
    with _evaluating(model, names):
        for batch in batches:
            gradients = torch.autograd.grad(loss(batch), list(names), allow_unused=True)
            used = {name: g.float() for name, g in zip(names.values(), gradients, strict=True) if g is not None}
            yield used, len(batch["labels"])


def _per_example(model, accumulators, batches, loss) -> Iterator[Tensor]:
    """Accumulate the squares of each batch, and yield the squared gradient norm of each example, (B,)."""
    # Weights need no gradient: the hooks require one for the outputs of included modules. So nothing below the
    # lowest included module is back-propagated, and no weight gradient is computed twice.
    with _evaluating(model, ()), ExitStack() as stack:
        hooks = Hooks(model, accumulators, stack)
        for batch in batches:
            hooks.batch_size = len(batch["labels"])
            total = loss(batch)
            # A caller's autocast is for the model's forward pass only: squares are never rounded to its dtype.
            with torch.autocast(model.device.type, enabled=False):
                total.backward()
                for accumulator in accumulators.values():
                    accumulator.flush()  # tensors with a use that has no part in the loss
            traces = torch.zeros(hooks.batch_size, device=model.device)
            for accumulator in accumulators.values():
                if accumulator.trace is not None:
                    traces += accumulator.trace
                    accumulator.trace = None
            yield traces
