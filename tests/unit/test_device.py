"""A GPU that was granted and cannot be used ends the step; a machine without one computes on the CPU."""

from __future__ import annotations

import pytest
import torch

from fute import device
from fute.device import DeviceError, compute_device


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """As on a machine whose driver torch cannot use, or that has none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("cuda", "why"),
    [
        ("13.0", r"\(CUDA 13.0\) sees no GPU: the driver is too old .* or the image runs without --nv"),
        (None, r"is built for CPUs: make an environment .* envs/vllm-gpu\.txt"),
    ],
)
def test_a_granted_gpu_that_torch_cannot_use_is_an_error(cuda, why, tmp_path, monkeypatch):
    monkeypatch.setattr(device, "DRIVER", tmp_path)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(DeviceError, match=why):
        compute_device()


@pytest.mark.parametrize("granted", [None, "", "-1", "NoDevFiles"])
def test_without_a_grant_the_cpu_computes(granted, tmp_path, monkeypatch):
    monkeypatch.setattr(device, "DRIVER", tmp_path)
    if granted is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", granted)
    assert compute_device() == torch.device("cpu")


def test_without_a_driver_a_grant_means_nothing(tmp_path, monkeypatch):
    """SLURM may hand out devices that are none."""
    monkeypatch.setattr(device, "DRIVER", tmp_path / "none")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert compute_device() == torch.device("cpu")


@pytest.mark.parametrize(
    ("dtype", "kind", "fast", "said"),
    [
        (torch.bfloat16, "cpu", False, True),
        (torch.bfloat16, "cpu", True, False),
        (torch.float32, "cpu", False, False),
        (torch.bfloat16, "cuda", False, False),
    ],
)
def test_bfloat16_on_a_processor_without_it_is_warned_of(dtype, kind, fast, said, monkeypatch, capsys):
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda: fast)
    device.warn_of_slow_bfloat16(dtype, torch.device(kind), "llm.engine.dtype")
    assert ("llm.engine.dtype: float32" in capsys.readouterr().out) == said
