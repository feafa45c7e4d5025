"""The Triton kernel: its body run by Triton's interpreter on the CPU, and compiled for GPUs that are not here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fute.surrogate.fisher.kernel import squared_outer_sums_kernel

INTERPRETED = """
import torch
import triton.language as tl
from test_fisher import assert_close, t5_batch, tiny_t5
from fute.surrogate.fisher import accumulator, kernel
from fute.surrogate.fisher.diagonal import diagonal_fisher, loop_fisher
from fute.surrogate.fisher.squares import squared_outer_sums_reference
from triton.runtime.interpreter import InterpreterBuilder

# Triton's interpreter would multiply the bit patterns of bf16 (triton-lang/triton issue 11584).
create_dot = InterpreterBuilder.create_dot


def create_dot_of_values(self, left, right, *rest):
    if left.dtype.scalar == tl.bfloat16:
        left, right = self.cast_impl(left, tl.float32), self.cast_impl(right, tl.float32)
    return create_dot(self, left, right, *rest)


InterpreterBuilder.create_dot = create_dot_of_values
assert type(kernel.squared_outer_sums_kernel).__name__ == "InterpretedFunction"
cases = [
    (1, 1, 1, 1, torch.float32), (1, 1, 64, 64, torch.float32), (3, 5, 70, 33, torch.float32),
    (2, 40, 65, 130, torch.float32), (1, 17, 16, 200, torch.float32), (200, 3, 9, 7, torch.float32),
    (1, 1, 64, 64, torch.bfloat16), (3, 5, 33, 70, torch.bfloat16), (2, 33, 130, 65, torch.bfloat16),
    (60, 20, 9, 7, torch.bfloat16), (1, 2, 1500, 1400, torch.bfloat16),
]
for examples, tokens, columns, rows, dtype in cases:
    a = torch.randn(examples, tokens, columns).to(dtype)
    b = torch.randn(rows, examples, tokens).to(dtype).permute(1, 2, 0)  # strides of its own
    start = torch.rand(columns, rows).T
    total = start.clone(memory_format=torch.preserve_format)
    kernel.add_squared_outer_sums_on_cuda(total, a, b)
    expected = start + squared_outer_sums_reference(a, b)
    error = float((total - expected).norm() / expected.norm())
    print(f"B={examples} T={tokens} I={columns} O={rows} {dtype}: {error:.1e}")
    assert error < 2e-6

accumulator.add_squared_outer_sums = kernel.add_squared_outer_sums_on_cuda
model, batch = tiny_t5(), t5_batch()
assert_close(diagonal_fisher(model, [batch]), loop_fisher(model, [batch]))
print("a T5 equals the loop")
"""


def test_interpreted_kernel_equals_the_formula():
    """In a process of its own: Triton decides at import whether it interprets."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here.parents[2] / "src"), str(here)])
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 12


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("dtype", "block", "warps"), [("fp32", 64, 8), ("bf16", 128, 8), ("bf16", 64, 4)])
def test_compiles_for_gpus(monkeypatch, tmp_path, capability, dtype, block, warps):
    """bf16 on tensor cores, fp32 never rounded to tf32."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = squared_outer_sums_kernel
    fixed = {"BLOCK": block, "BLOCK_T": 16, "total_i": 1, "a_i": 1, "b_o": 1}
    pointers = {"total": "*fp32", "a": f"*{dtype}", "b": f"*{dtype}"}
    signature = {name: "constexpr" if name in fixed else pointers.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, fixed)
    code = triton.compile(source, GPUTarget("cuda", capability, 32), {"num_warps": warps}).asm["ptx"]
    assert ("mma" in code) == (dtype == "bf16")
    assert "tf32" not in code and "fma.rn.f32" in code


def test_without_triton_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "fute.surrogate.fisher.kernel", raising=False)
    with pytest.raises(ImportError, match="install `triton`"):
        import fute.surrogate.fisher.kernel  # noqa: F401
