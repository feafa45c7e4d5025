"""Measure T5-base at full size on one CUDA device: whole embeddings, the Fisher pass, its kernel.

    PYTHONPATH=src python benchmarks/bench_gpu.py            (--dry: a tiny T5 on the CPU, to try the script)

Random weights (for the gate, --surrogate FOLDER gives a saved T5); texts of CrossFit-like length, as many as the
paper's unlabelled texts.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from bench_fisher import speed
from harness import Row, finish, parser, refuse_under_load, say
from torch import nn
from workload import SETTINGS, make_learnable_pairs, make_pairs, make_surrogate, make_texts, save

from fute.config.gate import GateConfig
from fute.config.methods import TaskEmbSettings, TupateSettings
from fute.embeddings import Embedding
from fute.embeddings.embedder import Embedder
from fute.embeddings.pairs import split_pairs
from fute.surrogate.fisher.squares import add_squared_outer_sums, squared_outer_sums_reference
from fute.surrogate.text2text import Pair, encode_pairs

PAPER_MINUTES = {"taskemb": 50, "tupate": 20}  # one MTE of 104,162 texts on one A100, Wang et al., section 4


class Bench:
    def __init__(self, dry: bool) -> None:
        self.dry, self.device = dry, "cpu" if dry else "cuda"
        self.chip = "CPU" if dry else torch.cuda.get_device_name()
        self.shape, count = ("tiny", 160) if dry else ("base", 104_162)
        self.texts = make_texts(count)
        self.recipe = {"batch_size": 16 if dry else 128}

    def seconds(self, work) -> float:
        started = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - started

    def wait(self) -> None:
        if not self.dry:
            torch.cuda.synchronize()

    def matmul_rate(self, dtype: torch.dtype) -> float:
        """Operations per second of a large matrix product, best of ten."""
        n = 256 if self.dry else 8192
        a, b = torch.randn(2, n, n, device=self.device, dtype=dtype)
        return 2 * n**3 / min(self.seconds(lambda: a @ b) for _ in range(10))

    def taskemb(self, path: Path) -> list[Row]:
        embedder = Embedder(path, SETTINGS, TaskEmbSettings(**self.recipe), "random weights")
        trained: list[float] = []

        def after_step(done: int, total: int, loss: float) -> None:
            if done == total:
                self.wait()
                trained.append(time.perf_counter())

        pairs = make_pairs(self.texts)
        started = time.perf_counter()
        whole = self.seconds(lambda: embedder.embed(pairs, progress=after_step))
        training = trained[0] - started
        share = 2 * operations(embedder, pairs) / whole / self.matmul_rate(torch.float32)
        note = f"training {training:.0f} s, Fisher {whole - training:.0f} s; {share:.1%} of the TF32 matmul rate"
        return [self.beside_paper("TaskEmb, one MTE: one epoch and the Fisher", "taskemb", whole, note)]

    def tupate(self, path: Path) -> list[Row]:
        recipe = TupateSettings(**self.recipe, min_relative_distance=0)  # random weights learn nothing
        embedder = Embedder(path, SETTINGS, recipe, "random weights")
        first = self.seconds(lambda: embedder.embed(make_pairs(self.texts, prompt=0)))
        second = self.seconds(lambda: embedder.embed(make_pairs(self.texts, prompt=1)))
        note = f"fp32; the first one, with the encoder pass that all share, {first:.0f} s"
        return [self.beside_paper("TuPaTE, one MTE after the shared encoder pass", "tupate", second, note)]

    def gate(self, path: Path) -> list[Row]:
        """Measure whether the paper's recipe of an MTE (one epoch, 10,000 texts, frozen head) learns at all.

        `path` holds random weights, unless a saved T5 was given by --surrogate. Random weights show whether a prefix
        can raise the labels' tokens above the rest of the vocabulary in so few steps; what a pretrained surrogate
        learns of its texts, only that surrogate shows.
        """
        pairs = make_learnable_pairs(self.texts[: 160 if self.dry else 10_256])
        learned, held_out = split_pairs(pairs, None, GateConfig(least=16, most=256))
        rows = []
        for rate in (1e-3, 1e-2, 1e-1):
            recipe = TupateSettings(**self.recipe, learning_rate=rate, min_relative_distance=0, min_steps=1)
            embedder = Embedder(path, SETTINGS, recipe, "as given")
            made: list[Embedding] = []
            seconds = self.seconds(
                lambda embedder=embedder, made=made: made.append(
                    embedder.embed(learned, held_out=held_out, accuracy=True)
                )
            )
            gate = made[0].meta["gate"]
            note = f"held-out loss {gate['held_out_loss']:.3f} nats, label prior {gate['prior_loss']:.3f}, accuracy "
            note += f"{gate['held_out_accuracy']:.0%}: {'learned' if gate['learned'] else 'did not learn'}"
            size = f"{len(learned):,} texts, {made[0].meta['steps']} steps at {rate:g}"
            name = "TuPaTE, the gate of the paper's MTE recipe"
            rows.append(Row(name, size, self.chip, "label prior", seconds, note=note))
        return rows

    def beside_paper(self, name: str, method: str, seconds: float, note: str) -> Row:
        paper = 60.0 * PAPER_MINUTES[method]
        size = f"{len(self.texts):,} texts, T5-{self.shape}"
        other = "the paper's figure, on an A100"
        return Row(name, size, self.chip, other, seconds, paper, paper / seconds, note=note)

    def kernel(self) -> list[Row]:
        """Measure the squares of 16 examples' gradients of a weight of T5-base's feed-forward shape."""
        drawn = torch.Generator(self.device).manual_seed(0)
        rows, columns = (96, 24) if self.dry else (3072, 768)
        a = torch.randn(16, 64, columns, generator=drawn, device=self.device)
        b = torch.randn(16, 64, rows, generator=drawn, device=self.device)
        total, expected = torch.zeros(rows, columns, device=self.device), squared_outer_sums_reference(a, b)
        add_squared_outer_sums(total, a, b)
        error = float((total - expected).norm() / expected.norm())
        plain = min(self.seconds(lambda: torch.einsum("nto,nti->noi", b, a).square().sum(0)) for _ in range(10))
        ours = min(self.seconds(lambda: add_squared_outer_sums(total, a, b)) for _ in range(10))
        share = 2 * a.shape[1] * 16 * rows * columns / ours / self.matmul_rate(torch.float32)
        return [
            Row(
                name="squares of outer-product gradients",
                size=f"16 examples of 64 tokens, {rows} x {columns}",
                ours="fused kernel",
                other="einsum, square, sum",
                ours_seconds=ours,
                other_seconds=plain,
                ratio=plain / ours,
                error=error,
                note=f"error against fp64; {share:.0%} of the fp32 matmul rate",
            )
        ]


def operations(embedder: Embedder, pairs: list[Pair]) -> float:
    """Operations of one forward and backward pass: 6 per weight of a matrix product and token.

    The exact Fisher needs as many: it computes the gradient of a weight for each example, not for the batch.
    """
    examples = encode_pairs(embedder.surrogate, pairs)
    inputs, targets = (sum(len(e.input_ids) for e in examples), sum(len(e.target_ids) for e in examples))
    total = 0.0
    for name, module in embedder.surrogate.model.named_modules():
        if isinstance(module, nn.Linear):
            reads_inputs = name.startswith("encoder.") or name.endswith(("EncDecAttention.k", "EncDecAttention.v"))
            total += 6.0 * module.weight.numel() * (inputs if reads_inputs else targets)
    return total


def measure(options: argparse.Namespace) -> list[Row]:
    bench = Bench(options.dry)
    say(f"on {bench.chip}, {bench.matmul_rate(torch.bfloat16) / 1e12:.3g} TFLOP/s in bf16 matrix products")
    rows = bench.kernel()
    # the loop over single examples would take hours on all texts
    rows += speed(bench.shape, 64 if options.dry else 512, bench.device)
    with tempfile.TemporaryDirectory() as folder:
        path = save(make_surrogate(bench.shape), Path(folder))
        rows += bench.gate(options.surrogate or path)
        for method in (bench.tupate, bench.taskemb):
            say(f"{method.__name__}, {len(bench.texts):,} texts")
            rows += method(path)
    return rows


def main(arguments: list[str] | None = None) -> None:
    options_of = parser(__doc__.splitlines()[0])
    options_of.add_argument("--dry", action="store_true", help="use a tiny T5 on the CPU, to try the script")
    options_of.add_argument("--surrogate", type=Path, help="folder of a saved T5, for the gate alone")
    options = options_of.parse_args(arguments)
    if not options.dry and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device; run this on a machine with one, or pass --dry to try the script")
    refuse_under_load(options.allow_load or options.dry)
    torch.set_num_threads(options.threads)
    finish(measure(options), options.rows)


if __name__ == "__main__":
    main()
