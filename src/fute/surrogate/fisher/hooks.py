"""Hooks that pass inputs and backprops of each kind of module, per example, to the accumulators of its parameters."""

from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.models.mt5.modeling_mt5 import MT5Attention
from transformers.models.t5.modeling_t5 import T5Attention

from fute.surrogate.fisher.accumulator import Accumulator


class Hooks:
    """Hooks on every included module. They pass inputs and backprops to the accumulators of its parameters."""

    def __init__(self, model: PreTrainedModel, accumulators: dict[int, Accumulator], stack: ExitStack) -> None:
        self.accumulators = accumulators
        self.batch_size = 0
        self._stack = stack
        self._done: set[nn.Module] = set()
        for name, module in model.named_modules():
            included = [self._of(p) for p in module.parameters(recurse=False)]
            if isinstance(module, T5Attention | MT5Attention) and module.has_relative_attention_bias:
                self._relative_bias(module)
            if any(included) and module not in self._done:
                self._add(module.register_forward_hook(self._hook(name, module)))

    def _add(self, handle: RemovableHandle) -> None:
        self._stack.callback(handle.remove)

    def _of(self, parameter: nn.Parameter | None) -> Accumulator | None:
        return self.accumulators.get(id(parameter))

    def _hook(self, name: str, module: nn.Module):
        """Forward hook for a module of a known kind. Only exact types match: a subclass may compute something else."""
        # biases of positions are shared by all examples, and those of T5 have a rule of their own
        is_bias = name.endswith("relative_attention_bias")
        if type(module) is nn.Linear:
            catch = self._linear
        elif type(module) is nn.Embedding and not (is_bias or module.max_norm or module.scale_grad_by_freq):
            catch = self._embedding
        elif type(module) is nn.LayerNorm or _is_rms_norm(module):
            catch = self._norm
        else:
            raise TypeError(
                f"no exact per-example gradient is known for module {name!r} of type "
                f"{type(module).__name__}; exclude its parameters, or add its rule to fute.surrogate.fisher.hooks"
            )

        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            if args[0].shape[0] != self.batch_size:
                raise TypeError(
                    f"module {name!r} got an input of shape {tuple(args[0].shape)}, which does not separate the "
                    f"{self.batch_size} examples of the batch; exclude its parameters"
                )
            if not output.requires_grad:
                output.requires_grad_()
            used = [a for p in module.parameters(recurse=False) if (a := self._of(p))]
            for accumulator in used:
                accumulator.pending += 1

            def backprop(b: Tensor) -> None:
                catch(module, args[0].detach(), b.detach())
                for accumulator in used:
                    accumulator.pending -= 1
                    if accumulator.pending == 0:
                        accumulator.flush()

            output.register_hook(backprop)

        return hook

    def _linear(self, module: nn.Linear, a: Tensor, b: Tensor) -> None:
        b = b.reshape(len(b), -1, b.shape[-1])
        if weight := self._of(module.weight):
            # Under autocast the layer multiplied inputs that were rounded to the dtype of its outputs.
            weight.outer.append((a.reshape(len(a), -1, a.shape[-1]).to(b.dtype), b))
        if bias := self._of(module.bias):
            bias.dense.append(b.sum(1, dtype=torch.float32))

    def _embedding(self, module: nn.Embedding, ids: Tensor, b: Tensor) -> None:
        if module.padding_idx is not None:  # autograd gives this row no gradient
            b = b.masked_fill((ids == module.padding_idx)[..., None], 0)
        self._of(module.weight).rows.append((ids.flatten(1), b.flatten(1, -2)))

    def _norm(self, module: nn.Module, h: Tensor, b: Tensor) -> None:
        h, b = h.float(), b.float()
        if type(module) is nn.LayerNorm:
            scaled = nn.functional.layer_norm(h, module.normalized_shape, eps=module.eps)
        else:
            eps = module.eps if hasattr(module, "eps") else module.variance_epsilon
            eps = torch.finfo(h.dtype).eps if eps is None else eps
            scaled = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)
        between = tuple(range(1, b.ndim - 1))
        if weight := self._of(module.weight):
            weight.dense.append((b * scaled).sum(between))
        if bias := self._of(getattr(module, "bias", None)):
            bias.dense.append(b.sum(between))

    def _relative_bias(self, attention: T5Attention | MT5Attention) -> None:
        """Give each example its own copy of T5's table of biases, which T5 adds to the scores of all examples."""
        table = attention.relative_attention_bias
        self._done.add(table)
        if not (accumulator := self._of(table.weight)):
            return
        seen: list[Tensor] = []
        self._add(table.register_forward_hook(lambda module, args, output: seen.append(args[0])))

        def expand(module: T5Attention | MT5Attention, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            if kwargs.get("position_bias") is not None:
                return None
            length = args[0].shape[1]
            bias = module.compute_bias(length, length, device=args[0].device)
            bias = bias.repeat(self.batch_size, 1, 1, 1).requires_grad_()
            is_bucket = seen.pop().flatten() == torch.arange(table.num_embeddings, device=bias.device)[:, None]

            def gather(b: Tensor) -> None:
                by_position = b.float().permute(0, 2, 3, 1).flatten(1, 2)
                accumulator.dense.append(is_bucket.float() @ by_position)  # (buckets, L^2) @ (B, L^2, heads)

            bias.register_hook(gather)
            return args, kwargs | {"position_bias": bias}

        self._add(attention.register_forward_pre_hook(expand, with_kwargs=True))


def _is_rms_norm(module: nn.Module) -> bool:
    """True for norms that only scale h / rms(h): T5's, mT5's, torch's, and transformers' `...RMSNorm` classes."""
    name = type(module).__name__
    return isinstance(module, nn.RMSNorm) or name in ("T5LayerNorm", "MT5LayerNorm") or name.endswith("RMSNorm")
