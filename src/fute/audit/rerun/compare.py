"""Distances between two artifacts of one kind, and whether they are within the tolerance of the kind.

Data, splits, prompts and tables have the same bytes or have drifted. Outputs, vectors and scores of models may differ
in the last digits between machines: each such kind has measures, 0 for equal artifacts, each with a tolerance.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file as load_arrays

from fute.artifacts import read_jsonl, semantic_sha256, sha256_file
from fute.audit.findings import Verdict
from fute.batching import LOCK
from fute.embeddings.vectors import load


class Kind(StrEnum):
    LABELS = "labels"  # outputs of a black box, row by row
    VECTORS = "vectors"  # embeddings, the prefix's start, encoder states
    WEIGHTS = "weights"  # a lock and the folder of a model beside it
    METRICS = "metrics"  # numbers in CSV or JSON
    FIGURE = "figure"  # judged by the CSV beside it, if it has one
    EXACT = "exact"


Distances = Mapping[str, float]
UNLIKE = float("inf")
"""Distance of artifacts that cannot be compared: different rows, columns or tensors."""

DEFAULTS: Mapping[str, Distances] = {
    Kind.LABELS: {"flips": 0.01, "class shift": 0.01},
    Kind.VECTORS: {"cosine distance": 1e-4, "relative L2": 1e-2},
    Kind.WEIGHTS: {"cosine distance": 1e-4, "relative L2": 1e-2},
    Kind.METRICS: {"absolute": 1e-6},
}
UNLIKE_ARRAYS: Distances = dict.fromkeys(DEFAULTS[Kind.VECTORS], UNLIKE)


@dataclass(frozen=True)
class Tolerances:
    """Largest distances of each kind that are no drift. source: where these numbers come from, in words."""

    of: Mapping[str, Distances]
    source: str


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison. words: for people; empty for the same bytes."""

    verdict: Verdict
    words: str = ""


def kind_of(name: str) -> Kind:
    """The kind of the artifact with this name."""
    parts, path = name.split("/"), Path(name)
    if path.suffix == ".safetensors":
        return Kind.VECTORS
    if name.endswith(LOCK):
        return Kind.WEIGHTS if parts[1] in ("models", "finetuned") else Kind.EXACT
    if parts[1] == "labels" and "batches" not in parts and name.endswith(".jsonl.gz"):
        return Kind.LABELS
    if parts[1] == "paper" and path.suffix in (".pdf", ".png"):
        return Kind.FIGURE
    numbers = ("labels", "baselines", "transfer", "finetuned", "evaluation")
    return Kind.METRICS if parts[1] in numbers and path.suffix in (".csv", ".json") else Kind.EXACT


def compare(name: str, recorded: Path, again: Path, tolerances: Tolerances) -> Comparison:
    """Compare a file that was made again with the recorded one; both are files of the artifact `name`."""
    if sha256_file(recorded) == sha256_file(again):
        return Comparison(Verdict.IDENTICAL)
    if semantic_sha256(recorded) == semantic_sha256(again):
        return Comparison(Verdict.EQUIVALENT, "other compression, the same content")
    kind = kind_of(name)
    points = [path.with_suffix(".csv") for path in (recorded, again)]
    if kind is Kind.FIGURE and all(path.is_file() for path in points) and len(set(map(sha256_file, points))) == 1:
        return Comparison(Verdict.EQUIVALENT, "other bytes, drawn from the same coordinates")
    allowed = tolerances.of.get(kind)
    if allowed is None:
        return Comparison(Verdict.DRIFTED, "other bytes, and its kind must be equal byte for byte")
    apart = distances(name, recorded, again)
    within = all(apart[measure] <= most for measure, most in allowed.items())
    words = ", ".join(f"{measure} {apart[measure]:.3g} (may be {most:.3g})" for measure, most in allowed.items())
    return Comparison(Verdict.WITHIN_TOLERANCE if within else Verdict.DRIFTED, words)


def distances(name: str, one: Path, two: Path) -> Distances:
    """Measure -> distance of two artifacts. Raises ValueError for a kind without measures."""
    match kind_of(name):
        case Kind.LABELS:
            return label_distances(read_jsonl(one), read_jsonl(two))
        case Kind.VECTORS:
            return array_distances(arrays_of(one), arrays_of(two))
        case Kind.WEIGHTS:
            return weight_distances(one, two)
        case Kind.METRICS:
            return {"absolute": absolute_distance(_value(one), _value(two))}
        case kind:
            raise ValueError(f"{name}: artifacts of the kind {kind!r} have no distance")


