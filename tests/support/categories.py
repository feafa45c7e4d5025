"""The shipped categories, and what tests make with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fute.config import categories, strict_yaml
from fute.config.categories import CategoryEntry
from fute.config.prompts import Prompt
from fute.data.crossfit import LANGUAGE_MODELS, UnsupEntry

REGISTRY = Path(__file__).parents[2] / "config/categories.yaml"
ENTRIES = {
    name: CategoryEntry.model_validate(value)
    for name, value in strict_yaml.load(REGISTRY.read_text(encoding="utf8")).items()
}
CLASSES = {name: entry.classes for name, entry in ENTRIES.items()}
TITLES = {name: entry.title_of(name) for name, entry in ENTRIES.items()}
CONTEXT = categories.context(ENTRIES)
"""Of pydantic's `model_validate`, as of a run without categories of its own."""
UNSUP = {"lm": LANGUAGE_MODELS} | {
    name: UnsupEntry(segments=entry.segments, unsup=entry.unsup) for name, entry in ENTRIES.items()
}
"""What the draw of U knows of the language models and of each category."""


def prompt(category: str, **values: Any) -> Prompt:
    """A prompt of a shipped category."""
    entry = ENTRIES[category]
    return Prompt(category=category, segments=entry.segments, classes=entry.classes, **values)
