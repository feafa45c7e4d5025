"""What `fute new` is asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

REPO = r"[\w-][\w.-]*/[\w-][\w.-]*"
"""Name of a repository of the hub."""


@dataclass(frozen=True)
class Wanted:
    """What `fute new` is asked for; options as on the command line.

    folder: of the run, whose last name is the run's. data: a file, a saved dataset, or `owner/name` of the hub. test: a
    second file, or a split, to check on. texts, label: columns. prompts: file of prompts, with `model`, or None.
    models: to start from, in place of prompts. server: address of an OpenAI-compatible server that has `model`. subset:
    configuration of a dataset of the hub.
    """

    folder: Path
    data: Path
    test: Path | None = None
    texts: tuple[str, ...] = ()
    label: str | None = None
    prompts: Path | None = None
    model: str | None = None
    models: tuple[str, ...] = ()
    unlabelled: Path | None = None
    server: str | None = None
    score: Literal["first_token", "sequence"] = "first_token"
    subset: str | None = None

    @property
    def name(self) -> str:
        """Name of the run, and of its category."""
        return self.folder.absolute().name

    @property
    def dataset(self) -> str:
        """Id of the run's dataset: the run's name where models are compared, since no category has it then."""
        return self.name if self.models else f"{self.name}-data"

    def relative(self, path: Path) -> str:
        """A path as the run's file states it: from the run's folder.

        Links on the way to both are followed, since `..` behind a link leads to where that link points.
        """
        real, folder = (each.absolute().parent.resolve() / each.name for each in (path, self.folder))
        return os.path.relpath(real, folder)
