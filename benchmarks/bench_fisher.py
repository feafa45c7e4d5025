"""Compare the exact Fisher diagonal of every parameter with one backward pass per example; measure its memory.

    PYTHONPATH=src python benchmarks/bench_fisher.py [--texts 512]

Both sides process the same chunks of the texts in turn, so that other load on the machine affects both. Memory is
the peak of a new process that makes the model and does one pass.
"""

import argparse
import json
import time

import torch
from harness import Row, finish, in_fresh_process, parser, peak_mib, say, wait_until_quiet
from torch import Tensor
from workload import make_batches, make_pairs, make_surrogate, make_texts

from fute.surrogate.fisher.accumulator import reduced
from fute.surrogate.fisher.diagonal import diagonal_fisher, loop_fisher

BATCH = 16
CHUNKS = 8


def largest_error(values: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Largest relative error of a tensor; infinite if the two sides have different tensors."""
    if values.keys() != expected.keys():
        return float("inf")
    return max(float((values[name] - value).norm() / value.norm()) for name, value in expected.items())


def speed(shape: str, texts: int, device: str = "cpu") -> list[Row]:
    surrogate = make_surrogate(shape, device)
    model, size = surrogate.model, f"{texts} texts, T5 of {surrogate.model.num_parameters() / 1e6:.1f} M parameters"
    batches = make_batches(surrogate, make_pairs(make_texts(texts)), BATCH)
    chunks = min(CHUNKS, len(batches))
    sides = {
        "all": lambda part: diagonal_fisher(model, part),
        "rows": lambda part: diagonal_fisher(model, part, reduce="rows"),
        "loop": lambda part: loop_fisher(model, part),
    }
    for side in sides.values():  # the first call of each side is slow
        side([{name: tensor[:2] for name, tensor in batches[0].items()}])
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    errors: dict[str, list[float]] = {"all": [], "rows": []}
    for chunk in range(chunks):
        fishers = {}
        for name, side in sides.items():
            started = time.perf_counter()
            fishers[name] = side(batches[chunk::chunks])
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
        rows = {name: reduced(value, "rows") for name, value in fishers["loop"].items()}
        errors["all"].append(largest_error(fishers["all"], fishers["loop"]))
        errors["rows"].append(largest_error(fishers["rows"], rows))
        times = ", ".join(f"{name} {taken[-1]:.1f} s" for name, taken in seconds.items())
        say(f"Fisher, chunk {chunk + 1} of {chunks}: {times}")
    titles = {"all": "exact Fisher, every entry", "rows": "exact Fisher, row means"}
    return [
        Row(
            name=title,
            size=size,
            ours=f"one backward a batch of {BATCH}",
            other="one backward an example",
            ours_seconds=sum(seconds[name]),
            other_seconds=sum(seconds["loop"]),
            ratio=sum(seconds["loop"]) / sum(seconds[name]),
            required=">= 2.5" if name == "all" else "",
            error=max(errors[name]),
            note=_spread(seconds["loop"], seconds[name]),
        )
        for name, title in titles.items()
    ]


def _spread(other: list[float], ours: list[float]) -> str:
    ratios = [b / a for a, b in zip(ours, other, strict=True)]
    return f"ratio of a chunk {min(ratios):.2f} to {max(ratios):.2f}"


def memory(options: argparse.Namespace) -> list[Row]:
    """Memory for a quarter of the texts, and for the same texts four times: more batches, none of them longer."""
    quarter, peaks = options.texts // 4, {}
    for name, times in {"model": 0, "quarter": 1, "all": 4}.items():
        arguments = ["--texts", str(quarter), "--peak-of", str(times), "--threads", str(options.threads)]
        peaks[name] = in_fresh_process(__file__, *arguments, "--model", options.model)["mib"]
        say(f"peak memory, {quarter * times} texts: {peaks[name]:,.0f} MiB")
    return [
        Row(
            name="memory of the exact Fisher of four times as many texts",
            size=f"{quarter} texts, and the same four times",
            ours=f"{4 * quarter} texts",
            other=f"{quarter} texts",
            ratio=peaks["all"] / peaks["quarter"],
            required="< 1.1",
            ours_mib=peaks["all"],
            other_mib=peaks["quarter"],
            note=f"larger over smaller; Python, torch and the model alone take {peaks['model']:,.0f} MiB",
        )
    ]


def one_pass(options: argparse.Namespace) -> None:
    surrogate = make_surrogate(options.model)
    if options.peak_of:
        pairs = make_pairs(make_texts(options.texts)) * options.peak_of
        diagonal_fisher(surrogate.model, make_batches(surrogate, pairs, BATCH))
    print(json.dumps({"mib": peak_mib()}))


def main() -> None:
    options_of = parser(__doc__.splitlines()[0])
    options_of.add_argument("--texts", type=int, default=512)
    options_of.add_argument("--model", choices=("tiny", "small"), default="small", help="tiny: to try the script")
    options_of.add_argument(
        "--peak-of", type=int, help="print the peak memory of one pass over the texts, repeated so many times"
    )
    options = options_of.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak_of is not None:
        one_pass(options)
        return
    wait_until_quiet(options.allow_load)
    finish([*speed(options.model, options.texts), *memory(options)], options.rows)


if __name__ == "__main__":
    main()
