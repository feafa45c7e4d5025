"""The exact Fisher diagonal by hooks against a loop of single backward passes, on a random T5.

    PYTHONPATH=src python benchmarks/bench_fisher.py [--examples 16] [--tokens 40] [--threads 2]

Prints both times, their ratio, and the largest relative error of a tensor. Refuses to start on a busy machine.
"""

import argparse
import os
import sys
import time

import torch
from transformers import T5Config, T5ForConditionalGeneration

from fute.surrogate.fisher import diagonal_fisher, loop_fisher
from fute.surrogate.text2text import IGNORED

MAX_LOAD = 0.7


def make_model() -> T5ForConditionalGeneration:
    """The shape of t5-small, 60.5 M parameters, with random weights."""
    torch.manual_seed(0)
    return T5ForConditionalGeneration(T5Config(decoder_start_token_id=0)).eval()


def make_batch(model: T5ForConditionalGeneration, examples: int, tokens: int) -> dict[str, torch.Tensor]:
    """Texts of tokens/2 to tokens tokens, targets of 2 to 4."""
    generator = torch.Generator().manual_seed(0)

    def integers(low: int, high: int, size: tuple[int, ...]) -> torch.Tensor:
        return torch.randint(low, high, size, generator=generator)

    lengths, target_lengths = integers(tokens // 2, tokens + 1, (examples, 1)), integers(2, 5, (examples, 1))
    ids = integers(2, model.config.vocab_size, (examples, tokens))
    mask = (torch.arange(tokens) < lengths).long()
    labels = integers(2, model.config.vocab_size, (examples, 4))
    labels[torch.arange(4) >= target_lengths] = IGNORED
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}


def seconds(function, repeats: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Best of `repeats` runs after one that is not timed, and the last result."""
    function()
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - started)
    return best, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--allow-load", action="store_true", help="measure even on a busy machine")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    if load > MAX_LOAD and not options.allow_load:
        sys.exit(f"the machine is busy (load {load:.2f} > {MAX_LOAD}); wait, or pass --allow-load")
    torch.set_num_threads(options.threads)
    model = make_model()
    batch = make_batch(model, options.examples, options.tokens)
    print(
        f"T5, {model.num_parameters() / 1e6:.1f} M parameters, {options.examples} examples of at most "
        f"{options.tokens} tokens, {options.threads} threads, load {load:.2f}"
    )
    print("reduce     loop s   hooks s   ratio   largest relative error of a tensor")
    for reduce in ("none", "rows"):
        loop_time, expected = seconds(lambda r=reduce: loop_fisher(model, [batch], reduce=r), options.repeats)
        hook_time, found = seconds(lambda r=reduce: diagonal_fisher(model, [batch], reduce=r), options.repeats)
        error = max(float((found[n] - v).norm() / v.norm()) for n, v in expected.items())
        print(f"{reduce:8} {loop_time:8.2f} {hook_time:9.2f} {loop_time / hook_time:7.2f}   {error:.1e}")


if __name__ == "__main__":
    main()
