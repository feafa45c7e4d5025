"""The two kinds of task of the LLM experiment, and the classes that each has."""

from __future__ import annotations

from typing import Literal

Category = Literal["sa", "nli"]
CATEGORIES: tuple[Category, ...] = ("sa", "nli")

# The canonical classes of a category, in the order of class indices everywhere downstream.
CLASSES: dict[Category, tuple[str, ...]] = {
    "sa": ("negative", "positive"),
    "nli": ("entailment", "neutral", "contradiction"),
}
