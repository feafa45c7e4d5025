"""Files of TaskEmb components, read one component at a time because a whole file is as large as the model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from fute.embeddings.vectors import EmbeddingError

CHUNK = 1 << 20
"""Columns that are multiplied at once, in fp64."""


def save_components(
    components: Mapping[str, NDArray[np.float32]], basis: Mapping[str, Any], meta: Mapping[str, Any], path: Path
) -> None:
    """Write one safetensors file with one tensor per component. basis: must be equal in files that are compared."""
    # only one metadata key, because safetensors writes several keys in no fixed order
    facts = json.dumps({"basis": basis, "meta": meta}, sort_keys=True, allow_nan=False)
    save_file({name: np.ascontiguousarray(value) for name, value in components.items()}, path, metadata={"fute": facts})


def component_cosines(files: Mapping[str, Path]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the name of each component and its cosines (n, n) between the n files, in their order.

    A cosine is NaN if one of the two files lacks the component, or has only zeros in it.
    Raises EmbeddingError for files of different bases and for components of different sizes.
    """
    with ExitStack() as stack:
        opened = {name: stack.enter_context(safe_open(path, framework="numpy")) for name, path in files.items()}
        bases = {name: json.loads((file.metadata() or {})["fute"])["basis"] for name, file in opened.items()}
        first = next(iter(bases))
        for name, basis in bases.items():
            if basis != bases[first]:
                raise EmbeddingError(f"components of {first} and {name} have different bases: {bases[first]}, {basis}")
        keys = {name: set(file.keys()) for name, file in opened.items()}
        for component in sorted(set().union(*keys.values())):
            rows = [file.get_tensor(component).ravel() if component in keys[n] else None for n, file in opened.items()]
            if len({len(row) for row in rows if row is not None}) > 1:
                raise EmbeddingError(
                    f"component {component} differs in size between datasets; delete their files and run again"
                )
            yield component, cosines(rows)


def cosines(rows: list[NDArray[np.float32] | None]) -> NDArray[np.float64]:
    """Cosines (n, n) of n vectors (d,), in fp64; NaN for one that is None or zero."""
    present = [index for index, row in enumerate(rows) if row is not None]
    vectors = [rows[index] for index in present]
    products = np.zeros((len(present), len(present)))
    for start in range(0, len(vectors[0]) if vectors else 0, CHUNK):
        part = np.stack([vector[start : start + CHUNK] for vector in vectors]).astype(np.float64)
        products += part @ part.T
    norms = np.sqrt(np.diag(products))
    norms[norms == 0] = np.nan
    matrix = np.full((len(rows), len(rows)), np.nan)
    matrix[np.ix_(present, present)] = products / np.outer(norms, norms)
    return matrix
