"""The training loop: order, schedule, early stopping, and that a killed training ends in the same bytes."""

import math
import os
import signal
import subprocess
import time
from itertools import chain
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.checkouts import ENVIRONMENT, ROOT
from support.toy_training import LONG, Toy, numbered
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fute.surrogate import training
from fute.surrogate.checkpoint import Checkpoint, Preempted, heed_sigterm
from fute.surrogate.text2text import Example
from fute.surrogate.training import (
    TrainingLog,
    _linear_schedule,
    epoch_batches,
    epoch_generator,
    micro_batches,
    step_seed,
    train,
)


@pytest.mark.parametrize("bucket_batches", [1, 2, 4])
def test_every_epoch_takes_each_example_once_in_a_seeded_order(bucket_batches):
    examples = numbered(torch.randint(1, 50, (37,), generator=torch.Generator().manual_seed(0)).tolist())

    def epochs(seed: int) -> list[list[list[int]]]:
        generator = epoch_generator(seed, 1)
        runs = [epoch_batches(examples, 4, generator, bucket_batches) for _ in range(2)]
        return [[[example.index for example in batch] for batch in run] for run in runs]

    first, second = epochs(1)
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(37))
    assert sorted(map(len, first)) == [1] + [4] * 9
    assert first != second and epochs(1) == [first, second] and epochs(2) != [first, second]


def test_buckets_spare_padding_and_do_not_look_at_targets():
    lengths = torch.randint(1, 50, (64,), generator=torch.Generator().manual_seed(0)).tolist()
    examples = numbered(lengths)
    relabelled = [Example(e.index, e.input_ids, (9, 9, 9, 1), False, False) for e in examples]

    def order(which, bucket: int) -> list[list[Example]]:
        return epoch_batches(which, 8, epoch_generator(3, 1), bucket)

    def padded(batches) -> int:
        return sum(len(batch) * max(len(example.input_ids) for example in batch) for batch in batches)

    assert padded(order(examples, 8)) < 0.75 * padded(order(examples, 1))
    indices = [[[e.index for e in batch] for batch in order(which, 8)] for which in (examples, relabelled)]
    assert indices[0] == indices[1]


def test_schedule_rises_then_falls_and_is_never_zero():
    factor = _linear_schedule(20, 0.1)
    values = [factor(step) for step in range(20)]
    assert values[:3] == [0.5, 1.0, 1.0] and values[3] == pytest.approx(17 / 18)
    assert values[-1] == pytest.approx(1 / 18) and values[2:] == sorted(values[2:], reverse=True)
    assert _linear_schedule(10, 0.0)(0) == 1.0 and _linear_schedule(10, 0.25)(0) == pytest.approx(1 / 3)


def test_training_of_one_number_by_hand():
    """One AdamW step moves by the rate, whatever the gradient; decay is for matrices alone."""
    matrix, bias = nn.Parameter(torch.tensor([[2.0]])), nn.Parameter(torch.tensor([2.0]))
    log = train(
        lambda batch: (matrix.sum() + bias.sum()) * torch.ones(len(batch)),
        [("matrix", matrix), ("bias", bias)],
        numbered([1, 2]),
        epochs=1,
        batch_size=2,
        learning_rate=0.1,
        order_seed=0,
        weight_decay=0.5,
        warmup=0.0,
    )
    assert bias.item() == pytest.approx(1.9, abs=1e-6)
    assert matrix.item() == pytest.approx(2 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)
    assert (log.steps, log.loss_start) == (1, pytest.approx(2.0))  # 2 examples x 4.0 over 4 target tokens
    assert log.losses == (log.loss_start,)


def test_each_step_takes_its_rate_from_the_schedule():
    """A gradient that stays the same moves AdamW by the rate of each step."""
    w = nn.Parameter(torch.tensor([0.0]))
    options = {"epochs": 5, "batch_size": 1, "learning_rate": 0.1, "order_seed": 0, "warmup": 0.3}
    train(lambda batch: w.sum() * torch.ones(len(batch)), [("w", w)], numbered([1, 2]), **options)
    assert w.item() == pytest.approx(-0.1 * (1 / 3 + 2 / 3 + 1 + sum(k / 7 for k in range(1, 8))), abs=1e-5)


