"""The one training loop, for a whole surrogate (TaskEmb) or a prefix (TuPaTE).

Under `accelerate`, each process takes its share of every batch. Gradients are summed over processes and divided by
the size of the whole batch, so more processes change the speed and nothing else. Every random draw depends on the
order seed and the step or epoch alone. So a killed training continues from its last checkpoint to the same bytes (on
a CPU; sums on a GPU vary in their last bits).
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fute.device import compute_device
from fute.surrogate.checkpoint import Checkpoint, EarlyStopping, TrainingState

_LOOK_EVERY = 50
"""Steps between two reads of losses from a GPU: each read waits for all work queued there."""

_AGREE_EVERY = {"cuda": 10, "cpu": 1}
"""Steps between two agreements of several processes to write a checkpoint or to stop. Each agreement waits for the
device. Steps on a CPU are slow compared with it, and after SIGTERM a scheduler leaves only seconds."""

MOST_TOKENS = 2**14
"""Most input tokens, padding included, whose gradients are computed at once: what they need fits any GPU that holds
T5-base, and keeps it busy. The paper's batch of 128 texts of 496 tokens is four times as much."""

Progress = Callable[[int, int, float], None]
"""Called after every optimiser step with the steps done, all steps, and the latest batch loss that was read."""


class TrainingExample(Protocol):
    """The parts of an example that the loop reads: its place in the list, and its input and target tokens."""

    @property
    def index(self) -> int: ...

    @property
    def input_ids(self) -> tuple[int, ...]: ...

    @property
    def target_ids(self) -> tuple[int, ...]: ...


ExampleLosses = Callable[[Sequence[TrainingExample]], Tensor]
"""-log P(y given x) of each example, summed over its target tokens, (B,)."""


@dataclass(frozen=True)
class TrainingLog:
    """Facts of a training.

    loss_start, loss_end: mean loss of the first and the last tenth of the steps, in nats per target token.
    examples_per_second: over the time spent training; in a resumed run, over all its parts.
    dev_losses: mean over held-out rows of -log P(y given x) after each epoch, in nats; empty without such rows.
    best_epoch: the epoch (from 1) whose state was kept; None without held-out rows.
    losses: mean loss of every step, in nats per target token.
    """

    loss_start: float
    loss_end: float
    steps: int
    examples_per_second: float
    dev_losses: tuple[float, ...] = ()
    best_epoch: int | None = None
    losses: tuple[float, ...] = ()


def step_seed(order_seed: int, step: int) -> int:
    """Seed of the draws (dropout) in an optimiser step (from 1)."""
    return _seed(f"step {order_seed} {step}")


def epoch_generator(order_seed: int, epoch: int) -> torch.Generator:
    """Generator for the order of an epoch (from 1)."""
    return torch.Generator().manual_seed(_seed(f"epoch {order_seed} {epoch}"))


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def count_steps(examples: int, *, epochs: int, batch_size: int) -> int:
    """Optimiser steps of a run; the last batch of an epoch may be short."""
    return epochs * math.ceil(examples / batch_size)


