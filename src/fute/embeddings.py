"""Task embeddings: the method f, from pairs (x, y) and a surrogate to a vector, and how vectors are compared.

A DTE is f of a dataset's pairs; an MTE is f of unlabelled texts with a black box's outputs as y (Wang et al.,
"Towards Unified Task Embeddings Across Multiple Models"). `Embedder` makes them, for the two methods of the
paper: TaskEmb (fine-tune the surrogate, then the diagonal of its Fisher information) and TuPaTE (train a deep
prefix, then average it over the layers).
"""

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn

from fute.recipes import MethodSettings, SurrogateSettings, TupateSettings
from fute.surrogate.fisher import FisherDiagonal, fisher_pass
from fute.surrogate.prefix import KeptStates, PrefixedSurrogate, PrefixShape, initial_prefix, sequences
from fute.surrogate.text2text import (
    Example,
    Pair,
    collate,
    encode_pairs,
    load_surrogate,
    negative_log_likelihood,
    target_logits,
)
from fute.surrogate.training import Progress, TrainingLog, count_steps, seed_everything, train

LEAST_STEPS_FOR_DROPOUT = 100
"""Shorter runs take none: dropout would only add noise to a prefix that is still leaving its start."""


@dataclass
class Embedding:
    """A task embedding with all that is needed to compare and to judge it.

    vector: fp32, (d,). basis: what must agree between two vectors that are compared. meta: how this one came
    about. orders: (n_orders, d), a vector for each order seed, whose mean `vector` is. init: TuPaTE's start as
    a vector, (d,). segments: name, start and stop of each tensor inside a TaskEmb vector.
    """

    vector: np.ndarray
    method: str
    basis: dict[str, Any]
    meta: dict[str, Any]
    orders: np.ndarray
    init: np.ndarray | None = None
    segments: list[tuple[str, int, int]] = field(default_factory=list)


def save(embedding: Embedding, path: Path) -> None:
    """Write one safetensors file; the same embedding gives the same bytes."""
    arrays = {"vector": embedding.vector}
    if len(embedding.orders) > 1:
        arrays["orders"] = embedding.orders
    if embedding.init is not None:
        arrays["init"] = embedding.init
    facts = {key: getattr(embedding, key) for key in ("method", "basis", "meta", "segments")}
    # One metadata key: safetensors writes several in no fixed order.
    save_file(arrays, path, metadata={"fute": json.dumps(facts, sort_keys=True, allow_nan=False)})


def load(path: Path) -> Embedding:
    """Read what `save` wrote. Raises ValueError for a safetensors file that is no embedding."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        if "fute" not in metadata:
            raise ValueError(f"{path} holds no task embedding: its safetensors metadata has no key 'fute'")
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    facts = json.loads(metadata["fute"])
    facts["segments"] = [tuple(segment) for segment in facts["segments"]]
    orders = arrays.get("orders", arrays["vector"][None])
    return Embedding(vector=arrays["vector"], orders=orders, init=arrays.get("init"), **facts)


def cosine(a: Embedding | np.ndarray, b: Embedding | np.ndarray) -> float:
    """Cosine of two task embeddings (or of two plain arrays), computed in fp64.

    Raises ValueError where the bases of two embeddings differ, naming the fields with both values, and for a
    vector of zero norm, whose direction does not exist.
    """
    if isinstance(a, Embedding) and isinstance(b, Embedding):
        _check_comparable(a, b)
        return _cosine(a.vector, b.vector)
    if isinstance(a, Embedding) or isinstance(b, Embedding):
        raise TypeError("compare two embeddings or two arrays, not one of each: an array has no basis")
    return _cosine(a, b)


def centred_cosine(a: Embedding, b: Embedding) -> float:
    """Cosine of what training added, e - e_init, of two TuPaTE embeddings."""
    _check_comparable(a, b)
    if a.init is None or b.init is None:
        raise ValueError(f"method {a.method!r} has no common start to centre on; this is for tupate")
    return _cosine(a.vector - a.init, b.vector - b.init)


def tensor_mean_cosine(a: Embedding, b: Embedding) -> float:
    """Mean over the surrogate's tensors of the cosines within each, of two TaskEmb embeddings.

    A Fisher diagonal is heavy-tailed: the cosine of whole vectors compares a few of its largest entries.
    Raises ValueError where a tensor is all zero, naming it.
    """
    _check_comparable(a, b)
    if not a.segments:
        raise ValueError(f"method {a.method!r} has no tensors to average over; this is for taskemb")
    values = []
    for name, start, stop in a.segments:
        try:
            values.append(_cosine(a.vector[start:stop], b.vector[start:stop]))
        except ValueError as error:
            raise ValueError(f"tensor {name!r}: {error}") from error
    return float(np.mean(values))


def sqrt_cosine(a: Embedding, b: Embedding) -> float:
    """Cosine of the entries' square roots (root-mean-square gradients), of two TaskEmb embeddings."""
    _check_comparable(a, b)
    if not a.segments:
        raise ValueError(f"method {a.method!r} has signed entries; square roots are for taskemb")
    return _cosine(np.sqrt(a.vector), np.sqrt(b.vector))


