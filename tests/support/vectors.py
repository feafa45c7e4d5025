"""Vectors that a test makes up, as files of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fute.embeddings.vectors import Embedding, save


def put_vector(
    path: Path | str, values: ArrayLike, *, method: str = "tupate", start: ArrayLike | None = None,
    segments: Sequence[tuple[str, int, int]] = (), basis: Mapping[str, Any] | None = None, **meta: Any,
) -> Path:  # fmt: skip
    """Save a vector (d,), or several of as many orders (n, d)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    orders = np.atleast_2d(np.asarray(values, dtype=np.float32))
    start = None if start is None else np.asarray(start, dtype=np.float32)
    facts = {"relative_distance": 1.0, "unknown_tokens": 0.0} | meta
    save(Embedding(orders.mean(0), method, dict(basis or {}), facts, orders, start, list(segments)), path)
    return path


def put_covariance(path: Path | str, rows: ArrayLike, classes: Sequence[str], **meta: Any) -> Path:
    """Save a vector of LabelCov. rows: (classes, d)."""
    rows = np.asarray(rows)
    size = rows.shape[1]
    segments = [(name, i * size, (i + 1) * size) for i, name in enumerate(classes)]
    return put_vector(path, rows.ravel(), method="labelcov", segments=segments, **meta)
