"""The device that steps compute on."""

from __future__ import annotations

import os
from pathlib import Path

import torch

DRIVER = Path("/dev/nvidiactl")
"""There on every node with an NVIDIA driver, and in containers on it."""
NONE = ("", "-1", "NoDevFiles")
"""What SLURM and users write into CUDA_VISIBLE_DEVICES for no GPU."""


class DeviceError(RuntimeError):
    """GPUs were granted that torch cannot use."""


def compute_device() -> torch.device:
    """CUDA where torch sees a GPU, else the CPU.

    Raises DeviceError where a GPU was granted and torch sees none: on the CPU, a step of hours would hold that GPU
    until its time limit.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    granted = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if DRIVER.exists() and granted not in NONE:
        raise DeviceError(
            f"CUDA_VISIBLE_DEVICES={granted} on a node with an NVIDIA driver, but torch {torch.__version__} (CUDA "
            f"{torch.version.cuda or 'none'}) sees no GPU: the driver is too old for it (nvidia-smi says which CUDA it "
            "serves), or the image runs without --nv (APPTAINER_NV=1); CUDA_VISIBLE_DEVICES=-1 computes on the CPU"
        )
    return torch.device("cpu")
