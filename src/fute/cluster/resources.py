"""What a job needs, from the size of its model and the number of its texts: memory, GPUs, minutes.

Plain arithmetic with constants on the safe side; docs/cluster.md has the formulas and what was measured beside them.
A job that was killed for want of memory or time is sent again with more (`Need.memory_mb`, `Need.minutes`).

Sources of the constants: 2 operations a parameter and token forward, 4 more backward (Kaplan et al. 2020, Scaling
Laws for Neural Language Models, section 2.1); 16 bytes a parameter for training with Adam in fp32 (Rajbhandari et
al. 2020, ZeRO, section 3.1, without its fp16 copies).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BASE_MB = 6000
"""Python, torch, CUDA's context and the data of any model step."""
INFERENCE_BYTES, TRAINING_BYTES = 2, 16
"""Bytes a parameter: weights in bf16; fp32 weights, gradients and Adam's two moments."""
HOST_SHARE = 1.2
"""Host memory over the bytes of weights while they are loaded."""
GPU_MB, GPU_SHARE = 80_000, 0.7
"""Memory of the GPUs of the paper (A100), and the share that weights may take; the rest is the key-value cache."""
FORWARD, BACKWARD = 2, 4
"""Operations a parameter and token."""
GPU_FLOPS, CORE_FLOPS = 1e14, 5e10
"""Sustained operations a second: of an A100-class GPU, a third of its bf16 peak, and of a CPU core."""
DECODED = 2
"""A generated token costs as much as so many tokens that are read."""
START_MINUTES, ENGINE_MINUTES = 2, 8
"""Before the first text: loading a small model, and loading and compiling an engine with a large one."""
LIMIT_MINUTES, SLACK = 10, 3
"""A job's time limit: so many minutes, and so many times its estimate."""


@dataclass(frozen=True)
class Need:
    """What one job needs at its first attempt. gpus: 0 is a job on CPU cores. operations: floating-point ones in
    all. tokens: read and written. host_mb: memory beside the GPUs. cores: that compute where there is no GPU.
    start: minutes before the first text."""

    operations: float
    tokens: int
    host_mb: int
    gpus: int
    cores: int = 1
    start: float = START_MINUTES

    def memory_mb(self, attempt: int = 1) -> int:
        """Megabytes to ask for; half as much again with every attempt."""
        return math.ceil(self.host_mb * (1 + (attempt - 1) / 2))

    def minutes(self, attempt: int = 1) -> int:
        """Time limit in minutes; doubled with every attempt."""
        return math.ceil((LIMIT_MINUTES + SLACK * self.estimate) * 2 ** (attempt - 1))

    @property
    def estimate(self) -> float:
        """Minutes, the start among them."""
        speed = self.gpus * GPU_FLOPS if self.gpus else self.cores * CORE_FLOPS
        return self.start + self.operations / speed / 60

    @property
    def gpu_hours(self) -> float:
        """Estimated: what is billed."""
        return self.gpus * self.estimate / 60


def tensor_parallel(parameters: float) -> int:
    """GPUs that hold a model of so many parameters in bf16: a power of two, as attention heads divide by it."""
    least = parameters * INFERENCE_BYTES / 1e6 / (GPU_MB * GPU_SHARE)
    return 2 ** max(0, math.ceil(math.log2(max(least, 1))))


def inference(
    parameters: float, read: int, written: int, *, gpus: int, cores: int = 1, start: float = START_MINUTES
) -> Need:
    """Of a model with so many parameters that reads and writes so many tokens."""
    operations = FORWARD * parameters * (read + DECODED * written)
    host = BASE_MB + HOST_SHARE * parameters * INFERENCE_BYTES / 1e6
    return Need(operations, read + written, math.ceil(host), gpus, cores, start)


def training(parameters: float, tokens: int, *, gpus: int, cores: int = 1) -> Need:
    """Of a training that passes over so many tokens in all; memory is that of a model trained whole."""
    host = BASE_MB + parameters * TRAINING_BYTES / 1e6
    return Need((FORWARD + BACKWARD) * parameters * tokens, tokens, math.ceil(host), gpus, cores)