def epoch_batches(
    examples: Sequence[TrainingExample], batch_size: int, generator: torch.Generator, bucket_batches: int
) -> list[list[TrainingExample]]:
    """Batches of one epoch: a seeded order, cut into batches of texts of similar length.

    The seeded order is split into buckets of `bucket_batches` batches. Each bucket is sorted by length, cut into
    batches, and these are shuffled. The length is that of the input alone, so that all black boxes on the same texts
    get the same batches. bucket_batches 1: the plain seeded order.
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


def micro_batches(examples: Sequence[TrainingExample]) -> list[Sequence[TrainingExample]]:
    """Parts of a batch for gradient accumulation: all of it, or such as have at most `MOST_TOKENS`, by length.

    Gradients add up to those of the whole batch but for rounding. The limit is the same on every GPU, so that no result
    depends on its memory. Target tokens, which a causal model reads too, are not counted.
    """
    if len(examples) * max(len(example.input_ids) for example in examples) <= MOST_TOKENS:
        return [examples]
    parts: list[list[TrainingExample]] = [[]]
    for example in sorted(examples, key=lambda example: (len(example.input_ids), example.index)):
        if parts[-1] and (len(parts[-1]) + 1) * len(example.input_ids) > MOST_TOKENS:
            parts.append([])
        parts[-1].append(example)
    return parts


def train(
    losses: ExampleLosses,
    parameters: Iterable[tuple[str, nn.Parameter]],
    examples: Sequence[TrainingExample],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    order_seed: int,
    weight_decay: float = 0.01,
    warmup: float = 0.05,
    clip: float = 1.0,
    bucket_batches: int = 1,
    dev: Sequence[TrainingExample] = (),
    patience: int | None = None,
    progress: Progress | None = None,
    accelerator: Accelerator | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainingLog:
    """Train `parameters` in place with AdamW on the mean loss per target token.

    losses: called with each of the `micro_batches` of this process's share of a batch. Torch's generators are seeded
        with `step_seed` before each step; random draws must come from them.
    warmup: share of the steps over which the rate rises; then it falls linearly to 0.
    weight_decay: not for 1-D tensors (biases and norms).
    clip: largest gradient norm.
    dev, patience: early stopping. After each epoch the mean -log P(y given x) of the held-out rows is computed (by the
        same `losses`, without gradients). Training stops after `patience` epochs without a better one, and the best
        state is put back.
    checkpoint: the state is read from this file if it exists. It is written from time to time and, within
        `heed_sigterm`, when SIGTERM comes. The caller deletes it when the result is stored.

    Raises FloatingPointError, naming the first such step and its pairs, if a loss is not finite, and naming the
    parameter if the last step made one that is not; ValueError if the checkpoint is of another training or not whole,
    or there are no examples; Preempted after SIGTERM.
    """
    if bool(dev) != (patience is not None):
        raise ValueError("early stopping needs both held-out rows (`dev`) and `patience`; give both or none")
    if not examples:
        raise ValueError("there are no examples to train on")
    accelerator = accelerator or Accelerator(cpu=compute_device().type == "cpu")
    named = list(parameters)
    weights = [parameter for _, parameter in named]
    order = _Order(examples, epochs, batch_size, order_seed, bucket_batches)
    optimizer = _adamw(named, learning_rate, weight_decay)
    factor = _linear_schedule(order.total, warmup)
    stopping = EarlyStopping(weights, patience) if patience is not None else None
    state = TrainingState(named, optimizer, stopping)
    reader = _LossReader(state, order, accelerator)
    run = {"order_seed": order_seed, "epochs": epochs, "batch_size": batch_size, "examples": len(examples)}
    run["parameters"] = [[name, list(parameter.shape)] for name, parameter in named]
    keeper = _Keeper(checkpoint, run, state, reader, accelerator)
    step = len(state.losses)
    while step < order.total and not state.stopped:
        step += 1
        loss = _backward(losses, order.batch(step), step_seed(order_seed, step), weights, accelerator)
        nn.utils.clip_grad_norm_(weights, clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * factor(step - 1)
        optimizer.step()
        reader.add(step, loss)
        if progress:
            progress(step, order.total, state.losses[-1])
        if stopping and order.ends_epoch(step):
            stopping.after_epoch(_mean_loss(losses, dev, batch_size, accelerator))
        keeper.after_step(step, order.total)
    if not state.finished:
        state.finish()
        _check_finite(named, step)
        keeper.at_end()
    epochs_done = len(state.losses) // order.epoch_steps
    return _log(state, examples_per_second=len(examples) * epochs_done / keeper.seconds)


class _Order:
    """The batch of every step (from 1). Those of the present epoch are kept."""

    def __init__(
        self,
        examples: Sequence[TrainingExample],
        epochs: int,
        batch_size: int,
        order_seed: int,
        bucket_batches: int,
    ) -> None:
        self._examples, self._batch_size = examples, batch_size
        self._order_seed, self._bucket_batches = order_seed, bucket_batches
        self.epoch_steps = count_steps(len(examples), epochs=1, batch_size=batch_size)
        self.total = epochs * self.epoch_steps
        self._epoch, self._batches = 0, []

    def epoch(self, step: int) -> int:
        """Epoch of a step, from 1."""
        return (step - 1) // self.epoch_steps + 1

    def ends_epoch(self, step: int) -> bool:
        return step % self.epoch_steps == 0

    def batch(self, step: int) -> list[TrainingExample]:
        if (epoch := self.epoch(step)) != self._epoch:
            generator = epoch_generator(self._order_seed, epoch)
            self._batches = epoch_batches(self._examples, self._batch_size, generator, self._bucket_batches)
            self._epoch = epoch
        return self._batches[(step - 1) % self.epoch_steps]


class _LossReader:
    """Moves the losses of steps from the device to the training's state, some steps at a time."""

    def __init__(self, state: TrainingState, order: _Order, accelerator: Accelerator) -> None:
        self._state, self._order, self._accelerator = state, order, accelerator
        self._every = _look_every(accelerator.device)
        self._unread: list[Tensor] = []

    def add(self, step: int, loss: Tensor) -> None:
        """Take this process's part of a step's loss. It is read now if it is time, and at the end of an epoch."""
        self._unread.append(loss)
        if self._order.ends_epoch(step) or not self._state.losses or step % self._every == 0:
            self.read()

    def read(self) -> None:
        """Read what was not read yet. Raises FloatingPointError for the first loss that is not finite."""
        values = self._accelerator.reduce(torch.stack(self._unread), "sum").tolist() if self._unread else []
        self._unread.clear()
        for value in values:
            self._state.losses.append(value)
            if not math.isfinite(value):
                step = len(self._state.losses)
                pairs = ", ".join(str(example.index) for example in self._order.batch(step))
                raise FloatingPointError(
                    f"loss is {value} at step {step} of {self._order.total} (epoch {self._order.epoch(step)}, pairs "
                    f"{pairs}); lower the learning rate, or look at these pairs"
                )


