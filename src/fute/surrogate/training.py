"""The one training loop: of a whole surrogate (TaskEmb) or of a prefix (TuPaTE).

Under `accelerate`, each process takes its share of every batch, gradients are summed over processes and
normalised by the whole batch: more processes change the speed and nothing else. Every random draw is a
function of the order seed and the step or epoch alone, so that a training that was killed goes on from its
last checkpoint to the same bytes (on a CPU; a GPU's sums vary in their last bits).
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fute.device import compute_device
from fute.surrogate.checkpoint import Checkpoint, EarlyStopping, TrainingState

_LOOK_EVERY = 50
"""Steps between two looks at losses that lie on a GPU: each look waits for all work queued there."""

_AGREE_EVERY = {"cuda": 10, "cpu": 1}
"""Steps between two agreements of several processes on whether to write a checkpoint, and to stop: each waits for the
device; steps on CPUs are slow beside it, and a scheduler gives them seconds."""

Progress = Callable[[int, int, float], None]
"""Called after every optimiser step with steps done, steps in all, and the latest batch loss that is known."""


class TrainingExample(Protocol):
    """What the loop reads of an example: its place in the list, and how many tokens go in and are learned."""

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
    """`loss_start`, `loss_end`: nats a target token, mean of the first and last tenth of the steps.

    `examples_per_second`: over the time spent training, in a resumed run that of all its parts.
    `dev_losses`: after each epoch, the mean over held-out rows of -log P(y given x) in nats, where rows were
    given; `best_epoch` is then the epoch (from 1) whose state was kept. `losses`: the mean loss of every step.
    """

    loss_start: float
    loss_end: float
    steps: int
    examples_per_second: float
    dev_losses: tuple[float, ...] = ()
    best_epoch: int | None = None
    losses: tuple[float, ...] = ()


def step_seed(order_seed: int, step: int) -> int:
    """Seed of what is drawn in an optimiser step (from 1): dropout."""
    return _seed(f"step {order_seed} {step}")


def epoch_generator(order_seed: int, epoch: int) -> torch.Generator:
    """The generator that gives the order of an epoch (from 1)."""
    return torch.Generator().manual_seed(_seed(f"epoch {order_seed} {epoch}"))


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def count_steps(examples: int, *, epochs: int, batch_size: int) -> int:
    """Optimiser steps of a run; the last batch of an epoch may be short."""
    return epochs * math.ceil(examples / batch_size)


def epoch_batches(
    examples: Sequence[TrainingExample], batch_size: int, generator: torch.Generator, bucket_batches: int
) -> list[list[TrainingExample]]:
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
    """Train `parameters` in place with AdamW on the mean loss a target token.

    warmup: share of the steps over which the rate rises; it then falls linearly to 0. No weight decay on 1-D
    tensors (biases and norms). clip: largest gradient norm.
    losses: is called once a step with this process's share of the batch, after torch's generators were seeded
    with `step_seed`; what it draws must come from them.
    dev, patience: with held-out rows, their mean -log P(y given x) is taken after each epoch (through the
    same `losses`, without gradients), training stops after `patience` epochs without a better one, and the
    best state is put back.
    checkpoint: the state is read from there if the file exists, written there from time to time and, within
    `heed_sigterm`, when SIGTERM comes; the caller removes it once what was trained is stored.

    Raises FloatingPointError, naming the first such step and its pairs, where a loss is not finite;
    ValueError where the checkpoint is of another training or not whole; Preempted after SIGTERM.
    """
    if bool(dev) != (patience is not None):
        raise ValueError("early stopping needs both held-out rows (`dev`) and `patience`")
    if not examples:
        raise ValueError("there are no examples to train on")
    accelerator = accelerator or Accelerator(cpu=compute_device().type == "cpu")
    look_every = _look_every(accelerator.device)
    named = list(parameters)
    weights = [parameter for _, parameter in named]
    an_epoch = count_steps(len(examples), epochs=1, batch_size=batch_size)
    total = epochs * an_epoch
    optimizer = _adamw(named, learning_rate, weight_decay)
    factor = _linear_schedule(total, warmup)
    stopping = EarlyStopping(weights, patience) if patience is not None else None
    state = TrainingState(named, optimizer, stopping)

    def batches_of(epoch: int) -> list[list[TrainingExample]]:
        return epoch_batches(examples, batch_size, epoch_generator(order_seed, epoch), bucket_batches)

    def look() -> None:
        """Take the losses of the steps since the last look from the device."""
        values = accelerator.reduce(torch.stack(unseen), "sum").tolist() if unseen else []
        unseen.clear()
        for value in values:
            state.losses.append(value)
            if not math.isfinite(value):
                epoch, place = divmod(len(state.losses) - 1, an_epoch)
                pairs = ", ".join(str(example.index) for example in batches_of(epoch + 1)[place])
                raise FloatingPointError(
                    f"loss is {value} at step {len(state.losses)} of {total} (epoch {epoch + 1}, pairs {pairs}); "
                    "lower the learning rate, or look at these pairs"
                )

    def save() -> None:
        look()
        state.seconds = time.monotonic() - started
        if accelerator.is_main_process:
            checkpoint.save(run, state.tensors(), state.facts())

    run = {"order_seed": order_seed, "epochs": epochs, "batch_size": batch_size, "examples": len(examples)}
    run["parameters"] = [[name, list(parameter.shape)] for name, parameter in named]
    if checkpoint:
        accelerator.wait_for_everyone()  # the main process may only now have removed another training's file
        if found := checkpoint.load(run):
            state.restore(*found)
    started = time.monotonic() - state.seconds
    unseen: list[Tensor] = []
    batches: list[list[TrainingExample]] = []
    step = len(state.losses)
    while step < total and not state.stopped:
        epoch, place = divmod(step, an_epoch)
        if place == 0 or not batches:
            batches = batches_of(epoch + 1)
        step += 1
        unseen.append(_backward(losses, batches[place], step_seed(order_seed, step), weights, accelerator))
        nn.utils.clip_grad_norm_(weights, clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * factor(step - 1)
        optimizer.step()
        epoch_ends = step % an_epoch == 0
        if epoch_ends or not state.losses or step % look_every == 0:
            look()
        if progress:
            progress(step, total, state.losses[-1])
        if epoch_ends and stopping:
            stopping.after_epoch(_mean_loss(losses, dev, batch_size, accelerator))
        if checkpoint:
            due, asked = _agree(checkpoint, accelerator, step, last=step == total or state.stopped)
            if due or asked:
                save()
            if asked:
                accelerator.wait_for_everyone()  # until the state is written
                raise checkpoint.preempted(f"after step {step} of {total}")
    if not state.finished:
        state.finish()
        if checkpoint and checkpoint.worth_keeping(time.monotonic() - started):
            save()
    done = len(state.losses)
    tenth = math.ceil(done / 10)
    return TrainingLog(
        loss_start=float(np.mean(state.losses[:tenth])),
        loss_end=float(np.mean(state.losses[-tenth:])),
        steps=done,
        examples_per_second=len(examples) * (done // an_epoch) / (time.monotonic() - started),
        dev_losses=tuple(stopping.losses) if stopping else (),
        best_epoch=stopping.best_epoch if stopping else None,
        losses=tuple(state.losses),
    )


def _look_every(device: torch.device) -> int:
    return 1 if device.type == "cpu" else _LOOK_EVERY


def _adamw(named: list[tuple[str, nn.Parameter]], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
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


def _backward(
    losses: ExampleLosses,
    batch: Sequence[TrainingExample],
    seed: int,
    weights: list[nn.Parameter],
    accelerator: Accelerator,
) -> Tensor:
    """Gradients of a batch's mean loss a target token, over all processes; returns this process's part of the loss."""
    own = batch[accelerator.process_index :: accelerator.num_processes]
    tokens = sum(len(example.target_ids) for example in batch)
    loss = torch.zeros((), device=accelerator.device)
    for weight in weights:
        weight.grad = None
    torch.manual_seed(seed)
    if own:
        loss = losses(own).sum() / tokens
        loss.backward()
    if accelerator.num_processes > 1:
        for weight in weights:  # a process without examples in this batch adds zeros
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = accelerator.reduce(gradient, "sum")
    return loss.detach().float()


@torch.no_grad()
def _mean_loss(
    losses: ExampleLosses, examples: Sequence[TrainingExample], batch_size: int, accelerator: Accelerator
) -> float:
    """Mean over rows of -log P(y given x); each process takes its share of the batches, and all get the same."""
    by_length = sorted(examples, key=lambda example: (len(example.input_ids), example.index))
    batches = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
    total = torch.zeros((), dtype=torch.float64, device=accelerator.device)
    for batch in batches[accelerator.process_index :: accelerator.num_processes]:
        total += losses(batch).double().sum()
    return float(accelerator.reduce(total, "sum")) / len(examples)


def _agree(checkpoint: Checkpoint, accelerator: Accelerator, step: int, *, last: bool) -> tuple[bool, bool]:
    """Whether to write a checkpoint after this step, and whether to stop: the same on every process."""
    due, asked = checkpoint.due and accelerator.is_main_process, checkpoint.asked_to_stop
    if accelerator.num_processes == 1:
        return due, asked
    if step % _AGREE_EVERY.get(accelerator.device.type, 1) and not last:
        return False, False
    votes = accelerator.reduce(torch.tensor([float(due), float(asked)], device=accelerator.device), "sum")
    due, asked = (votes > 0).tolist()
    return due, asked