def test_a_gradient_longer_than_the_clip_is_shortened_to_it():
    """Gradients of 100, cut to 2, and of 0.5, in two steps of Adam by its formula."""
    w, slopes = nn.Parameter(torch.tensor([0.0])), iter((100.0, 0.5))
    options = {"epochs": 1, "batch_size": 1, "learning_rate": 0.1, "order_seed": 0, "warmup": 0.0, "clip": 2.0}
    train(lambda batch: w * 2 * next(slopes), [("w", w)], numbered([1, 2]), **options)  # 2 target tokens each
    mean, square = (0.9 * 0.1 * 2 + 0.1 * 0.5) / (1 - 0.9**2), (0.999 * 2**2 + 0.5**2) / 1000 / (1 - 0.999**2)
    assert w.item() == pytest.approx(-0.1 - 0.05 * mean / math.sqrt(square), rel=1e-5)


def test_the_log_has_the_means_of_the_first_and_the_last_tenth():
    w, values = nn.Parameter(torch.tensor([0.0])), iter(range(1, 12))
    options = {"epochs": 11, "batch_size": 1, "learning_rate": 0.1, "order_seed": 0}
    log = train(lambda batch: w * 0 + 2 * next(values), [("w", w)], numbered([1]), **options)
    assert log.losses == tuple(range(1, 12)) and (log.loss_start, log.loss_end) == (1.5, 10.5)


def test_early_stopping_puts_the_best_state_back():
    """Training drives w up for ever; held-out rows are best at 0.3, after the third epoch of steps of 0.1."""
    w = nn.Parameter(torch.tensor([0.0]))

    def losses(batch: list[Example]) -> torch.Tensor:
        value = -w.sum() if torch.is_grad_enabled() else (w.sum() - 0.3).abs()
        return value * torch.ones(len(batch))

    options = {"epochs": 1000, "batch_size": 2, "learning_rate": 0.1, "order_seed": 0, "warmup": 0.0}
    log = train(losses, [("w", w)], numbered([1, 2]), dev=numbered([1]), patience=4, **options)
    assert (log.best_epoch, log.steps, len(log.dev_losses)) == (3, 7, 7)
    assert w.item() == pytest.approx(0.3, abs=1e-3)


def test_a_step_and_an_epoch_have_random_streams_of_their_own():
    seeds = {step_seed(order, step) for order in (-1, 0, 42, 43) for step in range(1, 101)}
    assert len(seeds) == 400
    assert step_seed(42, 7) == step_seed(42, 7)
    orders = [torch.randperm(50, generator=epoch_generator(*key)).tolist() for key in ((1, 1), (1, 2), (2, 1), (1, 1))]
    assert orders[0] == orders[3]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_training_takes_each_epochs_order_and_each_steps_stream():
    """Also across a resume: what a step sees and draws is a function of the order seed and the step alone."""
    toy, seen, drawn = Toy(), [], []

    def losses(batch: list[Example]) -> Tensor:
        seen.append([example.index for example in batch])
        drawn.append(float(torch.rand(())))
        torch.rand(len(seen))  # what one step draws does not move the next one's stream
        return toy.losses(batch)

    train(losses, toy.named, toy.examples, epochs=2, batch_size=4, learning_rate=0.1, order_seed=5)
    epochs = [epoch_batches(toy.examples, 4, epoch_generator(5, epoch), 1) for epoch in (1, 2)]
    assert seen == [[example.index for example in batch] for batch in chain(*epochs)]
    generators = [torch.Generator().manual_seed(step_seed(5, step)) for step in range(1, 7)]
    assert drawn == [float(torch.rand((), generator=generator)) for generator in generators]


