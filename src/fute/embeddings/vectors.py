"""Task embeddings: the file format and the comparison. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fute.embeddings.covariance import in_one_space as rows_in_one_space
from fute.embeddings.covariance import label_similarity

LABELCOV = "labelcov"
"""Method whose vectors are rows of classes, compared by `fute.embeddings.covariance`."""


class EmbeddingError(ValueError):
    """A vector that cannot be learned, read or compared. The message says why, and what to do."""


@dataclass
class Embedding:
    """A task embedding with everything needed to compare and to judge it.

    vector: (d,), fp32; the mean of `orders`. basis: facts that must be equal for two vectors to be compared. meta:
    facts about the training. orders: (n_orders, d), one vector per order seed. init: TuPaTE's start as a vector, (d,).
    segments: (name, start, stop) of each tensor inside a vector that is made of several.
    """

    vector: np.ndarray
    method: str
    basis: dict[str, Any]
    meta: dict[str, Any]
    orders: np.ndarray
    init: np.ndarray | None = None
    segments: list[tuple[str, int, int]] = field(default_factory=list)


def save(embedding: Embedding, path: Path, *, store: Literal["float32", "float16"] = "float32") -> None:
    """Write one safetensors file; the same embedding gives the same bytes.

    store: `float16` divides vector and orders by the largest absolute entry (of each segment, if there are any) and
    writes these factors too. Entries below 3e-8 of the largest one become 0. Raises ValueError for another format.
    """
    if store not in (formats := ("float32", "float16")):
        raise ValueError(f"store is {store!r}; give one of {', '.join(formats)}")
    arrays = {"vector": embedding.vector}
    if len(embedding.orders) > 1:
        arrays["orders"] = embedding.orders
    facts = {key: getattr(embedding, key) for key in ("method", "basis", "meta", "segments")}
    if store == "float16":
        spans = [(start, stop) for _, start, stop in embedding.segments] or [(0, len(embedding.vector))]
        largest = np.abs(np.vstack(list(arrays.values()))).max(0)
        facts["scales"] = [float(largest[start:stop].max()) or 1.0 for start, stop in spans]
        factors = np.repeat(np.float32(facts["scales"]), [stop - start for start, stop in spans])
        arrays = {name: (array / factors).astype(np.float16) for name, array in arrays.items()}
    if embedding.init is not None:
        arrays["init"] = embedding.init
    # Only one metadata key, because safetensors writes several keys in no fixed order.
    save_file(arrays, path, metadata={"fute": json.dumps(facts, sort_keys=True, allow_nan=False)})


def load(path: Path) -> Embedding:
    """Read a file written by `save`. Raises EmbeddingError for any other file."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if "fute" not in metadata or "vector" not in file.keys():  # noqa: SIM118 (not a mapping)
                raise EmbeddingError(
                    f"{path} holds no task embedding, which has a tensor 'vector' and in its metadata a key 'fute'; "
                    "give a file of results/embeddings, or one that fute embed wrote"
                )
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise EmbeddingError(f"{path} is no whole safetensors file ({error}): make it again") from None
    facts = json.loads(metadata["fute"])
    facts["segments"] = [tuple(segment) for segment in facts["segments"]]
    if scales := facts.pop("scales", None):
        lengths = [stop - start for _, start, stop in facts["segments"]] or [len(arrays["vector"])]
        factors = np.repeat(np.float32(scales), lengths)
        for name in arrays.keys() & {"vector", "orders"}:
            arrays[name] = arrays[name].astype(np.float32) * factors
    orders = arrays.get("orders", arrays["vector"][None])
    return Embedding(vector=arrays["vector"], orders=orders, init=arrays.get("init"), **facts)


