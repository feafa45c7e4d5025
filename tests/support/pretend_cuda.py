"""A CUDA device that is none: a machine without a GPU finds out what would fail on one.

Inside `pretend_cuda()`, tensors that are moved to `cuda`, or made there, say that they are on `cuda:0`. Their numbers
are computed on the CPU. An operation on tensors of both devices fails as it does on a GPU. Results are those of the
CPU, so this says nothing of CUDA's own kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CUDA = torch.device("cuda", 0)

aten = torch.ops.aten
_COPIES = {aten._to_copy.default, aten.copy_.default}
_INDEXES = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
"""CUDA takes indices of a tensor from the CPU, but not the other way round."""


class OnCuda(torch.Tensor):
    """A tensor that says that it is on `CUDA`. numbers: its values, on the CPU.

    For C++ it is on `meta`, the only device besides the CPU whose backward pass every build of torch has.
    """

    numbers: torch.Tensor
    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = is_meta = property(lambda self: False)

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> OnCuda:
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, numbers.size(), strides=numbers.stride(), storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype, device="meta",
        )  # fmt: skip
        tensor.numbers = numbers
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})

    def __getitem__(self, index: Any) -> OnCuda:
        return super().__getitem__(torch.tensor(index) if isinstance(index, list) else index)

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.numbers.untyped_storage()  # which tensors share their memory

    def tolist(self) -> Any:
        return self.numbers.tolist()

    def __repr__(self, **_: Any) -> str:
        return f"OnCuda({self.numbers})"

    def numpy(self, **_: Any) -> None:
        raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")

    def __array__(self, dtype: Any = None) -> None:
        self.numpy()


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # without a gradient, an operation made of others comes whole
            result = func.decompose(*args, **kwargs or {}) if torch.is_inference_mode_enabled() else NotImplemented
        return _computed(func, args, kwargs or {}) if result is NotImplemented else result


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    to = kwargs.get("device")
    made_on_cuda = to is not None and torch.device(to).type == "cuda"
    if str(to) == "meta" and torch.utils._device.CURRENT_DEVICE is None:  # C++ asks so, on the device of a tensor
        made_on_cuda = True
    on_cuda = [tensor for tensor in given if isinstance(tensor, OnCuda)]
    if not on_cuda and not made_on_cuda:
        return func(*args, **kwargs)
    if func is aten._fused_sdp_choice.default:
        return 0  # the kernel that every device has
    if on_cuda and func not in _COPIES:
        _check_devices(func, args, given)
    wrappers = {id(tensor.numbers): tensor for tensor in on_cuda}
    if made_on_cuda:
        kwargs = kwargs | {"device": torch.device("cpu")}
    args, kwargs = tree_map(lambda value: value.numbers if isinstance(value, OnCuda) else value, (args, kwargs))
    result = func(*args, **kwargs)
    stays = (
        isinstance(args[0], torch.Tensor) and not isinstance(given[0], OnCuda)
        if func is aten.copy_.default
        else (to is not None and not made_on_cuda)
    )

    def placed(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or stays:
            return value
        return wrappers.get(id(value)) if id(value) in wrappers else OnCuda(value)

    return tree_map(placed, result)


def _check_devices(func: Any, args: Any, given: list[torch.Tensor]) -> None:
    """Raise RuntimeError where CUDA would, for tensors of two devices."""
    if func in _INDEXES and isinstance(args[0], OnCuda):
        given = [args[0], *args[2:3]]
    scalars = torch.Tag.pointwise in func.tags or func in _INDEXES
    if any(not isinstance(tensor, OnCuda) and (tensor.ndim or not scalars) for tensor in given):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"({func}, {[(type(t).__name__, tuple(t.shape)) for t in given]})"
        )


class _Functions(TorchFunctionMode):
    """`torch.tensor`, which reaches no dispatcher."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and kwargs.get("device") == CUDA:
            return func(*args, **kwargs | {"device": None}).to(CUDA)
        return func(*args, **kwargs)


@torch.no_grad()
def _applied(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> nn.Module:
    """`nn.Module._apply`, which cannot change an `OnCuda` in place: it gets new parameters. Tied ones stay tied."""
    changed: dict[nn.Parameter, nn.Parameter] = {}
    for part in module.modules() if recurse else [module]:
        for name, parameter in part._parameters.items():
            if parameter is not None and parameter not in changed:
                changed[parameter] = nn.Parameter(change(parameter), parameter.requires_grad)
            part._parameters[name] = changed.get(parameter)
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else change(buffer)
    return module


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    if isinstance(tensor, OnCuda):
        raise RuntimeError("cannot pin a tensor of a GPU: only dense CPU tensors can be pinned")
    return tensor


@contextmanager
def pretend_cuda(free: int = 2**30) -> Iterator[None]:
    """free: bytes of free memory that the device says it has."""
    with (
        patch.object(torch.cuda, "_lazy_init", lambda: None),
        patch.object(torch.cuda, "mem_get_info", lambda device=None: (free, free)),
        patch.object(torch.Tensor, "pin_memory", _pinned),
        patch.object(nn.Module, "_apply", _applied),
        _Mode(),
        _Functions(),
    ):
        yield
