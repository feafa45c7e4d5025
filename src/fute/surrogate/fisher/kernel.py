"""The Triton kernel that adds squared outer-product gradients on CUDA. Imported only where it is needed."""

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError(
        "the Fisher diagonal on CUDA needs Triton: install `triton` (the CUDA builds of PyTorch include it), "
        "or run on the CPU"
    ) from error

# With fewer tiles a GPU is not busy; about its number of multiprocessors.
_ENOUGH_TILES = 128


def add_squared_outer_sums_on_cuda(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total[o, i] += sum over n of (sum over t of b[n, t, o] * a[n, t, i])^2, in place.

    total: (O, I), fp32. a: (B, T, I) and b: (B, T, O), of one dtype. bf16 products are summed in fp32; fp32 is
    multiplied in full precision. Nothing is allocated: each program keeps its tile of one example's gradient, and of
    the sum, in registers.
    """
    examples, tokens, columns = a.shape
    rows = b.shape[2]
    if a.dtype == torch.float32:  # not multiplied on tensor cores: larger tiles do not fit in the registers
        block, block_t, warps = 64, 16, 8
    else:
        large = triton.cdiv(rows, 128) * triton.cdiv(columns, 128) >= _ENOUGH_TILES
        block, block_t, warps = 128 if large else 64, 16 if tokens <= 16 else 32, 8 if large else 4
    grid = (triton.cdiv(rows, block), triton.cdiv(columns, block))
    squared_outer_sums_kernel[grid](
        total,
        a,
        b,
        examples,
        tokens,
        rows,
        columns,
        *total.stride(),
        *a.stride(),
        *b.stride(),
        BLOCK=block,
        BLOCK_T=block_t,
        num_warps=warps,
    )


@triton.jit(do_not_specialize=["examples", "tokens"])
def squared_outer_sums_kernel(
    total,
    a,
    b,
    examples,
    tokens,
    rows,
    columns,
    total_o,
    total_i,
    a_n,
    a_t,
    a_i,
    b_n,
    b_t,
    b_o,
    BLOCK: tl.constexpr,
    BLOCK_T: tl.constexpr,
):
    """Add to one tile of `total`. `x_y` is the stride of tensor x along y: example n, token t, row o, column i."""
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    t = tl.arange(0, BLOCK_T)
    backprops = b + o[:, None] * b_o + t[None, :] * b_t
    inputs = a + t[:, None] * a_t + i[None, :] * a_i
    squares = tl.zeros((BLOCK, BLOCK), tl.float32)
    # One loop over the token blocks of all examples, so that loads run ahead from one example to the next.
    gradient = tl.zeros((BLOCK, BLOCK), tl.float32)
    first = 0
    for _ in range(examples * tl.cdiv(tokens, BLOCK_T)):
        left = tl.load(backprops + first * b_t, mask=(o < rows)[:, None] & (t < tokens - first)[None, :], other=0.0)
        right = tl.load(inputs + first * a_t, mask=(t < tokens - first)[:, None] & (i < columns)[None, :], other=0.0)
        gradient = tl.dot(left, right, gradient, input_precision="ieee")
        first += BLOCK_T
        if first >= tokens:
            squares += gradient * gradient
            gradient = tl.zeros((BLOCK, BLOCK), tl.float32)
            first = 0
            backprops += b_n
            inputs += a_n
    tile = total + o.to(tl.int64)[:, None] * total_o + i[None, :] * total_i
    inside = (o < rows)[:, None] & (i < columns)[None, :]
    tl.store(tile, tl.load(tile, mask=inside) + squares, mask=inside)
