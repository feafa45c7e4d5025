"""Progress of long work: a bar on a terminal, plain lines with rate and time left in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


class Track:
    """Counts finished units of `total`; `advance(n)` reports. Use as a context manager."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._started = self._last = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Track:
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(f"{self.unit} {{task.fields[rate]}}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(self.label, total=self.total, rate="")
            self._bar.start()
        return self

    @property
    def rate(self) -> float:
        """Finished units a second since the start."""
        return self.done / max(time.monotonic() - self._started, 1e-9)

    def advance(self, n: int = 1) -> None:
        self.done += n
        if self._bar:
            self._bar.update(self._task, completed=self.done, rate=f"{self.rate:.1f}/s")
        elif time.monotonic() - self._last >= LINE_EVERY_S:
            self._last = time.monotonic()
            left = (self.total - self.done) / max(self.rate, 1e-9)
            print(
                f"{self.label}: {self.done}/{self.total} {self.unit}, {self.rate:.2f}/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None:
            seconds = time.monotonic() - self._started
            print(f"{self.label}: {self.done} {self.unit} in {seconds:.1f} s", file=sys.stderr, flush=True)


class StepLines:
    """Says where a long training is, at most every ten seconds; short ones say nothing."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._started = self._last = time.monotonic()

    def __call__(self, done: int, total: int, loss: float) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_EVERY_S:
            self._last = now
            rate = done / (now - self._started)
            print(
                f"  {self.label}: step {done}/{total}, loss {loss:.3f}, {rate:.2f} steps/s, "
                f"{(total - done) / rate:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
