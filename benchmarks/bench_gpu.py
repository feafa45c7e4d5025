"""Check and measure T5 on one CUDA device, one part after another: `bash benchmarks/gpu.sh OUT`.

    python benchmarks/bench_gpu.py --insert OUT/gpu.json          puts the table into docs/performance.md

Correctness comes first: the Fisher kernel, the Fisher pass, vectors, loss curves. Then T5-base at full size, over as
many texts as the paper's unlabelled ones, of CrossFit-like length. Each part has a process and a time limit of its
own, so that none takes another with it, and the report is written after each. Weights are random unless --surrogate
names the folder of a saved T5. --dry tries all parts in this process, with tiny sizes on the CPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_fisher import speed
from harness import ROOT, Row, in_fresh_process, insert_into_docs, machine, render, say
from torch import nn
from workload import SETTINGS, make_learnable_pairs, make_pairs, make_surrogate, make_texts, save

from fute.config.gate import GateConfig
from fute.config.methods import TaskEmbSettings, TupateSettings
from fute.device import compute_device
from fute.embeddings import Embedding
from fute.embeddings.embedder import Embedder
from fute.embeddings.pairs import split_pairs
from fute.surrogate.fisher.squares import add_squared_outer_sums, squared_outer_sums_reference
from fute.surrogate.states import States, compute_states
from fute.surrogate.text2text import Pair, encode_pairs

DOCS = ROOT / "docs" / "performance.md"
PAPER_MINUTES = {"taskemb": 50, "tupate": 20}  # one MTE of 104,162 texts on one A100, Wang et al., section 4
SECONDS = 520
"""For all parts together; 9 minutes with what comes before and after them."""
LEAST_SECONDS = 15
"""A part is not started with less."""
SHARE = 16
"""A part at full size first runs on one text of so many: to warm up, and to see whether the time allows all of them."""
KERNEL_ERROR, FISHER_ERROR = 1e-4, 2e-2
"""Largest relative errors: of sums of fp32 products; of a tensor's squares, where TF32 rounds other products."""


@dataclass(frozen=True)
class Sizes:
    """base, small: shapes of T5. texts: of one MTE; few: of a vector that the CPU computes too. steps: of a curve."""

    base: str = "base"
    small: str = "small"
    texts: int = 104_162
    few: int = 128
    fisher: int = 512
    steps: int = 40
    gate: int = 10_256
    matrix: int = 8192
    batch: int = 128


DRY = Sizes("tiny", "tiny", texts=160, few=32, fisher=24, steps=4, gate=160, matrix=128, batch=16)


@dataclass(frozen=True)
class Bench:
    """What a part works with. base, small: folders of saved T5s. until: when it has to be done, by the clock."""

    sizes: Sizes
    device: str
    base: Path
    small: Path
    weights: str
    until: float

    @property
    def chip(self) -> str:
        return "CPU" if self.device == "cpu" else torch.cuda.get_device_name()

    def seconds(self, work: Callable[[], object]) -> float:
        self.wait()
        started = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - started

    def wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()

    def peak(self) -> str:
        if self.device == "cpu":
            return ""
        return f"; peak {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"

    def matmul_rate(self, dtype: torch.dtype, precision: str = "highest") -> float:
        """Operations per second of a large matrix product, best of ten. precision: `high` is TF32 for fp32."""
        n, before = self.sizes.matrix, torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        a, b = torch.randn(2, n, n, device=self.device, dtype=dtype)
        best = min(self.seconds(lambda: a @ b) for _ in range(10))
        torch.set_float32_matmul_precision(before)
        return 2 * n**3 / best

    def embedder(self, path: Path, recipe: TaskEmbSettings | TupateSettings, dtype: str = "float32") -> Embedder:
        return Embedder(path, SETTINGS.model_copy(update={"dtype": dtype}), recipe, "as measured")


# --- correctness ----------------------------------------------------------------------------------------------


def kernel(bench: Bench) -> Iterator[Row]:
    """The squares of 16 examples' gradients of a weight of T5-base's feed-forward shape, in both precisions."""
    errors = []
    for dtype, tokens in ((torch.float32, 64), (torch.bfloat16, 64), (torch.float32, 5)):
        row = squares(bench, dtype, tokens)
        errors.append(row.error)
        yield row
    refuse_errors(errors, KERNEL_ERROR)


