"""Data in the plan: the datasets of a run and its U, their settings, and what identifies their texts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from fute import paths
from fute.config.datasets import Source
from fute.config.run import Run
from fute.data.sources import source_identity
from fute.data.unsup_files import unsup_identity
from fute.steps import code

BUILTIN = Path("resources/builtin")
TRAINING_ONLY = ("title", "overlaps", "overlap_by", "files", "expected", "vu_size", "obtain", "metric", "domain")
"""Keys of a registry entry that do not shape evaluation rows."""


class DataPlan:
    """Settings and recipes of a run's datasets and of each U; a recipe identifies texts, as a part of keys.

    Attributes:
        llm_targets: datasets that prompts are chosen for.
        lm_sources: datasets that language models are fine-tuned on and transferred from, in the order of the tables.
        lm_targets: the sources and, for Table 2, the datasets of other domains.
        datasets: all of them, each once.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.config = run, run.config
        self.llm_targets = tuple(name for category in run.config.categories for name in run.datasets_of(category))
        lm = run.config.lm.datasets if run.config.lm else None
        self.lm_sources = lm.cr + lm.qa if lm else ()
        self.lm_targets = self.lm_sources + lm.domain if lm else ()
        self.datasets = tuple(dict.fromkeys(self.llm_targets + self.lm_targets))

    @property
    def root(self) -> Path:
        """Folder that the data source reads: for `builtin` the texts that ship with the project."""
        data = self.config.data
        return BUILTIN if data.source == "builtin" else Path(data.root or ".").expanduser()

    # --- datasets ---------------------------------------------------------------------------------------

    def source_of(self, dataset: str) -> Source:
        """Where a dataset is read from: the run's source, or for one of its own local files or its repository."""
        if dataset in self.run.folders:
            return "hub" if self.run.datasets[dataset].hub else "files"
        return self.config.data.source

    def root_of(self, dataset: str) -> Path:
        """Folder that a dataset's files are read from."""
        return self.run.folders.get(dataset, self.root)

    @cache  # noqa: B019  (one plan lives as long as the process)
    def source(self, dataset: str) -> dict[str, Any]:
        """What identifies the files that a dataset is read from. Raises SourceError where they are not there."""
        return source_identity(dataset, self.run.datasets[dataset], self.source_of(dataset), self.root_of(dataset))

    @cache  # noqa: B019
    def dataset_settings(self, dataset: str) -> dict[str, Any]:
        """Everything that shapes a dataset's splits, except for the rows of other datasets that are left out."""
        data = self.config.data
        return {
            "dataset": dataset,
            "entry": self.run.datasets[dataset].model_dump(),
            "source": self.source_of(dataset),
            "test_rows": data.test_rows,
            "train_rows": data.train_rows,
            "dev_share": data.dev_share,
            "seed": self.config.seed,
        }

    @cache  # noqa: B019
    def test_recipe(self, dataset: str) -> dict[str, Any]:
        """What identifies a dataset's evaluation rows, without what shapes its training rows only."""
        settings = self.dataset_settings(dataset)
        entry = {name: value for name, value in settings["entry"].items() if name not in TRAINING_ONLY}
        entry["reader"] = self.run.datasets[dataset].reader_of(self.source_of(dataset))
        source = self.source(dataset)
        if "files" in source:
            source = source | {"files": [file for file in source["files"] if file.get("part") != "train"]}
        return {
            "entry": entry,
            "data": source,
            **{name: settings[name] for name in ("dataset", "source", "test_rows", "seed")},
            "code": code("normalise_test"),
        }

    def overlaps(self, dataset: str) -> tuple[str, ...]:
        """Datasets of the run whose evaluation rows may be among this dataset's training rows."""
        return tuple(name for name in self.run.datasets[dataset].overlaps if name in self.datasets)

    @cache  # noqa: B019
    def train_recipe(self, dataset: str) -> dict[str, Any]:
        """What identifies a dataset's training rows."""
        return {
            "own": [self.dataset_settings(dataset), self.source(dataset), code("normalise_train")],
            "without": [self.test_recipe(name) for name in self.overlaps(dataset)],
        }

    def transfer_datasets(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Dataset -> what the evaluation of transfer knows of it (a `TransferDataset` as a mapping)."""
        entries = {name: self.run.datasets[name] for name in names}
        return {name: {"title": e.title, "group": e.group, "domain": e.domain} for name, e in entries.items()}

    # --- U ----------------------------------------------------------------------------------------------

    @cache  # noqa: B019
    def unsup_source(self, category: str) -> dict[str, Any]:
        """What identifies the files that a U is drawn from. Raises SourceError where they are not there."""
        return unsup_identity(self.config.unsup[category], self.root)  # type: ignore[index]

    def unsup_settings(self, category: str) -> dict[str, Any]:
        """How a U is drawn."""
        entry = self.run.categories.get(category)
        return {
            "category": category,
            "settings": self.config.unsup[category].model_dump(),
            "entry": entry.model_dump(include={"segments", "unsup"}) if entry else None,
        }  # type: ignore[index]

    # --- either of them ---------------------------------------------------------------------------------

    @cache  # noqa: B019
    def corpus_recipe(self, corpus: str) -> dict[str, Any]:
        """What identifies the texts of a corpus: a U, or a dataset's evaluation rows."""
        if corpus in self.config.corpora:
            return {
                "unsup": self.unsup_settings(corpus),
                "data": self.unsup_source(corpus),
                "code": code("sample_unsup"),
            }
        return self.test_recipe(corpus)

    def corpus_file(self, corpus: str) -> str:
        """The file of a U, or of a dataset's evaluation rows."""
        return paths.unsup(corpus) if corpus in self.config.corpora else paths.rows(corpus, "test")
