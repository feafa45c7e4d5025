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

BASE_MB = 6000
"""Memory of Python, torch, CUDA's context and the data of any model step."""
INFERENCE_BYTES, TRAINING_BYTES = 2, 16
"""Bytes per parameter: weights in bf16; fp32 weights, gradients and Adam's two moments."""
HOST_SHARE = 1.2
"""Host memory divided by the bytes of the weights, while these are loaded."""
GPU_MB, GPU_SHARE = 80_000, 0.7
"""Memory of the paper's GPUs (A100), and the share for weights; the rest is for the key-value cache."""
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
    text.
    """

    operations: float
    tokens: int
    host_mb: int
    gpus: int
    cores: int = 1
    start: float = START_MINUTES

    def memory_mb(self, attempt: int = 1) -> int:
        """Megabytes to request; each further attempt adds half of the first request."""
        return math.ceil(self.host_mb * (1 + (attempt - 1) / 2))

    def minutes(self, attempt: int = 1) -> int:
        """Time limit in minutes; it doubles with every attempt."""
        return math.ceil((LIMIT_MINUTES + SLACK * self.estimate) * 2 ** (attempt - 1))

    @property
    def estimate(self) -> float:
        """Estimated minutes, including the start."""
        speed = self.gpus * GPU_FLOPS if self.gpus else self.cores * CORE_FLOPS
        return self.start + self.operations / speed / 60

    @property
    def gpu_hours(self) -> float:
        """Estimated GPU-hours, as they are billed."""
        return self.gpus * self.estimate / 60


def tensor_parallel(parameters: float) -> int:
    """Number of GPUs that hold a model of so many parameters in bf16: a power of two, which divides attention heads."""
    least = parameters * INFERENCE_BYTES / 1e6 / (GPU_MB * GPU_SHARE)
    return 2 ** max(0, math.ceil(math.log2(max(least, 1))))


def inference(
    parameters: float, read: int, written: int, *, gpus: int, cores: int = 1, start: float = START_MINUTES
) -> Need:
    """Need of a model with so many parameters that reads and generates so many tokens."""
    operations = FORWARD * parameters * (read + DECODED * written)
    host = BASE_MB + HOST_SHARE * parameters * INFERENCE_BYTES / 1e6
    return Need(operations, read + written, math.ceil(host), gpus, cores, start)


def training(parameters: float, tokens: int, *, gpus: int, cores: int = 1) -> Need:
    """Need of a training that processes so many tokens in all; memory is that of training all parameters."""
    host = BASE_MB + parameters * TRAINING_BYTES / 1e6
    return Need((FORWARD + BACKWARD) * parameters * tokens, tokens, math.ceil(host), gpus, cores)