def _check_comparable(a: Embedding, b: Embedding) -> None:
    missing = "(absent)"
    differing = [
        f"{key}: {a.basis.get(key, missing)!r} and {b.basis.get(key, missing)!r}"
        for key in sorted(a.basis.keys() | b.basis.keys())
        if a.basis.get(key, missing) != b.basis.get(key, missing)
    ]
    if differing:
        raise ValueError(f"embeddings of different bases cannot be compared: {'; '.join(differing)}")


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"vectors must be 1-D and of one length, got {a.shape} and {b.shape}")
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    if not norms > 0 or not np.isfinite(norms):
        raise ValueError("a vector of zero or non-finite norm has no cosine")
    return float(np.clip(a @ b / norms, -1.0, 1.0))


def tupate_embedding(prefix: Tensor) -> np.ndarray:
    """Mean of a prefix over its layers, flattened in the order key/value, head, position, dimension.

    prefix: (layers, 2, heads, P, head_dim). For T5-base 24,576 numbers.
    """
    return prefix.detach().float().mean(0).flatten().cpu().numpy()


def taskemb_embedding(values: dict[str, Tensor]) -> tuple[np.ndarray, list[tuple[str, int, int]]]:
    """A Fisher diagonal's tensors laid end to end, and where each one stands."""
    flat = {name: value.flatten().cpu().numpy() for name, value in values.items()}
    stops = np.cumsum([len(value) for value in flat.values()]).tolist()
    starts = [0, *stops[:-1]]
    return np.concatenate(list(flat.values())), list(zip(flat, starts, stops, strict=True))


class Embedder:
    """Loads a surrogate once and turns sets of pairs into vectors, each from the same starting weights.

    surrogate_sha: hash of the surrogate's files, from whoever keeps them; it goes into every basis.
    start: TuPaTE's common start, as `initial_prefix` draws it (None: drawn here from the recipe's `init_seed`).
    """

    def __init__(
        self,
        surrogate_path: Path,
        surrogate_settings: SurrogateSettings,
        method_settings: MethodSettings,
        surrogate_sha: str,
        start: Tensor | None = None,
    ) -> None:
        self.settings = method_settings
        self.start = start
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        frozen = isinstance(method_settings, TupateSettings)
        self.surrogate = load_surrogate(surrogate_path, surrogate_settings, frozen=frozen)
        self.surrogate.model.to(self.accelerator.device)
        if self.accelerator.device.type == "cpu":  # where fused attention is several times slower backwards
            self.surrogate.model.set_attn_implementation("eager")
        self._basis = {"method": method_settings.method, "surrogate_sha256": surrogate_sha}
        self._basis["family"] = surrogate_settings.family
        self._method = _Tupate(self) if frozen else _TaskEmb(self)

    def embed(
        self, pairs: Sequence[Pair], dev: Sequence[Pair] | None = None, progress: Progress | None = None
    ) -> Embedding:
        """The embedding of `pairs`; with held-out rows `dev`, training stops early (see the recipe).

        progress: called after each step with steps done and steps in all, of one order seed, and the loss.
        Raises ValueError for too few steps, for pairs that cannot be encoded, or for a TuPaTE vector that
        stayed at its start; FloatingPointError for a loss that is not finite.
        """
        settings = self.settings
        if dev is not None and settings.patience is None:
            raise ValueError("held-out rows were given, but the recipe has no max_epochs and patience")
        epochs = settings.epochs if dev is None else settings.max_epochs
        steps = count_steps(len(pairs), epochs=epochs, batch_size=settings.batch_size)
        if steps < settings.min_steps:
            raise ValueError(
                f"{len(pairs)} pairs in {epochs} epoch(s) of batches of {settings.batch_size} are {steps} "
                f"optimiser steps, fewer than min_steps={settings.min_steps}: use more pairs, more epochs or "
                "smaller batches"
            )
        examples = encode_pairs(self.surrogate, pairs)
        held_out = encode_pairs(self.surrogate, dev) if dev is not None else []
        runs = [self._method.run(examples, held_out, epochs, seed, progress) for seed in settings.order_seeds]
        vectors, logs, facts = zip(*runs, strict=True)
        orders = np.stack(vectors)
        vector = orders[0] if len(orders) == 1 else orders.mean(0, dtype=np.float64).astype(np.float32)
        meta = {
            "pairs": len(examples),
            "inputs_cut": sum(example.input_cut for example in examples),
            "targets_cut": sum(example.target_cut for example in examples),
            "loss_start": float(np.mean([log.loss_start for log in logs])),
            "loss_end": float(np.mean([log.loss_end for log in logs])),
            "steps": sum(log.steps for log in logs),
            "dev_losses": [list(log.dev_losses) for log in logs],
            "best_epochs": [log.best_epoch for log in logs],
            "recipe": settings.model_dump(mode="json"),
            "surrogate": self.surrogate.settings.model_dump(mode="json"),
            "processes": self.accelerator.num_processes,
        }
        return self._method.finish(vector, orders, self._basis, meta, facts)

    def training(self, order_seed: int, epochs: int, dev: list[Example], progress: Progress | None) -> dict:
        """Keyword arguments of `train` from the recipe."""
        recipe = self.settings
        return {
            "epochs": epochs,
            "batch_size": recipe.batch_size,
            "learning_rate": recipe.learning_rate,
            "order_seed": order_seed,
            "weight_decay": recipe.weight_decay,
            "warmup": recipe.warmup,
            "clip": recipe.clip,
            "bucket_batches": recipe.bucket_batches,
            "dev": dev,
            "patience": recipe.patience if dev else None,
            "progress": progress,
            "accelerator": self.accelerator,
        }


