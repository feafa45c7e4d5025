"""Arguments of steps that may be longer than a command line may be: they travel in files.

Linux refuses an argument of more than 128 KB. Snakemake still sees the text itself, so a change of it reruns the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fute.artifacts import atomic, canonical_json, sha256_text

FOLDER = Path(".fute/arguments")


class Argument(str):
    """Text of a rule's parameter.

    In a rule's command, `{params.name:file}` writes it to a file named after its content, and stands for that path.
    """

    def __format__(self, form: str) -> str:
        if form != "file":
            return super().__format__(form)
        path = FOLDER / sha256_text(self)[:32]
        with atomic(path) as temporary:
            temporary.write_text(self, encoding="utf8")
        return str(path)


def settings_json(values: Mapping[str, Any]) -> Argument:
    """Settings of a step as canonical JSON, for a flag that takes a file of JSON."""
    return Argument(canonical_json(dict(values)))


def one_per_line(arguments: Iterable[str]) -> Argument:
    """Several arguments of one flag, such as files: a step reads them with `@{params.name:file}`."""
    return Argument("\n".join(arguments))