def cosine(a: Embedding | np.ndarray, b: Embedding | np.ndarray) -> float:
    """Cosine of two task embeddings (or of two plain arrays), computed in fp64; of LabelCov `label_similarity`.

    Raises EmbeddingError if the bases of two embeddings differ, naming the fields with both values, and for a vector of
    zero norm, which has no direction.
    """
    if isinstance(a, Embedding) and isinstance(b, Embedding):
        _check_comparable(a, b)
        for embedding in (a, b):
            if reason := embedding.meta.get("no_vector"):
                raise EmbeddingError(f"one of the two has no vector, so no cosine: {reason}")
        if a.method == LABELCOV:
            try:
                return label_similarity(_rows(a), _rows(b), _names(a), _names(b))
            except ValueError as error:
                raise EmbeddingError(str(error)) from None
        return _cosine(a.vector, b.vector)
    if isinstance(a, Embedding) or isinstance(b, Embedding):
        raise TypeError("compare two embeddings or two arrays, not one of each: an array has no basis")
    return _cosine(a, b)


def in_one_space(embeddings: Sequence[Embedding]) -> list[Embedding]:
    """LabelCov's embeddings as vectors of one length whose plain cosines compare all of them by one measure.

    By class names if all share them, else by scatters: see `covariance.in_one_space`. The vectors have no
    segments. Raises EmbeddingError for different bases.
    """
    for other in embeddings[1:]:
        _check_comparable(embeddings[0], other)
    vectors = rows_in_one_space([_rows(e) for e in embeddings], [_names(e) for e in embeddings])
    return [replace(e, vector=v, orders=v[None], segments=[]) for e, v in zip(embeddings, vectors, strict=True)]


def _rows(embedding: Embedding) -> np.ndarray:
    """Rows of a LabelCov embedding, (classes, d), or (1, d) of one in a common space."""
    return embedding.vector.reshape(max(1, len(embedding.segments)), -1)


def _names(embedding: Embedding) -> list[str]:
    """Names of the rows."""
    return [name for name, *_ in embedding.segments] or [""]


def centred_cosine(a: Embedding, b: Embedding) -> float:
    """Cosine of the changes made by training, e - e_init, of two TuPaTE embeddings."""
    _check_comparable(a, b)
    if a.init is None or b.init is None:
        raise EmbeddingError(f"method {a.method!r} has no common start to subtract; use this for tupate")
    return _cosine(a.vector - a.init, b.vector - b.init)


def tensor_mean_cosine(a: Embedding, b: Embedding) -> float:
    """Mean of the cosines of each tensor inside two embeddings.

    A Fisher diagonal is heavy-tailed, so the cosine of whole vectors compares only a few of its largest entries.
    A tensor that is all zero has no direction: in one of the two, it counts as 0; in both, not at all. Raises
    EmbeddingError for a whole vector of zeros.
    """
    _check_comparable(a, b)
    if not (a.vector.any() and b.vector.any()):
        raise EmbeddingError("a vector of zero norm has no cosine")
    if not a.segments:
        raise EmbeddingError(f"method {a.method!r} has no tensors to average over; use `cosine`")
    tensors = [(a.vector[start:stop], b.vector[start:stop]) for _, start, stop in a.segments]
    values = [_cosine(x, y) if x.any() and y.any() else 0.0 for x, y in tensors if x.any() or y.any()]
    return float(np.mean(values))


def sqrt_cosine(a: Embedding, b: Embedding) -> float:
    """Cosine of the square roots of the entries (root-mean-square gradients) of two TaskEmb embeddings."""
    _check_comparable(a, b)
    if a.method != "taskemb":
        raise EmbeddingError(f"method {a.method!r} has signed entries; use square roots for taskemb only")
    return _cosine(np.sqrt(a.vector), np.sqrt(b.vector))


def _check_comparable(a: Embedding, b: Embedding) -> None:
    missing = "(absent)"
    differing = [
        f"{key}: {a.basis.get(key, missing)!r} and {b.basis.get(key, missing)!r}"
        for key in sorted(a.basis.keys() | b.basis.keys())
        if a.basis.get(key, missing) != b.basis.get(key, missing)
    ]
    if differing:
        raise EmbeddingError(f"embeddings of different bases cannot be compared: {'; '.join(differing)}")


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise EmbeddingError(f"vectors must be 1-D and of one length, got {a.shape} and {b.shape}")
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    if not norms > 0 or not np.isfinite(norms):
        raise EmbeddingError("a vector of zero or non-finite norm has no cosine")
    return float(np.clip(a @ b / norms, -1.0, 1.0))
