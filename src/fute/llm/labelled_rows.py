"""Which of a dataset's training rows every prompt labels, for baselines that know their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fute.artifacts import sha256_text

if TYPE_CHECKING:
    from fute.data.rows import Row


def drawn(ids: Sequence[str], count: int | None) -> list[int]:
    """Places of `count` rows, in their order; None or more than there are: all. They are drawn by the hashes of ids."""
    order = sorted(range(len(ids)), key=lambda place: sha256_text(ids[place]))
    return sorted(order if count is None else order[:count])


def drawn_rows(rows: Sequence[Row], count: int | None) -> list[Row]:
    """Those of some rows that `drawn` chooses."""
    return [rows[place] for place in drawn([row.id for row in rows], count)]
