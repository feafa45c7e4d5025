"""How far two artifacts of one kind are apart, and whether that is more than their kind may differ.

Data, splits, prompts and tables are the same bytes or have drifted. What a model says, learns or scores may differ in
its last digits between machines: every such kind has measures, each 0 for equal artifacts, and a tolerance for each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open

from fute.artifacts import read_jsonl, semantic_sha256, sha256_file
from fute.audit.config_and_locks import LOCK
from fute.audit.findings import Verdict
from fute.embeddings import load


class Kind(StrEnum):
    LABELS = "labels"  # what a black box said, row by row
    VECTORS = "vectors"  # embeddings, the prefix's start, encoder states
    WEIGHTS = "weights"  # a lock and the folder of a model beside it
    METRICS = "metrics"  # numbers in CSV or JSON
    FIGURE = "figure"  # judged by the CSV beside it
    EXACT = "exact"


Distances = Mapping[str, float]
UNLIKE = float("inf")
"""Distance of artifacts that cannot be compared: other rows, other columns, other tensors."""

DEFAULTS: Mapping[str, Distances] = {
    Kind.LABELS: {"flips": 0.01, "class shift": 0.01},
    Kind.VECTORS: {"cosine distance": 1e-4, "relative L2": 1e-2},
    Kind.WEIGHTS: {"cosine distance": 1e-4, "relative L2": 1e-2},
    Kind.METRICS: {"absolute": 1e-6},
}


@dataclass(frozen=True)
class Tolerances:
    """Largest distances of each kind that are no drift, and where these numbers come from."""

    of: Mapping[str, Distances]
    source: str


@dataclass(frozen=True)
class Comparison:
    """What two artifacts are to each other; `said` is for people, empty for the same bytes."""

    verdict: Verdict
    said: str = ""


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
    """Hold what was made again against what was recorded; both are files of the artifact `name`."""
    if sha256_file(recorded) == sha256_file(again):
        return Comparison(Verdict.IDENTICAL)
    if semantic_sha256(recorded) == semantic_sha256(again):
        return Comparison(Verdict.EQUIVALENT, "compressed otherwise, the same content")
    kind = kind_of(name)
    if kind is Kind.FIGURE and sha256_file(recorded.with_suffix(".csv")) == sha256_file(again.with_suffix(".csv")):
        return Comparison(Verdict.EQUIVALENT, "drawn otherwise, from the same coordinates")
    allowed = tolerances.of.get(kind)
    if allowed is None:
        return Comparison(Verdict.DRIFTED, "other bytes, and its kind must be made byte for byte")
    found = distances(name, recorded, again)
    within = all(found[measure] <= most for measure, most in allowed.items())
    said = ", ".join(f"{measure} {found[measure]:.3g} (may be {most:.3g})" for measure, most in allowed.items())
    return Comparison(Verdict.WITHIN_TOLERANCE if within else Verdict.DRIFTED, said)


def distances(name: str, one: Path, two: Path) -> Distances:
    """Measure -> distance of two artifacts of a kind that has measures."""
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
    """`flips`: share of rows with another prediction. `class shift`: total variation of the predictions' shares."""
    if [row["id"] for row in one] != [row["id"] for row in two]:
        return {"flips": UNLIKE, "class shift": UNLIKE}
    said = pd.DataFrame({"one": [str(r["prediction"]) for r in one], "two": [str(r["prediction"]) for r in two]})
    shares = [said[side].value_counts(normalize=True) for side in said]
    return {
        "flips": float((said["one"] != said["two"]).mean()),
        "class shift": float(shares[0].sub(shares[1], fill_value=0).abs().sum() / 2),
    }


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file in fp64; of an embedding its vectors, scaled back."""
    with safe_open(path, framework="numpy") as file:
        is_embedding = "fute" in (file.metadata() or {})
    if is_embedding:
        embedding = load(path)
        return {"vector": embedding.vector.astype(np.float64), "orders": embedding.orders.astype(np.float64)}
    with safe_open(path, framework="pt") as file:  # numpy has no bfloat16
        return {name: file.get_tensor(name).double().numpy() for name in file.keys()}  # noqa: SIM118


def array_distances(one: Mapping[str, np.ndarray], two: Mapping[str, np.ndarray]) -> Distances:
    """Largest `cosine distance` (1 - cosine) and `relative L2` (of the first one's norm) over all arrays."""
    if {name: array.shape for name, array in one.items()} != {name: array.shape for name, array in two.items()}:
        return {"cosine distance": UNLIKE, "relative L2": UNLIKE}
    cosines, norms = [0.0], [0.0]
    for name in one:
        a, b = one[name].ravel(), two[name].ravel()
        if np.array_equal(a, b):
            continue
        size, other = np.linalg.norm(a), np.linalg.norm(b)
        cosines.append(1 - float(a @ b / (size * other)) if size and other else UNLIKE)
        norms.append(float(np.linalg.norm(a - b) / size) if size else UNLIKE)
    # a cosine of equal directions may come out a rounding above 1, and NaN of an overflow is no agreement
    return {"cosine distance": _largest(cosines), "relative L2": _largest(norms)}


def _largest(values: list[float]) -> float:
    return UNLIKE if np.isnan(values).any() else max(values)


def weight_distances(one: Path, two: Path) -> Distances:
    """Distances of the tensors of two model folders, given by their locks; other files must be the same bytes."""
    folders = [lock.with_name(lock.name.removesuffix(LOCK)) for lock in (one, two)]
    listed = [json.loads(lock.read_bytes())["files"] for lock in (one, two)]
    unlike = {"cosine distance": UNLIKE, "relative L2": UNLIKE}
    if listed[0].keys() != listed[1].keys():
        return unlike
    found = [{"cosine distance": 0.0, "relative L2": 0.0}]
    for name in (name for name in listed[0] if listed[0][name] != listed[1][name]):
        if not name.endswith(".safetensors"):
            return unlike
        found.append(array_distances(*(arrays_of(folder / name) for folder in folders)))
    return {measure: max(each[measure] for each in found) for measure in found[0]}


def _value(path: Path) -> Any:
    """A table's or a JSON file's content as a JSON value."""
    if path.suffix == ".csv":
        return pd.read_csv(path).to_dict(orient="list")
    return json.loads(path.read_bytes())


def absolute_distance(one: Any, two: Any) -> float:
    """Largest difference of the numbers of two values of one shape; infinite where anything else differs."""
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
        if one != two and not (np.isnan(one) and np.isnan(two)):
            gap = abs(one - two)
            yield UNLIKE if np.isnan(gap) else float(gap)
    elif one != two:
        yield UNLIKE
