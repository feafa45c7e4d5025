"""`fute compare`: the similarity of one task embedding with others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fute.embeddings.vectors import Embedding, centred_cosine, cosine, load


def compare_files(first: Path, others: Sequence[Path]) -> None:
    """Print the similarity of one embedding with others, most similar first, and which surrogates learned."""
    base = load(first)
    loaded = [(path, load(path)) for path in others]
    rows = sorted(((cosine(base, other), path, other) for path, other in loaded), key=lambda row: -row[0])
    table = Table(title=f"similarity with {first}", title_justify="left")
    centred = base.init is not None
    for name in ("Rank", "Embedding", "Cosine", *(["Centred"] if centred else []), "Learned"):
        table.add_column(name, justify="left" if name in ("Embedding", "Learned") else "right")
    for rank, (value, path, other) in enumerate(rows, start=1):
        cells = [f"{centred_cosine(base, other):.4f}"] if centred else []
        table.add_row(str(rank), str(path), f"{value:.4f}", *cells, _learned(other))
    Console().print(table)
    if _learned(base) == "no":
        print(f"{first}: the surrogate did not learn these pairs, so none of these similarities says anything")


def _learned(vector: Embedding) -> str:
    """`yes` or `no` by the vector's gate; nothing if it has none."""
    gate = vector.meta.get("gate")
    return "" if not gate else "yes" if gate["learned"] else "no"
