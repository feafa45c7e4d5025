"""The device that steps compute on."""

from __future__ import annotations

import os
from pathlib import Path

import torch

DRIVER = Path("/dev/nvidiactl")
"""Exists on every node with an NVIDIA driver, and in containers there."""
NONE = ("", "-1", "NoDevFiles")
"""Values of CUDA_VISIBLE_DEVICES by which SLURM and users mean no GPU."""


class DeviceError(RuntimeError):
    """This process was given GPUs that torch cannot use."""


def compute_device() -> torch.device:
    """CUDA if torch sees a GPU, else the CPU.

    On CUDA, products of fp32 matrices are computed in TF32 from here on: fp32 sums of factors with 11 significant
    bits. Weights, optimiser states and everything that is no matrix product stay fp32.

    Raises DeviceError if the process was given a GPU and torch sees none: on the CPU, a step of hours would hold that
    GPU until its time limit.
    """
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
        return torch.device("cuda")
    granted = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if DRIVER.exists() and granted not in NONE:
        if torch.version.cuda:
            why = (
                f"(CUDA {torch.version.cuda}) sees no GPU: the driver is too old for it (nvidia-smi shows which CUDA "
                "it supports), or the image runs without --nv (set APPTAINER_NV=1)"
            )
        else:
            why = "is built for CPUs: make an environment for GPUs, bash envs/install.sh VENV envs/vllm-gpu.txt"
        raise DeviceError(
            f"CUDA_VISIBLE_DEVICES={granted} on a node with an NVIDIA driver, but torch {torch.__version__} {why}; to "
            "compute on the CPU, set CUDA_VISIBLE_DEVICES=-1"
        )
    return torch.device("cpu")


def warn_of_slow_bfloat16(dtype: torch.dtype, device: torch.device, key: str) -> None:
    """Say so if a model computes in bfloat16 on a CPU without instructions for it, which takes several times as long.

    key: the setting to change.
    """
    if device.type == "cpu" and dtype == torch.bfloat16 and not has_fast_bfloat16():
        print(f"warning: this processor has no instructions for bfloat16; {key}: float32 takes a fraction of the time")


def has_fast_bfloat16() -> bool:
    """Whether matrix products in bfloat16 have instructions of this CPU. Many have none: those without AVX-512."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
