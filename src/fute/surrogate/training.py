"""The one training loop: of a whole surrogate (TaskEmb) or of a prefix (TuPaTE).

Under `accelerate`, each process takes its share of every batch, gradients are summed over processes and
normalised by the whole batch: more processes change the speed and nothing else.
"""

import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fute.surrogate.text2text import Example

Progress = Callable[[int, int, float], None]
"""Called after every optimiser step with steps done, steps in all, and the batch's loss."""

ExampleLosses = Callable[[Sequence[Example]], Tensor]
"""-log P(y given x) of each example, summed over its target tokens, (B,)."""


@dataclass(frozen=True)
class TrainingLog:
    """`loss_start`, `loss_end`: nats a target token, mean of the first and last tenth of the steps.

    `dev_losses`: after each epoch, the mean over held-out rows of -log P(y given x) in nats, where rows were
    given; `best_epoch` is then the epoch (from 1) whose state was kept.
    """

    loss_start: float
    loss_end: float
    steps: int
    examples_per_second: float
    dev_losses: tuple[float, ...] = ()
    best_epoch: int | None = None


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, numpy and torch on all devices, and return a CPU generator with that seed."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def count_steps(examples: int, *, epochs: int, batch_size: int) -> int:
    """Optimiser steps of a run; the last batch of an epoch may be short."""
    return epochs * math.ceil(examples / batch_size)


def epoch_batches(
    examples: Sequence[Example], batch_size: int, generator: torch.Generator, bucket_batches: int
) -> list[list[Example]]:
    """One epoch: a seeded order, cut into batches of texts of similar length.

    Each run of `bucket_batches` batches of the seeded order is sorted by length, cut, and its batches
    shuffled. Length is that of the input alone, so that all black boxes on the same texts get the same
    batches. 1: the plain seeded order.
    """
    order = [examples[i] for i in torch.randperm(len(examples), generator=generator).tolist()]
    if bucket_batches == 1:
        return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    batches = []
    for start in range(0, len(order), batch_size * bucket_batches):
        bucket = order[start : start + batch_size * bucket_batches]
        bucket.sort(key=lambda example: len(example.input_ids))
        cut = [bucket[i : i + batch_size] for i in range(0, len(bucket), batch_size)]
        batches += [cut[i] for i in torch.randperm(len(cut), generator=generator).tolist()]
    return batches


