"""The state of a training on disk, and SIGTERM as the request to write it and stop.

A cluster's scheduler ends a job with SIGTERM and, seconds later, SIGKILL. Within `heed_sigterm`, a training with a
`Checkpoint` loses nothing to SIGTERM, and at most `every_s` seconds to SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fute.artifacts import atomic

IDENTITY = "texts, settings or code"
"""What differs where the identity of a training does, in words."""

_came = False


class Preempted(SystemExit):
    """Work stopped by SIGTERM at a safe place. The process ends with code 143, as shells report SIGTERM."""

    def __init__(self, message: str) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.message = message

    def __str__(self) -> str:
        return self.message


def _note(*_: object) -> None:
    global _came
    _came = True


@contextlib.contextmanager
def heed_sigterm() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM into a flag inside the block; yields a function that is true once the signal came.

    `Checkpoint` reads the flag. Prints the reason on stderr when the block ends by `Preempted`. At the end the
    earlier handler is put back, and a signal that nobody acted on is raised again for it. Works in the main thread
    only, as Python's `signal` does (ValueError elsewhere). Not to be nested.
    """
    global _came
    _came = False
    before = signal.signal(signal.SIGTERM, _note)
    try:
        yield lambda: _came
    except Preempted as preempted:
        print(preempted, file=sys.stderr, flush=True)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        pending, _came = _came, False
    if pending:
        signal.raise_signal(signal.SIGTERM)


class Checkpoint:
    """The file with the state of one training: safetensors, replaced as a whole or not at all.

    identity: hash of everything that the training depends on (recipe, token ids, code); a file of another training is
    refused. every_s: seconds between two writes.
    """

    def __init__(self, path: Path, identity: str, every_s: float = 300.0) -> None:
        self.path, self.identity, self.every_s = path, identity, every_s
        self._saved_at = time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() - self._saved_at >= self.every_s

    @property
    def asked_to_stop(self) -> bool:
        """True if SIGTERM has come, within `heed_sigterm`."""
        return _came

    def stop_if_asked(self) -> None:
        """Raise Preempted if SIGTERM has come; for the work after a training."""
        if _came:
            raise self.preempted("after the training")

    def preempted(self, where: str) -> Preempted:
        kept = f"the training's state is in {self.path}" if self.path.exists() else "the training was too short to keep"
        return Preempted(f"stopped by SIGTERM {where}; {kept}; run the same command again to go on")

    def worth_keeping(self, seconds: float) -> bool:
        """True if a training of so many seconds is long enough to keep its end; a short one is quickly repeated."""
        return seconds >= self.every_s / 10

    def save(self, run: Mapping[str, Any], tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write the state. run: values that must be equal at `load`. facts: numbers and lists. Both become JSON."""
        metadata = {"run": json.dumps({IDENTITY: self.identity, **run}), "facts": json.dumps(facts)}
        with atomic(self.path) as temporary:
            save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        self._saved_at = time.monotonic()

    def load(self, run: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors (on the CPU) and facts of the last `save`; None if there is no file.

        Raises ValueError, naming the file, if it is of another training or not whole.
        """
        self._sweep()
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                # clones: the file is mapped into memory, and the optimiser will write to these tensors
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            saved_run, facts = json.loads(metadata["run"]), json.loads(metadata["facts"])
        except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{self.path} is not a whole checkpoint ({type(error).__name__}: {error}). A killed run leaves none "
                "such, so the disk may be full or failing; delete the file to train from the start"
            ) from error
        expected = json.loads(json.dumps({IDENTITY: self.identity, **run}))
        if differing := sorted(key for key in expected | saved_run if expected.get(key) != saved_run.get(key)):
            raise ValueError(
                f"{self.path} is the checkpoint of another training (differing: {', '.join(differing)}); delete it to "
                "train from the start"
            )
        return tensors, facts

    def _sweep(self) -> None:
        """Delete temporary files of processes killed while writing: as large as a checkpoint, and never read.

        At the start alone: a job that lives on on a lost node must not delete what its second attempt is writing.
        """
        for temporary in self.path.parent.glob(f".{self.path.name}.*.tmp"):
            temporary.unlink(missing_ok=True)


class TrainingState:
    """State of a training between two steps: everything that a checkpoint must hold.

    losses: one per step, in nats per target token. seconds: spent so far. finished: the parameters are the result.
    """

    def __init__(
        self, named: list[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer, stopping: EarlyStopping | None
    ) -> None:
        self.named, self.optimizer, self.stopping = named, optimizer, stopping
        self.losses: list[float] = []
        self.seconds, self.finished = 0.0, False

    @property
    def stopped(self) -> bool:
        return self.finished or (self.stopping is not None and self.stopping.stopped)

    def finish(self) -> None:
        if self.stopping:
            self.stopping.put_back()
        self.finished = True

    def tensors(self) -> dict[str, Tensor]:
        """Parameters; until training is finished also the optimiser's tensors and the best parameters."""
        tensors = {f"parameter/{name}": parameter for name, parameter in self.named}
        if self.finished:
            return tensors
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{slot}": tensor for slot, tensor in slots.items()}
        if self.stopping:
            tensors |= {f"best/{index}": tensor for index, tensor in enumerate(self.stopping.best)}
        return tensors

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"losses": self.losses, "seconds": self.seconds, "finished": self.finished}
        if self.stopping:
            facts |= {"dev_losses": self.stopping.losses, "best_epoch": self.stopping.best_epoch}
        return facts

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Return to the state that `tensors()` and `facts()` described."""
        for name, parameter in self.named:
            parameter.copy_(tensors[f"parameter/{name}"])
        slots: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith("optimizer/"):
                _, index, slot = key.split("/")
                slots.setdefault(int(index), {})[slot] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": slots})
        self.losses, self.seconds, self.finished = facts["losses"], facts["seconds"], facts["finished"]
        if self.stopping:
            self.stopping.losses, self.stopping.best_epoch = facts["dev_losses"], facts["best_epoch"]
            saved = sum(key.startswith("best/") for key in tensors)
            self.stopping.best = [tensors[f"best/{index}"] for index in range(saved)]


class EarlyStopping:
    """Keeps the parameters of the best epoch; `best_epoch` is 0 until an epoch has a finite held-out loss."""

    def __init__(self, weights: list[nn.Parameter], patience: int) -> None:
        self.weights, self.patience = weights, patience
        self.losses: list[float] = []
        self.best_epoch = 0
        self.best: list[Tensor] = []

    @property
    def stopped(self) -> bool:
        return len(self.losses) - self.best_epoch >= self.patience

    def after_epoch(self, loss: float) -> None:
        """Record the held-out loss of an epoch."""
        best = self.losses[self.best_epoch - 1] if self.best_epoch else math.inf
        self.losses.append(loss)
        if loss < best:
            self.best_epoch = len(self.losses)
            self.best = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def put_back(self) -> None:
        """Set the parameters to the values of the best epoch."""
        if not self.best:
            raise FloatingPointError(f"no epoch had a finite held-out loss: {self.losses}; lower the learning rate")
        for weight, best in zip(self.weights, self.best, strict=True):
            weight.copy_(best)