class _Tupate:
    """TuPaTE over one frozen surrogate; the start and the last list's encoder states are kept."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder, self.settings = embedder, embedder.settings
        self.surrogate = embedder.surrogate
        self.prefixed = PrefixedSurrogate(self.surrogate, self.settings.layers)
        shape = PrefixShape.of(self.surrogate.model.config, self.settings.layers)
        drawn = initial_prefix(shape, length=self.settings.length, seed=self.settings.init_seed)
        self.start = drawn if embedder.start is None else embedder.start
        if not torch.equal(self.start, drawn):
            raise ValueError("the given start is not what the recipe's length and init_seed draw for this surrogate")
        self._kept: dict[str, KeptStates] = {}

    def run(
        self,
        examples: list[Example],
        dev: list[Example],
        epochs: int,
        seed: int,
        progress: Progress | None,
    ) -> tuple[np.ndarray, TrainingLog, None]:
        prefix = nn.Parameter(self.start.to(self.surrogate.device, copy=True))
        batches = {"train": self._batches("train", examples), "dev": self._batches("dev", dev)}
        steps = count_steps(len(examples), epochs=epochs, batch_size=self.settings.batch_size)
        rate = self.settings.dropout if steps >= LEAST_STEPS_FOR_DROPOUT else 0.0
        generator = torch.Generator().manual_seed(seed)

        def losses(batch: Sequence[Example]) -> Tensor:
            held_out = not torch.is_grad_enabled()
            dropped = prefix
            if rate and not held_out:
                kept = torch.rand(prefix.shape, generator=generator).to(prefix.device) >= rate
                dropped = prefix * kept / (1 - rate)
            return self.prefixed.nll(dropped, batches["dev" if held_out else "train"](batch))

        log = train(losses, [("prefix", prefix)], examples, **self.embedder.training(seed, epochs, dev, progress))
        return tupate_embedding(prefix), log, None

    def _batches(self, part: str, examples: list[Example]):
        """How examples become a batch: from states that are computed once for a list, where there are any."""
        if not self.prefixed.has_states:
            return lambda batch: collate(self.surrogate, batch)
        kept = self._kept.get(part)
        if kept is None or kept.sequences != sequences(self.surrogate, examples):
            self._kept[part] = KeptStates(self.prefixed, examples, self.settings.batch_size)
        return self._kept[part].batch

    def finish(self, vector, orders, basis, meta, facts) -> Embedding:
        init = tupate_embedding(self.start)
        distance = float(np.linalg.norm(vector - init) / np.linalg.norm(init))
        if distance < self.settings.min_relative_distance:
            raise ValueError(
                f"the prefix's vector moved by {distance:.3f} of its start's norm, less than "
                f"min_relative_distance={self.settings.min_relative_distance}: its cosines would compare the "
                "common start; train longer or at a higher rate"
            )
        basis = basis | {
            "scope": self._scope(),
            "average": "layers",
            "prefix_shape": list(self.start.shape),
            "init_sha256": hashlib.sha256(self.start.numpy().tobytes()).hexdigest(),
        }
        meta = meta | {"relative_distance": distance, "mode": "frozen surrogate in eval mode"}
        return Embedding(vector, "tupate", basis, meta, orders, init=init)

    def _scope(self) -> str:
        if self.surrogate.family == "encoder-decoder":
            return "decoder_self"
        return "all_layers" if self.settings.layers is None else f"last_{self.settings.layers}_layers"


class _TaskEmb:
    """TaskEmb over one surrogate, whose fp32 starting weights are put back before every vector."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder, self.settings = embedder, embedder.settings
        self.surrogate, self.model = embedder.surrogate, embedder.surrogate.model
        self._start = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self._excluded = [re.compile(pattern) for pattern in self.settings.exclude]
        if self.settings.dropout:
            set_dropout(self.model, self.settings.dropout)

    def include(self, name: str) -> bool:
        return not any(pattern.search(name) for pattern in self._excluded)

    def restore(self) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self._start[name])

    def run(
        self,
        examples: list[Example],
        dev: list[Example],
        epochs: int,
        seed: int,
        progress: Progress | None,
    ) -> tuple[np.ndarray, TrainingLog, tuple]:
        self.restore()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self.settings.trained == "all" or self.include(name))
        log = train(
            self._losses,
            [(name, parameter) for name, parameter in self.model.named_parameters() if parameter.requires_grad],
            examples,
            **self.embedder.training(seed, epochs, dev, progress),
        )
        self.model.zero_grad(set_to_none=True)
        self.model.requires_grad_(True)
        fisher = self._fisher(examples, seed)
        vector, segments = taskemb_embedding(fisher.values)
        return vector, log, (segments, fisher.traces)

    def _losses(self, batch: Sequence[Example]) -> Tensor:
        self.model.train(self.settings.dropout > 0 and torch.is_grad_enabled())
        with self._autocast():
            logits, targets = target_logits(self.model, collate(self.surrogate, batch), use_cache=False)
        return negative_log_likelihood(logits, targets).sum(1)

    def _autocast(self):
        if not self.surrogate.settings.autocast:
            return nullcontext()
        return torch.autocast(self.surrogate.device.type, torch.bfloat16)

    def _fisher(self, examples: list[Example], seed: int) -> FisherDiagonal:
        """Batches of similar length; the sum does not depend on their order."""
        accelerator, size = self.embedder.accelerator, self.settings.fisher_batch_size
        ordered = sorted(examples, key=lambda example: (len(example.input_ids), example.index))
        batches = [ordered[i : i + size] for i in range(0, len(ordered), size)]
        own = batches[accelerator.process_index :: accelerator.num_processes]
        return fisher_pass(
            self.model,
            (collate(self.surrogate, batch) for batch in own),
            reduction=self.settings.reduction,
            token_reduction=self.settings.token_reduction,
            labels=self.settings.labels,
            generator=seed_everything(seed),
            include=self.include,
            reduce=self.settings.reduce,
            traces=True,
            sum_over_ranks=lambda tensor: accelerator.reduce(tensor, "sum"),
        )

    def finish(self, vector, orders, basis, meta, facts) -> Embedding:
        segments, traces = facts[0]
        settings = self.settings
        layout = json.dumps([(name, stop - start) for name, start, stop in segments])
        basis = basis | {
            "trained": settings.trained,
            "reduction": settings.reduction,
            "token_reduction": settings.token_reduction,
            "labels": settings.labels,
            "reduce": settings.reduce,
            "tensors_sha256": hashlib.sha256(layout.encode()).hexdigest(),
        }
        meta = meta | {"mode": "Fisher information in eval mode", **_tail_shares(vector)}
        if traces := gather_object(traces.tolist()):
            meta["largest_example_share"] = max(traces) / sum(traces)
        return Embedding(vector, "taskemb", basis, meta, orders, segments=segments)


def _tail_shares(vector: np.ndarray) -> dict[str, float]:
    """Shares of the squared norm that the 10 and the 1,000 largest entries carry."""
    squares = np.square(vector, dtype=np.float64)
    largest = -np.sort(-np.partition(squares, -min(1000, len(squares)))[-1000:])
    return {f"top_{k}_share": float(largest[:k].sum() / squares.sum()) for k in (10, 1000)}


def set_dropout(model: nn.Module, rate: float) -> None:
    """Set every dropout of a transformers model, modules and attention rates, to `rate`."""
    found = False
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p, found = rate, True
        for name in ("dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, rate)
                found = True
    if not found:
        raise ValueError(f"{type(model).__name__} has no dropout to set to {rate}; use dropout 0")