def squares(bench: Bench, dtype: torch.dtype, tokens: int) -> Row:
    rows, columns = (3072, 768) if bench.device != "cpu" else (96, 24)
    drawn = torch.Generator(bench.device).manual_seed(0)
    a = torch.randn(16, tokens, columns, generator=drawn, device=bench.device).to(dtype)
    b = torch.randn(16, tokens, rows, generator=drawn, device=bench.device).to(dtype)
    total, expected = torch.zeros(rows, columns, device=bench.device), squared_outer_sums_reference(a, b)
    add_squared_outer_sums(total, a, b)
    error = float((total - expected).norm() / expected.norm())

    def plainly() -> None:
        torch.einsum("nto,nti->noi", b, a).float().square().sum(0)

    plain = min(bench.seconds(plainly) for _ in range(10))
    ours = min(bench.seconds(lambda: add_squared_outer_sums(total, a, b)) for _ in range(10))
    rate, name = bench.matmul_rate(dtype), str(dtype).removeprefix("torch.")
    return Row(
        name="squares of outer-product gradients, the kernel",
        size=f"16 examples of {tokens} tokens, {rows} x {columns}, {name}",
        ours="fused kernel", other="einsum, square, sum", ours_seconds=ours, other_seconds=plain,
        ratio=plain / ours, error=error,
        note=f"error against fp64; {2 * 16 * tokens * rows * columns / ours / rate:.0%} of the matrix rate "
        f"measured in {name}, {rate / 1e12:.3g} TFLOP/s",
    )  # fmt: skip


def fisher(bench: Bench) -> Iterator[Row]:
    """The Fisher pass against the loop over single examples, on few texts."""
    compute_device()  # the precision of the steps
    rows = speed(bench.sizes.small, bench.sizes.few, bench.device)
    yield from rows
    refuse_errors([row.error for row in rows], FISHER_ERROR)


def refuse_errors(errors: list[float], most: float) -> None:
    """Fail the part for a result that is wrong, after its rows are written."""
    if not max(errors) <= most:
        raise ArithmeticError(f"the largest error is {max(errors):.1e}, more than {most:.0e}: the results are wrong")


def vectors(bench: Bench) -> Iterator[Row]:
    """Vectors of a few texts on this device, and the same on the CPU."""
    here, on_cpu = few_vectors(bench), {}
    if bench.device == "cpu":
        on_cpu = few_vectors(bench)
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "vectors.npz")
            arguments = ["--vectors-on-cpu", file, "--small", str(bench.small), "--base", str(bench.base)]
            in_fresh_process(__file__, *arguments, CUDA_VISIBLE_DEVICES="-1")
            with np.load(file) as loaded:
                on_cpu = dict(loaded)
    for method, start in (("tupate", here["start"]), ("taskemb", 0.0)):
        moved, expected = here[method] - start, on_cpu[method] - start
        cosine = float(moved @ expected / np.linalg.norm(moved) / np.linalg.norm(expected))
        yield Row(
            name=f"{method} vector on {bench.chip}", size=f"{bench.sizes.few} texts, T5-{bench.sizes.small}'s shape",
            ours=bench.chip, other="CPU, fp32", ratio=cosine, required=">= 0.99",
            error=float(np.linalg.norm(moved - expected) / np.linalg.norm(expected)),
            note="ratio: cosine" + (" of how far both moved" if method == "tupate" else ""),
        )  # fmt: skip


def few_vectors(bench: Bench) -> dict[str, np.ndarray]:
    pairs = make_pairs(make_texts(bench.sizes.few))
    tupate = bench.embedder(bench.small, TupateSettings(batch_size=16, min_relative_distance=0, min_steps=1))
    learned = tupate.embed(pairs)
    taskemb = bench.embedder(bench.small, TaskEmbSettings(batch_size=16, min_steps=1)).embed(pairs)
    return {"tupate": learned.vector, "start": learned.init, "taskemb": taskemb.vector}


def curves(bench: Bench) -> Iterator[Row]:
    """Losses of every step in the precision that steps train in, and in full fp32."""
    pairs = make_learnable_pairs(make_texts(16 * bench.sizes.steps))
    taskemb = TaskEmbSettings(batch_size=16, learning_rate=1e-3, min_steps=1, reduce="tensors")
    tupate = TupateSettings(batch_size=16, learning_rate=0.1, min_relative_distance=0, min_steps=1)
    for recipe, dtype, what in (
        (taskemb, "float32", "TaskEmb, matrix products in TF32"),
        (tupate, "float32", "TuPaTE, matrix products in TF32"),
        (tupate, "bfloat16", "TuPaTE, frozen weights in bfloat16"),
    ):
        exact = losses(bench.embedder(bench.small, recipe), pairs, "highest")
        ours = losses(bench.embedder(bench.small, recipe, dtype), pairs, "high")
        difference = float(np.abs(ours - exact).max() / exact[0])
        yield Row(
            name=f"loss curve: {what}", size=f"{len(exact)} steps of 16, T5-{bench.sizes.small}'s shape",
            ours=f"{ours[0]:.3f} to {ours[-1]:.3f} nats", other=f"fp32: {exact[0]:.3f} to {exact[-1]:.3f} nats",
            ratio=difference, required="<= 0.05", note="ratio: largest difference of a step, over the first loss",
        )  # fmt: skip