def test_a_batch_is_computed_in_parts_of_so_many_tokens(monkeypatch):
    """By hand: 3 texts padded to 3 tokens are 9; a fourth would make 20, two of 5 and 6 tokens 12."""
    monkeypatch.setattr(training, "MOST_TOKENS", 12)
    parts = micro_batches(numbered([3, 6, 2, 20, 1, 5]))
    assert [[len(example.input_ids) for example in part] for part in parts] == [[1, 2, 3], [5, 6], [20]]
    small = numbered([6, 1])
    assert micro_batches(small) == [small]  # in its own order


def test_parts_of_a_batch_train_as_the_whole_batch_does(monkeypatch):
    monkeypatch.setattr(F, "dropout", lambda states, *_, **__: states)

    def trained() -> tuple[TrainingLog, list[Tensor], list[int]]:
        toy, sizes = Toy(), []

        def losses(batch: list[Example]) -> Tensor:
            sizes.append(len(batch))
            return toy.losses(batch)

        log = train(losses, toy.named, toy.examples, epochs=3, batch_size=8, learning_rate=0.1, order_seed=5)
        return log, [parameter.detach() for _, parameter in toy.named], sizes

    whole, expected, sizes = trained()
    assert sizes == [8, 1] * 3
    monkeypatch.setattr(training, "MOST_TOKENS", 20)
    parts, found, sizes = trained()
    assert len(sizes) > 6 and max(sizes) < 8 and sum(sizes) == 27
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)


def facts(log: TrainingLog) -> tuple:
    return log.loss_start, log.loss_end, log.steps, log.dev_losses, log.best_epoch


class Killed(BaseException):
    pass


def killed_at(step: int):
    def progress(done: int, total: int, loss: float) -> None:
        if done == step:
            raise Killed

    return progress


class SavesAfter(Checkpoint):
    """Writes after the given steps of this process only."""

    def __init__(self, path: Path, steps: set[int]) -> None:
        super().__init__(path, "same")
        self.steps, self.seen = steps, 0

    @property
    def due(self) -> bool:
        self.seen += 1
        return self.seen in self.steps


@pytest.mark.parametrize("early_stop", [False, True])
@pytest.mark.parametrize("bucket_batches", [1, 2])
def test_a_training_killed_anywhere_ends_in_the_same_bytes(tmp_path, early_stop, bucket_batches):
    """Three steps an epoch. Killed at each step in turn, with a checkpoint after every step."""
    options = {"early_stop": early_stop, "bucket_batches": bucket_batches}
    whole = Toy()
    expected = whole.train(**options)
    if early_stop:
        assert 1 <= expected.best_epoch == len(expected.dev_losses) - 2 < 10, "stopped early, best state put back"
    for step in range(1, expected.steps + 1):
        path = tmp_path / f"{step}.safetensors"
        with pytest.raises(Killed):
            Toy().train(checkpoint=Checkpoint(path, "same", every_s=0), progress=killed_at(step), **options)
        assert path.exists() == (step > 1)
        again = Toy()
        assert facts(again.train(checkpoint=Checkpoint(path, "same", every_s=0), **options)) == facts(expected)
        assert again.bytes() == whole.bytes(), f"killed at step {step}"


@pytest.mark.parametrize("early_stop", [False, True])
def test_steps_since_the_last_checkpoint_are_done_again(tmp_path, early_stop):
    whole = Toy()
    expected = whole.train(early_stop=early_stop)
    path = tmp_path / "state"
    for steps, kill in (({2}, 5), ({1, 2}, 4), ({3}, 4)):  # goes on from steps 0, 2 and 4
        with pytest.raises(Killed):
            Toy().train(early_stop=early_stop, checkpoint=SavesAfter(path, steps), progress=killed_at(kill + 1))
    again, seen = Toy(), []
    log = again.train(
        early_stop=early_stop, checkpoint=SavesAfter(path, set()), progress=lambda done, total, loss: seen.append(done)
    )
    assert seen[0] == 5 and facts(log) == facts(expected) and again.bytes() == whole.bytes()


