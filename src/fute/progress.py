"""Progress of long work: a bar on a terminal, plain lines with rate and time left in a log."""

from __future__ import annotations

import os
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


def time_left(seconds: float) -> str:
    """Format seconds as `68 s left`, or from two minutes on `3 min left`."""
    return f"{seconds:.0f} s left" if seconds < 120 else f"{seconds / 60:.0f} min left"


def _bar(label: str, total: int, detail: str) -> tuple[Progress, TaskID]:
    """A bar that is on the terminal, and its only task. detail: what stands behind the counts."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task(label, total=total, detail=detail)
    bar.start()
    return bar, task


class Track:
    """Count finished units of `total`; `advance(n)` reports progress. Use as a context manager.

    Of several processes (`fute.launch`) the first one reports.
    brief: write nothing to a log about work that ends within ten seconds.
    """

    def __init__(self, label: str, total: int, unit: str, *, brief: bool = False) -> None:
        self.label, self.total, self.unit, self.brief = label, total, unit, brief
        self.done = 0
        self._started = self._last = time.monotonic()
        self._bar: Progress | None = None
        self._silent = os.environ.get("RANK", "0") != "0"  # set by torchrun

    def __enter__(self) -> Track:
        if sys.stderr.isatty() and not self._silent:
            self._bar, self._task = _bar(self.label, self.total, self.unit)
        return self

    @property
    def rate(self) -> float:
        """Finished units per second since the start."""
        return self.done / max(time.monotonic() - self._started, 1e-9)

    def advance(self, n: int = 1) -> None:
        self.done += n
        if self._bar:
            self._bar.update(self._task, completed=self.done, detail=f"{self.unit} {self.rate:.1f}/s")
        elif time.monotonic() - self._last >= LINE_EVERY_S:
            self._last = time.monotonic()
            left = (self.total - self.done) / max(self.rate, 1e-9)
            self._say(f"{self.done}/{self.total} {self.unit}, {self.rate:.2f}/s, {time_left(left)}")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None and not (self.brief and time.monotonic() - self._started < LINE_EVERY_S):
            self._say(f"{self.done} {self.unit} in {time.monotonic() - self._started:.1f} s")

    def _say(self, words: str) -> None:
        if not self._silent:
            print(f"{self.label}: {words}", file=sys.stderr, flush=True)


class TrainingProgress:
    """Progress of learning one vector: a bar on a terminal; in a log at most one line every ten seconds.

    texts: (x, y) pairs over all epochs of one training. Call it after each step with the steps done, the number of
    all steps and the loss; each order seed starts again from step 1.
    """

    def __init__(self, label: str, texts: int) -> None:
        self.label, self.texts = label, texts
        self._bar: Progress | None = None
        self._begin(0)

    def _begin(self, done: int) -> None:
        self._first, self._done = done, done
        self._started = self._last = time.monotonic()

    def __call__(self, done: int, total: int, loss: float) -> None:
        if done <= self._done:
            self._begin(done - 1)
        elif self._done == 0 and done > 1:
            self._begin(done)  # a training that continues from a checkpoint
        self._done = done
        now = time.monotonic()
        rate = (done - self._first) / max(now - self._started, 1e-9)
        speed = f"loss {loss:.3f}, {rate * self.texts / total:.1f} texts/s"
        if sys.stderr.isatty():
            self._draw(done, total, speed)
        elif now - self._last >= LINE_EVERY_S:
            self._last = now
            left = (total - done) / max(rate, 1e-9)
            print(f"  {self.label}: step {done}/{total}, {speed}, {time_left(left)}", file=sys.stderr, flush=True)

    def _draw(self, done: int, total: int, speed: str) -> None:
        detail = f"steps, {speed}"
        if self._bar is None:
            self._bar, self._task = _bar(f"  {self.label}", total, detail)
        self._bar.update(self._task, completed=done, total=total, detail=detail)

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()
