"""`fute compare`: the similarity of one task embedding with others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fute.embeddings.vectors import centred_cosine, cosine, load


def compare_files(first: Path, others: Sequence[Path]) -> None:
    """Print the similarity of one embedding with others, most similar first."""
    base = load(first)
    loaded = [(path, load(path)) for path in others]
    rows = sorted(((cosine(base, other), path, other) for path, other in loaded), key=lambda row: -row[0])
    table = Table(title=f"similarity with {first}", title_justify="left")
    centred = base.init is not None
    for name in ("Rank", "Embedding", "Cosine", *(["Centred"] if centred else [])):
        table.add_column(name, justify="left" if name == "Embedding" else "right")
    for rank, (value, path, other) in enumerate(rows, start=1):
        cells = [f"{centred_cosine(base, other):.4f}"] if centred else []
        table.add_row(str(rank), str(path), f"{value:.4f}", *cells)
    Console().print(table)