def losses(embedder: Embedder, pairs: list[Pair], precision: str) -> np.ndarray:
    """Loss of every step of one training."""
    embedder.surrogate.prepare(pairs)
    training = embedder._training(42, 1, False, None) | {"checkpoint": None}
    torch.set_float32_matmul_precision(precision)  # making the embedder has set that of the steps
    _, log, _ = embedder._method.run(embedder.surrogate.encode(pairs), [], training, None)
    return np.array(log.losses)


# --- speed, at full size --------------------------------------------------------------------------------------


def fisher_speed(bench: Bench) -> Iterator[Row]:
    """The Fisher pass against the loop, which would take hours on all texts."""
    compute_device()
    yield from speed(bench.sizes.base, bench.sizes.fisher, bench.device)


def tupate(bench: Bench) -> Iterator[Row]:
    """One MTE with the encoder's states given, as in a run, where all vectors of a U share them."""
    recipe = TupateSettings(batch_size=bench.sizes.batch, min_relative_distance=0, min_steps=1)
    embedder = bench.embedder(bench.base, recipe, "bfloat16")
    examined: dict[str, float] = {}

    def work(texts: list[str]) -> None:
        pairs, states = make_pairs(texts, prompt=1), []
        examined["states"] = bench.seconds(lambda: states.append(shared_states(embedder, pairs)))
        examined["vector"] = bench.seconds(lambda: embedder.embed(pairs, states=states[0]))

    texts = bench_texts(bench, work)
    factor = bench.sizes.texts / texts
    note = f"bfloat16; the encoder pass that all vectors share: {factor * examined['states']:.3g} s"
    yield beside_paper(bench, "TuPaTE, one MTE with shared states", "tupate", factor * examined["vector"], texts, note)


def shared_states(embedder: Embedder, pairs: list[Pair]) -> States:
    states = compute_states(embedder._method.tuning, encode_pairs(embedder.surrogate, pairs))
    return states.on(embedder.surrogate.device)


def taskemb(bench: Bench) -> Iterator[Row]:
    """One MTE: an epoch of training, then the Fisher pass over the same texts, as row means."""
    recipe = TaskEmbSettings(batch_size=bench.sizes.batch, min_steps=1, reduce="rows")
    embedder = bench.embedder(bench.base, recipe)
    examined: dict[str, Any] = {}

    def work(texts: list[str]) -> None:
        trained: list[float] = []

        def after_step(done: int, total: int, loss: float) -> None:
            if done == total:
                bench.wait()
                trained.append(time.perf_counter())

        started = time.perf_counter()
        examined["pairs"] = make_pairs(texts)
        examined["whole"] = bench.seconds(lambda: embedder.embed(examined["pairs"], progress=after_step))
        examined["training"] = trained[0] - started

    texts = bench_texts(bench, work)
    factor, whole, training = bench.sizes.texts / texts, examined["whole"], examined["training"]
    needed, fisher_pass = operations(embedder, examined["pairs"]), whole - training
    tf32, fp32 = bench.matmul_rate(torch.float32, "high"), bench.matmul_rate(torch.float32)
    note = f"training {factor * training:.3g} s, {needed / training / tf32:.0%} of the measured TF32 rate; "
    note += f"Fisher {factor * fisher_pass:.3g} s, {needed / fisher_pass / fp32:.0%} of the fp32 rate"
    name = "TaskEmb, one MTE: one epoch and the Fisher"
    yield beside_paper(bench, name, "taskemb", factor * whole, texts, note)


