"""`fute compare`: the similarity of one task embedding with others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from fute.embeddings.similarity import cosine_around, largest_entry_share, task2vec_similarity
from fute.embeddings.vectors import (
    LABELCOV,
    Embedding,
    EmbeddingError,
    centred_cosine,
    cosine,
    in_one_space,
    load,
)


def compare_files(first: Path, others: Sequence[Path]) -> None:
    """Print the similarity of one embedding with others, most similar first.

    Beside the cosine stand others: around the start that all share (TuPaTE), around the mean of the others if there are
    several, and task2vec's (TaskEmb), with the share of the cosine that one entry carries; then whether the surrogate
    learned, for vectors that have a gate. LabelCov's are compared by one measure, see `vectors.in_one_space`. Raises
    EmbeddingError for files that cannot be compared.
    """
    if missing := [path for path in (first, *others) if not path.is_file()]:
        raise EmbeddingError(f"{missing[0]}: there is no such file; give vectors that fute embed or a run wrote")
    loaded = [(path, load(path)) for path in (first, *others)]
    if loaded[0][1].method == LABELCOV:
        for path, embedding in loaded:
            if reason := embedding.meta.get("no_vector"):
                raise EmbeddingError(f"{path} holds no vector: {reason}; leave it out")
        placed = in_one_space([embedding for _, embedding in loaded])
        loaded = [(path, embedding) for (path, _), embedding in zip(loaded, placed, strict=True)]
    (_, base), *loaded = loaded
    rows = sorted(((cosine(base, other), path, other) for path, other in loaded), key=lambda row: -row[0])
    centre = np.mean([other.vector.astype(np.float64) for _, other in loaded], axis=0) if len(loaded) > 1 else None
    table = Table(title=f"similarity with {first}", title_justify="left")
    gated = any(_learned(vector) for _, vector in loaded)
    for name in ("Rank", "Embedding", "Cosine", *_beside(base, base, centre), *(["Learned"] if gated else [])):
        table.add_column(name, justify="left" if name in ("Embedding", "Learned") else "right")
    for rank, (value, path, other) in enumerate(rows, start=1):
        learned = [_learned(other)] if gated else []
        table.add_row(str(rank), str(path), f"{value:.4f}", *_beside(base, other, centre).values(), *learned)
    Console(markup=False, emoji=False).print(table)  # a file's `[v2]` is no markup
    if _learned(base) == "no":
        print(f"{first}: the surrogate did not learn these pairs, so none of these similarities says anything")


def _beside(base: Embedding, other: Embedding, centre: np.ndarray | None) -> dict[str, str]:
    """Heading -> cell of what stands beside a cosine."""
    cells = {}
    if base.method == "taskemb":
        cells["Largest entry"] = f"{100 * largest_entry_share(base.vector, other.vector):.1f} %"
        cells["task2vec"] = f"{task2vec_similarity(base.vector, other.vector):.4f}"
    if base.init is not None:
        cells["Centred"] = f"{centred_cosine(base, other):.4f}"
    if centre is not None:
        around = cosine_around(base.vector, other.vector, centre)
        cells["On their mean"] = "" if np.isnan(around) else f"{around:.4f}"  # of equal vectors there is none
    return cells


def _learned(vector: Embedding) -> str:
    """`yes` or `no` by the vector's gate; nothing if it has none."""
    gate = vector.meta.get("gate")
    return "" if not gate else "yes" if gate["learned"] else "no"
