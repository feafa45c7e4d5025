"""The lists for GPUs: no file has two owners, and each package works with the versions of the others."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ENVS = Path(__file__).parents[2] / "envs"
specification = importlib.util.spec_from_file_location("wheels", ENVS / "wheels.py")
wheels = importlib.util.module_from_spec(specification)
specification.loader.exec_module(wheels)

BINDINGS = {"cuda-bindings": {"cuda/bindings/nvml.so", "cuda/bindings/driver.so", "cuda_bindings-13.5.0.dist-info/W"},
            "cuda-pathfinder": {"cuda/pathfinder/__init__.py", "cuda/pathfinder/a/b.py"}}  # fmt: skip


@pytest.fixture(scope="module")
def record():
    return json.loads(wheels.RECORD.read_text(encoding="utf8"))


def test_the_record_is_of_the_wheels_that_the_lists_name(record):
    pinned = wheels.pinned()
    assert {name: list(versions) for name, versions in pinned.items() if len(versions) > 1} == {}
    assert pinned.keys() == record["wheels"].keys() | set(record["without_wheel"])
    hashes = {name: next(iter(versions.values())) for name, versions in pinned.items()}
    others = [name for name, wheel in record["wheels"].items() if wheel["sha256"] not in hashes[name]]
    assert others == [], "run `make locks`"


def test_no_two_wheels_own_one_file_and_every_requirement_is_met(record):
    assert {"torch", "vllm", "cuda-bindings", "nvidia-cublas"} <= record["wheels"].keys()
    assert wheels.problems(record) == []


def test_a_wheel_over_another_is_seen():
    """cuda-python 12 packed the modules that cuda-bindings 13 has: `nvml` did not import any more."""
    owned = wheels.shortest_paths(BINDINGS)
    assert owned["cuda-bindings"] == ["cuda/bindings/", "cuda_bindings-13.5.0.dist-info/"]
    assert owned["cuda-pathfinder"] == ["cuda/pathfinder/"]
    assert wheels.shared(owned) == {}
    twelve = {"cuda-python": {"cuda/bindings/driver.so", "cuda/bindings/cyruntime.so", "cuda/nvrtc.py"}}
    owned = wheels.shortest_paths(BINDINGS | twelve)
    assert owned["cuda-bindings"][:2] == ["cuda/bindings/driver.so", "cuda/bindings/nvml.so"]
    assert wheels.shared(owned) == {"cuda/bindings/driver.so": ["cuda-bindings", "cuda-python"]}
    # a record that was made of other wheels together: a folder stands for all in it
    assert wheels.shared({"a": ["x/"], "b": ["x/y/z.py"], "c": ["x.py"]}) == {"x/y/z.py": ["a", "b"]}


def test_a_version_that_does_not_fit_is_named():
    requires = {"vllm": ["torch==2.13.0", "torchaudio==2.11.0"], "torch": ["triton==3.7.1", "cuda-bindings<14,>=13"]}
    versions = {"torch": "2.12.0", "torchaudio": "2.11.0+cpu", "cuda-bindings": "13.5.0"}
    assert wheels.unmet(requires, versions, excluded=()) == [
        "vllm requires torch==2.13.0, and the lists have 2.12.0",
        "torch requires triton==3.7.1, which no list has",
    ]
    assert len(wheels.unmet(requires, versions, excluded={"triton"})) == 1


def test_lists_are_read_for_one_version_of_python(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "ENVS", tmp_path)
    (tmp_path / "one.txt").write_text(
        "# Written\n-r two.txt\nTyping-Ext==4.0 \\\n    --hash=sha256:ab \\\n    --hash=sha256:cd\n".lower()
        + "six==1.17.0 ; python_full_version >= '3.12' \\\n    --hash=sha256:ef\n"
        + "old==1 ; python_full_version < '3.12' \\\n    --hash=sha256:01\n"
    )
    assert wheels.pinned(["one"]) == {"typing-ext": {"4.0": {"ab", "cd"}}, "six": {"1.17.0": {"ef"}}}