@pytest.mark.parametrize("early_stop", [False, True])
def test_a_finished_training_is_not_done_again(tmp_path, early_stop):
    checkpoint = Checkpoint(tmp_path / "state", "same", every_s=0)
    first, second = Toy(), Toy()
    log = first.train(checkpoint=checkpoint, early_stop=early_stop)
    assert facts(second.train(checkpoint=checkpoint, early_stop=early_stop)) == facts(log)
    assert second.calls == 0 and second.bytes() == first.bytes()


def test_a_short_training_is_not_written(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state", "same")
    Toy().train(checkpoint=checkpoint)
    assert not checkpoint.path.exists()


@pytest.mark.parametrize("step", [2, 3, 9])
@pytest.mark.parametrize("early_stop", [False, True])
def test_sigterm_is_heeded_between_two_steps(tmp_path, capsys, step, early_stop):
    """In the middle of an epoch, at its end, and at the last step of all."""
    whole = Toy()
    expected = whole.train(early_stop=early_stop)
    checkpoint = Checkpoint(tmp_path / "state", "same")
    last = min(step, expected.steps)

    def progress(done: int, total: int, loss: float) -> None:
        if done == last:
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted) as stopped, heed_sigterm():
        Toy().train(checkpoint=checkpoint, progress=progress, early_stop=early_stop)
    assert stopped.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr().err
    assert f"after step {last} of" in said and str(checkpoint.path) in said and "run the same command again" in said
    again = Toy()
    assert facts(again.train(checkpoint=checkpoint, early_stop=early_stop)) == facts(expected)
    assert again.bytes() == whole.bytes()


@pytest.mark.parametrize(
    ("change", "named"),
    [({"order_seed": 43}, "order_seed"), ({"epochs": 4}, "epochs"), ({"batch_size": 3}, "batch_size")],
)
def test_the_checkpoint_of_another_training_is_refused(tmp_path, change, named):
    path = tmp_path / "state"
    with pytest.raises(Killed):
        Toy().train(checkpoint=Checkpoint(path, "same", every_s=0), progress=killed_at(4))
    with pytest.raises(ValueError, match=rf"state is .* another training \(differing: {named}\); delete it"):
        Toy().train(checkpoint=Checkpoint(path, "same"), **change)
    with pytest.raises(ValueError, match=r"another training \(differing: texts, settings or code\)"):
        Toy().train(checkpoint=Checkpoint(path, "other"))
    fewer = Toy()
    options = {"epochs": 3, "batch_size": 4, "learning_rate": 0.2, "order_seed": 42}
    with pytest.raises(ValueError, match=r"another training \(differing: parameters\)"):
        train(fewer.losses, fewer.named[:2], fewer.examples, checkpoint=Checkpoint(path, "same"), **options)


def test_the_rate_counts_the_time_of_all_parts(tmp_path):
    """Killed after four slow steps; the rest is quick."""
    path = tmp_path / "state"

    def slow(done: int, total: int, loss: float) -> None:
        time.sleep(0.1)
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        Toy().train(checkpoint=Checkpoint(path, "same", every_s=0), progress=slow)
    log = Toy().train(checkpoint=Checkpoint(path, "same", every_s=1e9))
    assert 27 / 1.5 < log.examples_per_second <= 27 / 0.4