def bench_texts(bench: Bench, work: Callable[[list[str]], None]) -> int:
    """Do the work on a share of the texts, then on all if the time left allows it; return how many it was."""
    texts = make_texts(bench.sizes.texts)
    part = texts[: max(bench.sizes.batch, len(texts) // SHARE)]
    work(part[: bench.sizes.batch])  # the first call of everything is slow
    started = time.monotonic()
    work(part)
    expected = 1.15 * (time.monotonic() - started) * len(texts) / len(part)
    if time.monotonic() + expected > bench.until:
        say(f"all texts would take {expected:.0f} s, more than are left")
        return len(part)
    work(texts)
    return len(texts)


def beside_paper(bench: Bench, name: str, method: str, seconds: float, texts: int, note: str) -> Row:
    paper = 60.0 * PAPER_MINUTES[method]
    size = f"{bench.sizes.texts:,} texts, T5-{bench.sizes.base}, {bench.weights}"
    if texts < bench.sizes.texts:
        note += f"; from {texts:,} of the texts, in proportion"
    return Row(
        name, size, bench.chip, "the paper's figure, on an A100", seconds, paper, paper / seconds,
        note=note + bench.peak(),
    )  # fmt: skip


def gate(bench: Bench) -> Iterator[Row]:
    """Whether the paper's recipe of an MTE (one epoch, 10,000 texts, frozen head) learns at all.

    Random weights show whether a prefix can raise the labels' tokens above the rest of the vocabulary in so few steps;
    what a pretrained surrogate learns of its texts, only that surrogate shows.
    """
    pairs = make_learnable_pairs(make_texts(bench.sizes.gate))
    learned, held_out = split_pairs(pairs, None, GateConfig(least=16, most=256))
    for rate in (1e-3, 1e-2, 1e-1):
        recipe = TupateSettings(batch_size=bench.sizes.batch, learning_rate=rate, min_relative_distance=0, min_steps=1)
        embedder, made = bench.embedder(bench.base, recipe), []

        def work(embedder: Embedder = embedder, made: list[Embedding] = made) -> None:
            made.append(embedder.embed(learned, held_out=held_out, accuracy=True))

        seconds = bench.seconds(work)
        facts = made[0].meta["gate"]
        note = f"held-out loss {facts['held_out_loss']:.3f} nats, label prior {facts['prior_loss']:.3f}, accuracy "
        note += f"{facts['held_out_accuracy']:.0%}: {'learned' if facts['learned'] else 'did not learn'}"
        size = f"{len(learned):,} texts, {made[0].meta['steps']} steps at {rate:g}, {bench.weights}"
        name = "TuPaTE, the gate of the paper's MTE recipe"
        yield Row(name, size, bench.chip, "label prior", seconds, note=note)


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


# --- parts and their report -----------------------------------------------------------------------------------

PARTS: dict[str, tuple[int, Callable[[Bench], Iterator[Row]]]] = {
    "kernel": (45, kernel),
    "fisher": (45, fisher),
    "vectors": (75, vectors),
    "curves": (60, curves),
    "fisher_speed": (60, fisher_speed),
    "tupate": (100, tupate),
    "taskemb": (220, taskemb),
    "gate": (45, gate),
}
"""Most seconds of each part, in the order in which they run; a part also ends when those of all are used up."""


@dataclass(frozen=True)
class Outcome:
    """state: `done`, `failed`, `out of time` or `not started`. said: of a failure, the end of what it said."""

    state: str
    seconds: float
    rows: list[Row]
    said: str = ""


def in_own_process(command: list[str], rows: Path, seconds: float) -> Outcome:
    """Run a part's command; keep the rows that it has written, whatever becomes of it."""
    started, state, said = time.monotonic(), "done", ""
    with tempfile.TemporaryFile("w+") as errors:
        try:
            done = subprocess.run(command, timeout=seconds, stderr=errors)
            if done.returncode:
                errors.seek(0)
                state, said = "failed", "\n".join(errors.read().strip().splitlines()[-15:])
        except subprocess.TimeoutExpired:
            state = "out of time"
    written = [Row(**json.loads(line)) for line in rows.read_text().splitlines()] if rows.exists() else []
    return Outcome(state, time.monotonic() - started, written, said)


def in_this_process(part: Callable[[Bench], Iterator[Row]], bench: Bench) -> Outcome:
    started, rows = time.monotonic(), []
    try:
        for row in part(bench):
            rows.append(row)
    except Exception:
        return Outcome("failed", time.monotonic() - started, rows, traceback.format_exc(limit=-3))
    return Outcome("done", time.monotonic() - started, rows)


def run_parts(options: argparse.Namespace, bench: Bench, until: float) -> dict[str, Outcome]:
    """Run all parts, and write the report after each."""
    outcomes: dict[str, Outcome] = {}
    for name, (most, part) in PARTS.items():
        left = min(most, until - time.monotonic())
        say(f"{name}: at most {max(left, 0):.0f} s")
        if left < LEAST_SECONDS:
            outcomes[name] = Outcome("not started", 0.0, [], "no time was left")
        elif options.dry:
            outcomes[name] = in_this_process(part, bench)
        else:
            rows = bench.small.parent / f"{name}.jsonl"
            command = [sys.executable, __file__, "--part", name, "--rows", str(rows)]
            command += ["--until", str(time.monotonic() + left)]
            command += ["--base", str(bench.base), "--small", str(bench.small), "--weights", bench.weights]
            outcomes[name] = in_own_process(command, rows, left)
        outcome = outcomes[name]
        say(f"{name}: {outcome.state} after {outcome.seconds:.0f} s {outcome.said}")
        write_report(options.out, bench, outcomes)
    return outcomes


def write_report(out: Path, bench: Bench, outcomes: dict[str, Outcome]) -> None:
    where = machine(os.cpu_count() or 1) | {"weights": bench.weights}
    where |= {name: metadata.version(name) for name in ("transformers", "accelerate")}
    report = {"machine": where, "parts": {name: asdict(outcome) for name, outcome in outcomes.items()}}
    (out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf8")
    (out / "gpu.md").write_text(table(report) + "\n", encoding="utf8")


def table(report: dict[str, Any]) -> str:
    """Markdown of a report: the rows of all parts, and what became of the parts that were not done."""
    parts = {name: Outcome(**part) for name, part in report["parts"].items()}
    rows = [Row(**row) for part in parts.values() for row in part.rows]
    undone = [f"- {name}: {part.state}. {part.said}".rstrip() for name, part in parts.items() if part.state != "done"]
    return "\n".join([render(rows, report["machine"]), *([""] if undone else []), *undone])


def insert(report: Path) -> None:
    """Put the table of a report into the docs, without the messages of failures."""
    values = json.loads(report.read_text(encoding="utf8"))
    for part in values["parts"].values():
        part["said"] = ""
    DOCS.write_text(insert_into_docs(DOCS.read_text(encoding="utf8"), table(values), "bench-gpu"), encoding="utf8")


def run_one(options: argparse.Namespace, bench: Bench) -> None:
    """A part in its own process: each row is on disk as soon as it is measured."""
    with options.rows.open("w") as stream:
        for row in PARTS[options.part][1](bench):
            stream.write(json.dumps(asdict(row)) + "\n")
            stream.flush()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder of the report")
    parser.add_argument("--surrogate", type=Path, help="folder of a saved T5, in place of T5-base's random weights")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts (default: %(default)s)")
    parser.add_argument("--dry", action="store_true", help="try all parts with tiny sizes on the CPU")
    parser.add_argument("--insert", type=Path, metavar="REPORT", help="put a report's table into docs/performance.md")
    of_a_part = parser.add_argument_group("of a part's own process")
    of_a_part.add_argument("--part", choices=PARTS)
    of_a_part.add_argument("--rows", type=Path)
    of_a_part.add_argument("--vectors-on-cpu", type=Path)
    for name in ("--base", "--small"):
        of_a_part.add_argument(name, type=Path)
    of_a_part.add_argument("--weights", default="random weights")
    of_a_part.add_argument("--until", type=float, help="end by the clock that all processes share")
    options = parser.parse_args(arguments)
    until = options.until or time.monotonic() + options.seconds
    if options.insert:
        return insert(options.insert)
    if options.vectors_on_cpu:
        np.savez(options.vectors_on_cpu, **few_vectors(Bench(Sizes(), "cpu", options.base, options.small, "", until)))
        return print(json.dumps({"done": True}))
    sizes, device = (DRY, "cpu") if options.dry else (Sizes(), "cuda")
    if not options.dry and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device; run this on a machine with one, or pass --dry to try the script")
    if options.part:
        return run_one(options, Bench(sizes, device, options.base, options.small, options.weights, until - 3))
    if options.out is None:
        parser.error("name a folder for the report: --out")
    with tempfile.TemporaryDirectory() as folder:
        small = save(make_surrogate(sizes.small), Path(folder) / "small")
        base = options.surrogate or save(make_surrogate(sizes.base), Path(folder) / "base")
        weights = "the weights of a saved T5" if options.surrogate else "random weights"
        outcomes = run_parts(options, Bench(sizes, device, base, small, weights, until), until)
    print((options.out / "gpu.md").read_text(encoding="utf8"))
    missed = [row.name for outcome in outcomes.values() for row in outcome.rows if row.missed]
    undone = [name for name, outcome in outcomes.items() if outcome.state != "done"]
    if undone or (missed and not options.dry):  # times of tiny sizes say nothing
        sys.exit(f"not done: {', '.join(undone) or 'nothing'}; missed: {', '.join(missed) or 'nothing'}")


if __name__ == "__main__":
    main()
