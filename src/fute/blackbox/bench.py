"""One model's fine-tunings in one process: what they share, and how each is done."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from transformers.utils import logging as transformers_logging

from fute.blackbox.encoding import inputs_of
from fute.blackbox.finetune import finetune
from fute.blackbox.heads import BlackBox, Pretrained, to_device
from fute.blackbox.metrics import majority_score
from fute.blackbox.predict import evaluate
from fute.config.finetuning import FinetuneSettings
from fute.data.rows import Row, read_rows
from fute.device import compute_device
from fute.progress import TrainingProgress
from fute.specs.finetuning import TaskSettings


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A finished fine-tuning: the model, and as facts its score on the evaluation rows (percent) and its losses."""

    box: BlackBox
    facts: dict[str, Any]


class Bench:
    """What the fine-tunings of one model share: its pretrained weights, the device, and each dataset's rows."""

    def __init__(self, model: Path) -> None:
        self.accelerator = Accelerator(cpu=compute_device().type == "cpu")
        transformers_logging.disable_progress_bar()  # hundreds of loads would draw one bar each
        self.pretrained = Pretrained(model)
        self._rows: dict[Path, list[Row]] = {}

    def rows(self, path: Path) -> list[Row]:
        """Rows of a file, read once."""
        if path not in self._rows:
            self._rows[path] = read_rows(path)
        return self._rows[path]

    def fit(
        self, task: TaskSettings, recipe: FinetuneSettings, *, seed: int, train: Path, test: Path, label: str,
        checkpoint: Path, start: list[str], source: BlackBox | None = None, keep_head: bool = False,
    ) -> Fitted:  # fmt: skip
        """Fine-tune on `train`, from the pretrained weights or those of `source`, and score on `test`.

        label: of the progress. checkpoint, start: as in `finetune`. keep_head: as in `Pretrained.with_head`.
        """
        rows, evaluated = self.rows(train), self.rows(test)
        box = self.pretrained.with_head(
            task,
            inputs=inputs_of(rows),
            max_tokens=recipe.max_tokens,
            seed=seed,
            source=source,
            keep_head=keep_head,
        )
        to_device(box, self.accelerator.device)
        texts = recipe.steps * recipe.batch_size if recipe.steps else len(rows) * (recipe.epochs or 1)
        with TrainingProgress(label, texts) as progress:
            log = finetune(
                box,
                rows,
                recipe,
                seed=seed,
                accelerator=self.accelerator,
                progress=progress if self.accelerator.is_main_process else None,
                checkpoint=checkpoint,
                start=start,
            )
        score = evaluate(box, evaluated, batch_size=recipe.eval_batch_size, autocast=recipe.autocast)
        facts = {
            "metric": task.metric,
            "score": score,
            "majority": majority_score(task, rows, evaluated),
            "rows": len(evaluated),
            "steps": log.steps,
            "loss_start": log.loss_start,
            "loss_end": log.loss_end,
            "losses": list(log.losses),
        }
        return Fitted(box, facts)