def label_distances(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> Distances:
    """`flips`: share of rows with another prediction. `class shift`: total variation between the shares of classes."""
    if [row["id"] for row in one] != [row["id"] for row in two]:
        return {"flips": UNLIKE, "class shift": UNLIKE}
    predictions = [[row["prediction"] for row in rows] for rows in (one, two)]  # None: a row without a label
    rows = max(len(one), 1)
    flips = sum(before != after for before, after in zip(*predictions, strict=True))
    counts = [Counter(side) for side in predictions]
    moved = sum(abs(counts[0][label] - counts[1][label]) for label in counts[0] | counts[1])
    return {"flips": flips / rows, "class shift": moved / (2 * rows)}


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file in fp64; of an embedding its vectors, in their original scale."""
    with safe_open(path, framework="numpy") as file:
        # TaskEmb's components of a dataset have such metadata, too, and no vector
        is_embedding = "fute" in (file.metadata() or {}) and "vector" in file.keys()  # noqa: SIM118
        dtypes = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    if is_embedding:
        embedding = load(path)
        return {"vector": embedding.vector.astype(np.float64), "orders": embedding.orders.astype(np.float64)}
    if "BF16" in dtypes:  # numpy has no bfloat16
        from safetensors.torch import load_file

        return {name: tensor.double().numpy() for name, tensor in load_file(path).items()}
    return {name: array.astype(np.float64) for name, array in load_arrays(path).items()}


def array_distances(one: Mapping[str, np.ndarray], two: Mapping[str, np.ndarray]) -> Distances:
    """Largest `cosine distance` (1 - cosine) and `relative L2` (relative to the first) over all arrays."""
    if {name: array.shape for name, array in one.items()} != {name: array.shape for name, array in two.items()}:
        return UNLIKE_ARRAYS
    cosines, norms = [0.0], [0.0]
    for name in one:
        a, b = one[name].ravel(), two[name].ravel()
        if np.array_equal(a, b):
            continue
        size, other = np.linalg.norm(a), np.linalg.norm(b)
        cosines.append(1 - float(a @ b / (size * other)) if size and other else UNLIKE)
        norms.append(float(np.linalg.norm(a - b) / size) if size else UNLIKE)
    # rounding may give a cosine slightly above 1; NaN from an overflow is no agreement
    return {"cosine distance": _largest(cosines), "relative L2": _largest(norms)}


def _largest(values: list[float]) -> float:
    return UNLIKE if np.isnan(values).any() else max(values)


def weight_distances(one: Path, two: Path) -> Distances:
    """Distances of the tensors of two model folders, given by their locks; other files must have the same bytes."""
    folders = [lock.with_name(lock.name.removesuffix(LOCK)) for lock in (one, two)]
    listed = [json.loads(lock.read_bytes())["files"] for lock in (one, two)]
    changed = [name for name in listed[0] if listed[0][name] != listed[1].get(name)]
    if listed[0].keys() != listed[1].keys() or any(not name.endswith(".safetensors") for name in changed):
        return UNLIKE_ARRAYS
    apart = [array_distances(*(arrays_of(folder / name) for folder in folders)) for name in changed]
    return {measure: max((each[measure] for each in apart), default=0.0) for measure in UNLIKE_ARRAYS}


def _value(path: Path) -> Any:
    """Content of a CSV or JSON file: a table as rows of cells, each a number if it can be read as one."""
    if path.suffix == ".csv":
        with path.open(encoding="utf8", newline="") as stream:
            return [[_cell(text) for text in row] for row in csv.reader(stream)]
    return json.loads(path.read_bytes())


def _cell(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def absolute_distance(one: Any, two: Any) -> float:
    """Largest difference between the numbers of two JSON values; infinite if anything else differs."""
    return max(_differences(one, two), default=0.0)


def _differences(one: Any, two: Any) -> Iterator[float]:
    numbers = (int, float)
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        for name in one:
            yield from _differences(one[name], two[name])
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for each in zip(one, two, strict=True):
            yield from _differences(*each)
    elif isinstance(one, numbers) and isinstance(two, numbers) and not isinstance(one, bool):
        if one != two and not (math.isnan(one) and math.isnan(two)):
            gap = abs(one - two)
            yield UNLIKE if math.isnan(gap) else float(gap)
    elif one != two:
        yield UNLIKE
