"""Raw rows of a labelled dataset, as its source gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fute.config.datasets import Source
from fute.data.sources import RawRow, RawSplits


def memory(train: Sequence[dict[str, Any]], test: Sequence[dict[str, Any]], source: Source = "files") -> RawSplits:
    """The rows of two splits that lie in no file."""

    def raw(split: str, values: Sequence[dict[str, Any]]) -> list[RawRow]:
        return [RawRow(f"{split}.jsonl", split, index, value, index + 1) for index, value in enumerate(values)]

    return RawSplits(raw("train", train), raw("test", test), {}, source)