class Waits(TorchDispatchMode):
    """Counts what would make a process wait for its device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        waiting = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::item")
        self.count += func._schema.name in waiting
        return func(*args, **(kwargs or {}))


def test_steps_do_not_wait_for_the_device(monkeypatch):
    monkeypatch.setattr(training, "_look_every", lambda device: 50)
    counts = []
    for epochs in (1, 4):
        with Waits() as waits:
            Toy().train(epochs=epochs, batch_size=1)
        counts.append(waits.count)
    assert counts[0] == counts[1]
    with Waits() as waits:
        torch.ones(3).sum().item()
    assert waits.count == 1, "what is counted is there to be counted"


@pytest.mark.parametrize("look_every", [1, 4, 50])
def test_the_first_loss_that_is_not_finite_is_named(monkeypatch, look_every):
    """Pair 7 gives nan; from then on every loss does."""
    monkeypatch.setattr(training, "_look_every", lambda device: look_every)
    toy = Toy()
    plain = toy.losses
    toy.losses = lambda batch: plain(batch) * (math.nan if any(e.index == 7 for e in batch) else 1)
    first = epoch_batches(toy.examples, 1, epoch_generator(42, 1), 1)
    step = 1 + [batch[0].index for batch in first].index(7)
    with pytest.raises(FloatingPointError, match=rf"loss is nan at step {step} of 27 \(epoch 1, pairs 7\)"):
        toy.train(batch_size=1)


def test_what_only_the_last_step_breaks_is_named_and_not_kept(tmp_path):
    """A loss is that before its step, so that none shows what the last step did: here its gradient is not finite."""
    toy, steps = Toy(), iter((1, 2, 3))

    def losses(batch: list[Example]) -> Tensor:
        value = toy.bias.sum() if next(steps) < 3 else (toy.bias * 0).sum().sqrt()
        return value * torch.ones(len(batch))

    checkpoint = Checkpoint(tmp_path / "state", "same")
    checkpoint.worth_keeping = lambda seconds: True
    options = {"epochs": 1, "batch_size": 4, "learning_rate": 0.2, "order_seed": 42}
    with pytest.raises(FloatingPointError, match="bias is not finite after step 3, the last one; lower the"):
        train(losses, [("bias", toy.bias)], toy.examples, checkpoint=checkpoint, **options)
    assert not checkpoint.path.exists()


def test_progress_gets_every_step_and_the_latest_known_loss(monkeypatch):
    calls: dict[int, list[tuple[int, int, float]]] = {}
    for look_every in (1, 2):
        monkeypatch.setattr(training, "_look_every", lambda device, every=look_every: every)
        calls[look_every] = []
        Toy().train(progress=lambda *call, to=calls[look_every]: to.append(call))
    assert [call[:2] for call in calls[1]] == [call[:2] for call in calls[2]] == [(step, 9) for step in range(1, 10)]
    exact = [loss for *_, loss in calls[1]]
    # looked at: step 1, even steps, and the ends of epochs 3, 6, 9
    assert [loss for *_, loss in calls[2]] == [exact[i] for i in (0, 1, 2, 3, 3, 5, 5, 7, 8)]


def test_a_first_epoch_without_a_finite_held_out_loss_does_not_hide_a_better_one():
    toy, epochs = Toy(), iter([math.nan, 3.0, 2.0, 2.0, 2.5])
    plain = toy.losses
    toy.losses = lambda batch: plain(batch) if torch.is_grad_enabled() else torch.full((3,), next(epochs))
    log = toy.train(early_stop=True, patience=2)
    assert (log.best_epoch, log.dev_losses[1:]) == (3, (3.0, 2.0, 2.0, 2.5))


def test_refusals():
    with pytest.raises(ValueError, match="early stopping needs both"):
        Toy().train(patience=2)
    with pytest.raises(ValueError, match="no examples"):
        train(Toy().losses, Toy().named, [], epochs=1, batch_size=1, learning_rate=0.1, order_seed=0)


@pytest.mark.usefixtures("quick_starts")
@pytest.mark.parametrize(("number", "every_s"), [(signal.SIGTERM, 1e9), (signal.SIGKILL, 0.0)])
def test_a_process_that_gets_a_signal_goes_on_to_the_same_bytes(tmp_path, number, every_s):
    path = tmp_path / "state.safetensors"
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"}
    line = ["python", "-m", "support.toy_training", str(path), str(every_s)]
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for step in process.stdout:
        if int(step) == 20:
            process.send_signal(number)
            break
    _, said = process.communicate(timeout=600)
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL), said
    assert (str(path) in said) == (number == signal.SIGTERM)
    whole, again, seen = Toy(), Toy(), []
    expected = whole.train(epochs=LONG)
    log = again.train(
        epochs=LONG, checkpoint=Checkpoint(path, "same"), progress=lambda done, total, loss: seen.append(done)
    )
    assert 20 <= seen[0] < 3 * LONG, "went on from where it was"
    assert facts(log) == facts(expected) and again.bytes() == whole.bytes()