def train(
    losses: ExampleLosses,
    parameters: Iterable[tuple[str, nn.Parameter]],
    examples: Sequence[Example],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    order_seed: int,
    weight_decay: float = 0.01,
    warmup: float = 0.05,
    clip: float = 1.0,
    bucket_batches: int = 1,
    dev: Sequence[Example] = (),
    patience: int | None = None,
    progress: Progress | None = None,
    accelerator: Accelerator | None = None,
) -> TrainingLog:
    """Train `parameters` in place with AdamW on the mean loss a target token.

    warmup: share of the steps over which the rate rises; it then falls linearly to 0. No weight decay on 1-D
    tensors (biases and norms). clip: largest gradient norm.
    dev, patience: with held-out rows, their mean -log P(y given x) is taken after each epoch (through the
    same `losses`), training stops after `patience` epochs without a better one, and the best state is put
    back.

    Raises FloatingPointError, naming the step and the pairs, where a loss is not finite.
    """
    if bool(dev) != (patience is not None):
        raise ValueError("early stopping needs both held-out rows (`dev`) and `patience`")
    accelerator = accelerator or Accelerator(cpu=not torch.cuda.is_available())
    rank, world = accelerator.process_index, accelerator.num_processes
    named = list(parameters)
    weights = [parameter for _, parameter in named]
    total = count_steps(len(examples), epochs=epochs, batch_size=batch_size)
    optimizer = _adamw(named, learning_rate, weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _linear_schedule(total, warmup))
    generator = seed_everything(order_seed)
    history: list[float] = []
    stopping = _EarlyStopping(weights, patience) if patience is not None else None
    started = time.monotonic()
    for epoch in range(1, epochs + 1):
        for batch in epoch_batches(examples, batch_size, generator, bucket_batches):
            own = batch[rank::world]
            tokens = sum(len(example.target_ids) for example in batch)
            loss = losses(own).sum() / tokens if own else torch.zeros(())
            value = float(accelerator.reduce(loss.detach().to(accelerator.device), "sum"))
            if not math.isfinite(value):
                pairs = ", ".join(str(example.index) for example in batch)
                raise FloatingPointError(
                    f"loss is {value} at step {len(history) + 1} of {total} (epoch {epoch}, pairs {pairs}); "
                    "lower the learning rate, or look at these pairs"
                )
            optimizer.zero_grad(set_to_none=True)
            if own:
                loss.backward()
            if world > 1:
                _sum_gradients(weights, accelerator)
            nn.utils.clip_grad_norm_(weights, clip)
            optimizer.step()
            schedule.step()
            history.append(value)
            if progress:
                progress(len(history), total, value)
        if stopping and stopping.after_epoch(_mean_loss(losses, dev, batch_size)):
            break
    elapsed = time.monotonic() - started
    if stopping:
        stopping.restore()
    tenth = math.ceil(len(history) / 10)
    return TrainingLog(
        loss_start=float(np.mean(history[:tenth])),
        loss_end=float(np.mean(history[-tenth:])),
        steps=len(history),
        examples_per_second=len(examples) * epoch / elapsed,
        dev_losses=tuple(stopping.losses) if stopping else (),
        best_epoch=stopping.best_epoch if stopping else None,
    )


def _adamw(named: list[tuple[str, nn.Parameter]], learning_rate: float, weight_decay: float):
    decayed = [p for _, p in named if p.ndim > 1]
    plain = [p for _, p in named if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, fused=True)


def _linear_schedule(total: int, warmup: float) -> Callable[[int], float]:
    """Factor of the rate at step k = 0.. : up over the warm-up, then down; never 0 while a step is left."""
    rising = math.ceil(warmup * total)

    def factor(step: int) -> float:
        return min((step + 1) / max(1, rising), (total - step) / max(1, total - rising))

    return factor


def _sum_gradients(weights: list[nn.Parameter], accelerator: Accelerator) -> None:
    """Sum gradients over processes; one without examples in this batch adds zeros."""
    for weight in weights:
        gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
        weight.grad = accelerator.reduce(gradient, "sum")


def _mean_loss(losses: ExampleLosses, examples: Sequence[Example], batch_size: int) -> float:
    """Mean over rows of -log P(y given x); the same on every process, which each take all rows."""
    by_length = sorted(examples, key=lambda example: (len(example.input_ids), example.index))
    with torch.no_grad():
        parts = [losses(by_length[i : i + batch_size]).double() for i in range(0, len(by_length), batch_size)]
    return float(torch.cat(parts).mean())


class _EarlyStopping:
    def __init__(self, weights: list[nn.Parameter], patience: int) -> None:
        self.weights, self.patience = weights, patience
        self.losses: list[float] = []
        self.best_epoch = 0
        self._best: list[Tensor] = []

    def after_epoch(self, loss: float) -> bool:
        """Note an epoch's held-out loss; True if training should stop."""
        self.losses.append(loss)
        if loss == min(self.losses) and self.losses.count(loss) == 1:
            self.best_epoch = len(self.losses)
            self._best = [weight.detach().clone() for weight in self.weights]
        return len(self.losses) - self.best_epoch >= self.patience

    def restore(self) -> None:
        """Put the best epoch's state back."""
        if not self._best:
            raise FloatingPointError(f"no epoch had a finite held-out loss: {self.losses}")
        with torch.no_grad():
            for weight, best in zip(self.weights, self._best, strict=True):
                weight.copy_(best)
