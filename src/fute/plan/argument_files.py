"""Arguments of steps that may be longer than a command line may be: they travel in files.

Linux refuses an argument of more than 128 KB. Snakemake still sees the text itself, so a change of it reruns the step.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fute.artifacts import canonical_json
from fute.config.sections import Section

FOLDER = Path(".fute/arguments")


class Argument(str):
    """Text of a rule's parameter.

    In a rule's command, `{params.name:file}` writes it to a file named after its content, and stands for that path.
    """

    def __format__(self, form: str) -> str:
        if form != "file":
            return super().__format__(form)
        data = self.encode()
        path = FOLDER / hashlib.sha256(data).hexdigest()[:32]
        # Snakemake formats the commands of all jobs when it plans, so nothing is written twice, or synced to the disk
        if not path.is_file() or path.stat().st_size != len(data):
            FOLDER.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_bytes(data)
            temporary.replace(path)
        return str(path)


def settings_json(values: Mapping[str, Any] | Section) -> Argument:
    """Settings of a step as canonical JSON, for a flag that takes a file of JSON."""
    return Argument(canonical_json(values.model_dump(mode="json") if isinstance(values, Section) else dict(values)))


def one_per_line(arguments: Iterable[str]) -> Argument:
    """Several arguments of one flag, such as files: a step reads them with `@{params.name:file}`."""
    return Argument("\n".join(arguments))
