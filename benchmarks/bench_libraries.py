"""Compare our exact Fisher diagonal with that of other libraries: speed, memory and error.

    PYTHONPATH=src python benchmarks/bench_libraries.py [--texts 32]        (after `make .venv/bench.ok`)

opacus: per-example gradients of `GradSampleModule`, squared and summed. It needs train mode (dropout set to 0).
T5's relative position bias is looked up by (query, key) pairs, without a batch dimension: opacus raises no error and
takes query positions for examples. So these two tables are frozen for opacus and left out by all sides.

curvlinops: its empirical Fisher is a matrix-vector product. Its diagonal can only be estimated, by random vectors, and
its "examples" are single target tokens. On a CPU it needs eager attention.

Each side runs in new processes, in turn, all on the same model and batches.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from bench_fisher import largest_error
from curvlinops import EFLinearOperator, hutchinson_diag
from harness import Row, finish, in_fresh_process, parser, peak_mib, say, wait_until_quiet
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn
from transformers import PreTrainedModel
from workload import make_batches, make_pairs, make_surrogate, make_texts

from fute.surrogate.dropout import set_dropout
from fute.surrogate.fisher.diagonal import diagonal_fisher, loop_fisher
from fute.surrogate.text2text import Batch, negative_log_likelihood, target_logits

# opacus holds one gradient of 242 MB per text of a batch; of 1, 2, 4, 8 and 16 texts, 4 were the fastest
BATCH = {"ours": 16, "opacus": 4, "curvlinops": 16, "loop": 16}
MATVECS = 4
TURNS = 2
Pass = Callable[[list[Batch]], dict[str, Tensor]]


def included(name: str) -> bool:
    return "relative_attention_bias" not in name


def opacus_pass(model: PreTrainedModel) -> Pass:
    set_dropout(model, 0.0)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(included(name))
    wrapped = GradSampleModule(model.train(), loss_reduction="sum")
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}

    def run(batches: list[Batch]) -> dict[str, Tensor]:
        sums = {name: torch.zeros_like(p) for name, p in trained.items()}
        for batch in batches:
            # the hooks are on the model's own modules, so it is called without the wrapper
            negative_log_likelihood(*target_logits(model, batch, use_cache=False)).sum().backward()
            for name, parameter in trained.items():
                sums[name] += parameter.grad_sample.square_().sum(0)
            wrapped.zero_grad(set_to_none=True)
        return _means(sums, batches)

    return run


class _FlatLogits(nn.Module):
    """Logits of all target positions of a batch, (B K, V), the shape that curvlinops' cross-entropy needs."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        return target_logits(self.model, batch, use_cache=False)[0].flatten(0, 1)


def curvlinops_pass(model: PreTrainedModel) -> Pass:
    for part in (model.encoder, model.decoder):
        part.set_attn_implementation("eager")
    trained = {name: p for name, p in model.named_parameters() if included(name)}

    def run(batches: list[Batch]) -> dict[str, Tensor]:
        torch.manual_seed(0)
        operator = EFLinearOperator(
            _FlatLogits(model),
            nn.CrossEntropyLoss(reduction="sum"),
            list(trained.values()),
            [(batch, batch["labels"].flatten()) for batch in batches],
            batch_size_fn=lambda batch: len(batch["labels"]),
            check_deterministic=False,
        )
        parts = hutchinson_diag(operator, MATVECS).split([p.numel() for p in trained.values()])
        sums = {name: part.view_as(p) for part, (name, p) in zip(parts, trained.items(), strict=True)}
        return _means(sums, batches)

    return run


def _means(sums: dict[str, Tensor], batches: list[Batch]) -> dict[str, Tensor]:
    count = sum(len(batch["labels"]) for batch in batches)
    return {name: total / count for name, total in sums.items()}


SIDES: dict[str, Callable[[PreTrainedModel], Pass]] = {
    "ours": lambda model: lambda batches: diagonal_fisher(model, batches, include=included),
    "opacus": opacus_pass,
    "curvlinops": curvlinops_pass,
    "loop": lambda model: lambda batches: loop_fisher(model, batches, include=included),
}


def one_side(options: argparse.Namespace) -> None:
    surrogate = make_surrogate(options.model)
    batches = make_batches(surrogate, make_pairs(make_texts(options.texts)), BATCH[options.side])
    run = SIDES[options.side](surrogate.model)
    run([{name: tensor[:2] for name, tensor in batches[0].items()}])  # the first call is slow
    started = time.perf_counter()
    values = run(batches)
    seconds = time.perf_counter() - started
    peak = peak_mib()
    torch.save(values, options.values)
    print(json.dumps({"seconds": seconds, "mib": peak}))


def measure(options: argparse.Namespace) -> list[Row]:
    results_of: dict[str, list[dict]] = {side: [] for side in SIDES}
    errors: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        common = ["--texts", str(options.texts), "--threads", str(options.threads), "--model", options.model]
        files = {side: Path(folder) / f"{side}.pt" for side in SIDES}
        for turn in range(TURNS):
            for side in SIDES:
                result = in_fresh_process(__file__, *common, "--side", side, "--values", str(files[side]))
                results_of[side].append(result)
                say(f"turn {turn + 1} of {TURNS}, {side}: {result['seconds']:.1f} s, {result['mib']:,.0f} MiB")
        expected = torch.load(files["loop"], mmap=True)
        for side in ("ours", "opacus", "curvlinops"):
            errors[side] = largest_error(torch.load(files[side], mmap=True), expected)
    best = {side: min(results, key=lambda result: result["seconds"]) for side, results in results_of.items()}
    notes = {
        "opacus": "relative position bias left out on both sides: opacus takes its query positions for examples",
        "curvlinops": f"has no exact diagonal: estimated by {MATVECS} random vectors, over single target tokens",
    }
    return [
        Row(
            name=f"exact Fisher, every entry, and {side}",
            size=f"{options.texts} texts",
            ours=f"batches of {BATCH['ours']}",
            other=f"{side}, batches of {BATCH[side]}",
            ours_seconds=best["ours"]["seconds"],
            other_seconds=best[side]["seconds"],
            ratio=best[side]["seconds"] / best["ours"]["seconds"],
            error=errors["ours"],
            other_error=errors[side],
            ours_mib=best["ours"]["mib"],
            other_mib=best[side]["mib"],
            note=note,
        )
        for side, note in notes.items()
    ]


def main() -> None:
    options_of = parser(__doc__.splitlines()[0])
    options_of.add_argument("--texts", type=int, default=32)
    options_of.add_argument("--model", choices=("tiny", "small"), default="small", help="tiny: to try the script")
    options_of.add_argument("--side", choices=SIDES, help="run this side alone, and print its time and peak memory")
    options_of.add_argument("--values", type=Path, help="with --side: file for its result")
    options = options_of.parse_args()
    torch.set_num_threads(options.threads)
    if options.side:
        one_side(options)
        return
    wait_until_quiet(options.allow_load)
    finish(measure(options), options.rows)


if __name__ == "__main__":
    main()