class _Keeper:
    """Goes on from a training's state on the disk, if there is one, and keeps it there; without a checkpoint it only
    has the time. run: values that a state must have to be of this training."""

    def __init__(
        self,
        checkpoint: Checkpoint | None,
        run: Mapping[str, Any],
        state: TrainingState,
        reader: _LossReader,
        accelerator: Accelerator,
    ) -> None:
        self._checkpoint, self._run, self._state = checkpoint, run, state
        self._reader, self._accelerator = reader, accelerator
        if checkpoint:
            accelerator.wait_for_everyone()  # the main process may just have removed the file of another training
            if saved := checkpoint.load(run):
                state.restore(*saved)
        self._started = time.monotonic() - state.seconds

    @property
    def seconds(self) -> float:
        """Time spent training, in all parts of a resumed run."""
        return time.monotonic() - self._started

    def after_step(self, step: int, total: int) -> None:
        """Write the state if it is time. Raises Preempted, after writing it, if SIGTERM came."""
        if not self._checkpoint:
            return
        last = step == total or self._state.stopped
        due, asked = _agree(self._checkpoint, self._accelerator, step, last=last)
        if due or asked:
            self._save()
        if asked:
            self._accelerator.wait_for_everyone()  # until the state is written
            raise self._checkpoint.preempted(f"after step {step} of {total}")

    def at_end(self) -> None:
        """Write the end of a training that took long."""
        if self._checkpoint and self._checkpoint.worth_keeping(self.seconds):
            self._save()

    def _save(self) -> None:
        self._reader.read()
        self._state.seconds = self.seconds
        if self._accelerator.is_main_process:
            self._checkpoint.save(self._run, self._state.tensors(), self._state.facts())


