"""What `test_launch` runs on two processes: trains a tiny T5 in some ways.

    python -m support.twin HOW FOLDER

HOW: `fail`, on the second process, or `preempt`: train in all ways, then go on until a signal.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from transformers import T5Config, T5ForConditionalGeneration

from fute.config.surrogate import SurrogateSettings
from fute.surrogate.checkpoint import Checkpoint, heed_sigterm
from fute.surrogate.text2text import Example, Surrogate, collate, negative_log_likelihood, target_logits
from fute.surrogate.training import train


class Tokenizer:
    pad_token_id, eos_token_id = 0, 1


def examples(count: int) -> list[Example]:
    made = torch.Generator().manual_seed(count)

    def draw(low: int, high: int, size: int) -> tuple[int, ...]:
        return tuple(torch.randint(low, high, (size,), generator=made).tolist())

    return [Example(i, draw(2, 30, 3 + i % 5), (*draw(2, 30, 1 + i % 3), 1), False, False) for i in range(count)]


def trained(**options: object) -> dict[str, object]:
    """What training changed, in one vector, and its log."""
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 1, "num_heads": 4}
    model = T5ForConditionalGeneration(T5Config(vocab_size=30, decoder_start_token_id=0, **sizes)).eval()
    surrogate = Surrogate(model, Tokenizer(), SurrogateSettings(family="encoder-decoder"), frozen=False)
    scale = torch.nn.Parameter(torch.ones(30))

    def losses(batch):
        logits, targets = target_logits(model, collate(surrogate, batch), use_cache=False)
        drawn = torch.rand(30) if torch.is_grad_enabled() else 0.5  # the same on every process
        return negative_log_likelihood(logits + scale * drawn, targets).sum(1)

    named = [*model.named_parameters(), ("scale", scale)]

    def flat() -> torch.Tensor:
        return torch.cat([parameter.detach().flatten() for _, parameter in named])

    before = flat()
    fixed = {"batch_size": 4, "learning_rate": 1e-3, "order_seed": 7, "epochs": 3, "weight_decay": 0.1}
    log = train(losses, named, **fixed | options)
    return {
        "change": flat() - before,
        "steps": log.steps,
        "losses": (log.loss_start, log.loss_end),
        "dev_losses": log.dev_losses,
        "best_epoch": log.best_epoch,
    }


WAYS = {
    "even": {"examples": examples(16)},
    "the second process has none of the last batch": {"examples": examples(5), "epochs": 6},
    "early stopping, odd rows and batches": {
        "examples": examples(8),
        "dev": examples(11),
        "patience": 2,
        "epochs": 30,
        "learning_rate": 0.03,
    },
}
LONG = {"examples": examples(16), "epochs": 40}


def main() -> None:
    accelerator = Accelerator(cpu=True)
    folder = Path(sys.argv[2])
    if sys.argv[1] == "fail":
        if accelerator.process_index == 1:
            raise RuntimeError("process 1 has a fault of its own")
        trained(**LONG)
    found = {name: trained(**options) for name, options in WAYS.items()} | {"world": accelerator.num_processes}
    found["threads"] = torch.get_num_threads()
    if accelerator.is_main_process:
        torch.save(found, folder / "found.pt")
    if sys.argv[1] == "preempt":

        def progress(done: int, total: int, loss: float) -> None:
            if done == 25:
                (folder / "far").touch()
            if done >= 25:
                time.sleep(0.05)

        with heed_sigterm():
            trained(**LONG, checkpoint=Checkpoint(folder / "state", "long"), progress=progress)
    accelerator.end_training()


if __name__ == "__main__":
    main()
