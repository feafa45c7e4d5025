"""Memory, GPUs and minutes that a job needs, from the size of its model and the number of its tokens.

Plain arithmetic with constants on the safe side; docs/cluster.md has the formulas and compares them with measurements.
A job that was killed for lack of memory or time is submitted again with more (`Need.memory_mb`, `Need.minutes`).

Sources of the constants: 2 operations per parameter and token forward, 4 more backward (Kaplan et al. 2020, Scaling
Laws for Neural Language Models, section 2.1); 16 bytes per parameter for training with Adam in fp32 (Rajbhandari et
al. 2020, ZeRO, section 3.1, without its fp16 copies).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fute.config.cluster import ClusterConfig

BASE_MB = 6000
"""Memory of Python, torch, CUDA's context and the data of any model step."""
INFERENCE_BYTES, TRAINING_BYTES = 2, 16
"""Bytes per parameter: weights in bf16; fp32 weights, gradients and Adam's two moments."""
HOST_SHARE = 1.2
"""Host memory divided by the bytes of the weights, while these are loaded."""
WIDTH, WIDTH_PARAMETERS = 768, 110e6
"""Width and parameters of BERT-base and of T5-base's encoder; width grows with the cube root of the parameters."""
GPU_SHARE = 0.7
"""Share of a GPU's memory for weights; the rest is for the key-value cache."""
FORWARD, BACKWARD = 2, 4
"""Operations per parameter and token."""
GPU_FLOPS, CORE_FLOPS = 1e14, 5e10
"""Sustained operations per second: of an A100-class GPU (a third of its bf16 peak), and of a CPU core."""
DECODED = 2
"""Cost of a generated token, in tokens that are read."""
START_MINUTES, ENGINE_MINUTES = 2, 8
"""Minutes before the first text: to load a small model; to load and compile an engine with a large one."""
LIMIT_MINUTES, SLACK = 10, 3
"""A job's time limit is LIMIT_MINUTES plus SLACK times its estimate."""


@dataclass(frozen=True)
class Need:
    """Needs of one job at its first attempt.

    operations: floating-point operations in all. tokens: read and generated. host_mb: memory without the GPUs'.
    gpus: 0 for a job on CPU cores. cores: CPU cores that compute if there is no GPU. start: minutes before the first
    text. slower: measured GPU time over that of the arithmetic alone. method: whose vectors the job learns; "" for
    other jobs.
    """

    operations: float
    tokens: int
    host_mb: int
    gpus: int
    cores: int = 1
    start: float = START_MINUTES
    slower: float = 1.0
    method: str = ""

    def memory_mb(self, attempt: int = 1) -> int:
        """Megabytes to request; the second and the third attempt add half of the first request each.

        Later ones ask for what the third did: under a short limit of time, attempts that end with it are many.
        """
        return math.ceil(self.host_mb * (1 + (min(attempt, 3) - 1) / 2))

    def minutes(self, attempt: int = 1) -> int:
        """Time limit in minutes; it doubles with every attempt. What a site allows is cut to when a job is sent."""
        return math.ceil((LIMIT_MINUTES + SLACK * self.estimate) * 2 ** (attempt - 1))

    @property
    def estimate(self) -> float:
        """Estimated minutes, including the start."""
        speed = self.gpus * GPU_FLOPS / self.slower if self.gpus else self.cores * CORE_FLOPS
        return self.start + self.operations / speed / 60


PAPER_TEXTS, PAPER_PARAMETERS = 104_162, 223e6
"""Texts and parameters of the surrogate (T5-base) in the paper's measurements on one A100."""
PAPER_MINUTES, PAPER_PASSES = {"taskemb": 50, "tupate": 20}, {"taskemb": 2, "tupate": 1}
"""The paper's minutes for one embedding of a black box, and its passes over the texts: TaskEmb's Fisher is another."""


def slower_than_arithmetic(method: str, text_tokens: int) -> float:
    """The paper's measured time of a method over that of its operations alone, counted as this module counts them.

    text_tokens: tokens that a text counts as. TuPaTE's constant stands for methods that the paper did not time: they
    train as it does.
    """
    timed = method if method in PAPER_MINUTES else "tupate"
    operations = (FORWARD + BACKWARD) * PAPER_PARAMETERS * PAPER_TEXTS * text_tokens * PAPER_PASSES[timed]
    return (PAPER_MINUTES[timed] - START_MINUTES) * 60 * GPU_FLOPS / operations


def gpu_request(cluster: ClusterConfig, number: int) -> dict[str, int | str]:
    """Snakemake's resources by which a job asks for so many GPUs, in the form that the site takes."""
    if cluster.gpu_request == "gres":
        kind = f":{cluster.gpu_model}" if cluster.gpu_model else ""
        return {"gres": f"gpu{kind}:{number}" if number else ""}
    return {"gpu": number} | ({"gpu_model": cluster.gpu_model if number else ""} if cluster.gpu_model else {})


def tensor_parallel(parameters: float, gpu_memory_gb: float) -> int:
    """Number of GPUs that hold a model of so many parameters in bf16: a power of two, which divides attention heads."""
    least = parameters * INFERENCE_BYTES / 1e9 / (gpu_memory_gb * GPU_SHARE)
    return 2 ** max(0, math.ceil(math.log2(max(least, 1))))


def width(parameters: float) -> float:
    """Estimated width of the states of a model with so many parameters."""
    return WIDTH * (parameters / WIDTH_PARAMETERS) ** (1 / 3)


def inference(
    parameters: float, read: int, written: int, *,
    gpus: int, cores: int = 1, start: float = START_MINUTES, active: float | None = None, held: float = 0.0,
) -> Need:  # fmt: skip
    """Need of a model with so many parameters that reads and generates so many tokens.

    active: parameters that one token uses, in a mixture of experts; None: all of them. Memory holds all of them.
    held: bytes of states that are kept in main memory.
    """
    operations = FORWARD * (active or parameters) * (read + DECODED * written)
    host = BASE_MB + (HOST_SHARE * parameters * INFERENCE_BYTES + held) / 1e6
    return Need(operations, read + written, math.ceil(host), gpus, cores, start)


def training(
    parameters: float, tokens: int, *, gpus: int, cores: int = 1, processes: int = 1, held: float = 0.0
) -> Need:
    """Need of a training that processes so many tokens in all; memory is that of training all parameters.

    processes: those that share the training, each with a model of its own. held: bytes of states that each of them
    keeps in main memory.
    """
    host = processes * (BASE_MB + (parameters * TRAINING_BYTES + held) / 1e6)
    return Need((FORWARD + BACKWARD) * parameters * tokens, tokens, math.ceil(host), gpus, cores)