def _check_finite(named: Sequence[tuple[str, nn.Parameter]], step: int) -> None:
    """Raise FloatingPointError if a parameter is not finite: no loss shows what the last step did."""
    for name, parameter in named:
        if not torch.isfinite(parameter).all():
            raise FloatingPointError(f"{name} is not finite after step {step}, the last one; lower the learning rate")


def _log(state: TrainingState, *, examples_per_second: float) -> TrainingLog:
    losses, stopping = state.losses, state.stopping
    tenth = math.ceil(len(losses) / 10)
    return TrainingLog(
        loss_start=float(np.mean(losses[:tenth])),
        loss_end=float(np.mean(losses[-tenth:])),
        steps=len(losses),
        examples_per_second=examples_per_second,
        dev_losses=tuple(stopping.losses) if stopping else (),
        best_epoch=stopping.best_epoch if stopping else None,
        losses=tuple(losses),
    )


def _look_every(device: torch.device) -> int:
    return 1 if device.type == "cpu" else _LOOK_EVERY


def _adamw(named: list[tuple[str, nn.Parameter]], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    decayed = [p for _, p in named if p.ndim > 1]
    plain = [p for _, p in named if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, fused=True)


def _linear_schedule(total: int, warmup: float) -> Callable[[int], float]:
    """Factor of the rate at step k (from 0): rising in the warm-up, then falling; never 0 before the end."""
    rising = math.ceil(warmup * total)

    def factor(step: int) -> float:
        return min((step + 1) / max(1, rising), (total - step) / max(1, total - rising))

    return factor


def _backward(
    losses: ExampleLosses,
    batch: Sequence[TrainingExample],
    seed: int,
    weights: list[nn.Parameter],
    accelerator: Accelerator,
) -> Tensor:
    """Compute the gradients of a batch's mean loss per target token, over all processes.

    Returns this process's part of the loss.
    """
    share = batch[accelerator.process_index :: accelerator.num_processes]
    tokens = sum(len(example.target_ids) for example in batch)
    total = torch.zeros((), device=accelerator.device)
    for weight in weights:
        weight.grad = None
    torch.manual_seed(seed)
    for part in micro_batches(share) if share else ():
        loss = losses(part).sum() / tokens
        loss.backward()
        total += loss.detach().float()
    if accelerator.num_processes > 1:
        for weight in weights:  # a process without examples in this batch adds zeros
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = accelerator.reduce(gradient, "sum")
    return total


@torch.no_grad()
def _mean_loss(
    losses: ExampleLosses, examples: Sequence[TrainingExample], batch_size: int, accelerator: Accelerator
) -> float:
    """Mean over rows of -log P(y given x). Each process takes its share of the batches; all return the same value."""
    by_length = sorted(examples, key=lambda example: (len(example.input_ids), example.index))
    batches = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
    total = torch.zeros((), dtype=torch.float64, device=accelerator.device)
    for batch in batches[accelerator.process_index :: accelerator.num_processes]:
        total += losses(batch).double().sum()
    return float(accelerator.reduce(total, "sum")) / len(examples)


def _agree(checkpoint: Checkpoint, accelerator: Accelerator, step: int, *, last: bool) -> tuple[bool, bool]:
    """(write a checkpoint after this step, stop after it): the same answers on every process."""
    due, asked = checkpoint.due and accelerator.is_main_process, checkpoint.asked_to_stop
    if accelerator.num_processes == 1:
        return due, asked
    if step % _AGREE_EVERY.get(accelerator.device.type, 1) and not last:
        return False, False
    votes = accelerator.reduce(torch.tensor([float(due), float(asked)], device=accelerator.device), "sum")
    due, asked = (votes > 0).tolist()
    return due, asked
