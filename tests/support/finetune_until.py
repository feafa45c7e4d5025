"""The command `fute` with a fine-tuning that waits for a signal: its state is on disk after every step.

    python -m support.finetune_until STEP SECONDS finetune_model ...

After step STEP and before the state of the next is written, it makes the file `far` and waits so many seconds.
"""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path

from fute.blackbox import bench, finetune
from fute.cli import main


class Progress(bench.TrainingProgress):
    """Progress that makes the file and waits."""

    def __call__(self, done: int, total: int, loss: float) -> None:
        if done == step + 1:
            Path("far").touch()
            time.sleep(seconds)


if __name__ == "__main__":
    step, seconds = map(int, sys.argv[1:3])
    del sys.argv[1:3]
    bench.TrainingProgress = Progress
    finetune.Checkpoint = functools.partial(finetune.Checkpoint, every_s=0)
    main()
