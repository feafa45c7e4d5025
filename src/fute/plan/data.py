"""Data in the plan: the datasets of a run and its U, their settings, and what identifies their texts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from fute import paths
from fute.config.datasets import Source
from fute.config.run import TRAIN, Run
from fute.data.crossfit import LANGUAGE_MODELS, UnsupEntry, scripts_of
from fute.data.rows import SourceError
from fute.data.sources import source_identity
from fute.data.unsup_files import script_file, unsup_identity
from fute.steps import code

BUILTIN = Path("resources/builtin")
NO_ROWS = {"title", "expected", "vu_size", "obtain", "metric", "domain", "max_unlabelled", "max_unusable"}
"""Keys of a registry entry that shape no rows. A limit decides if there are rows or an error."""
TRAINING_ONLY = {"overlaps", "overlap_by", "files"}
"""Keys of a registry entry that shape training rows only."""


class DataPlan:
    """Settings and recipes of a run's datasets and of each U; a recipe identifies texts, as a part of keys.

    Attributes:
        llm_targets: datasets that prompts are chosen for.
        lm_sources: datasets that language models are fine-tuned on and transferred from, in the order of the tables.
        lm_targets: the sources and, for Table 2, the datasets of other domains.
        datasets: all of them, and those that an LLM is fine-tuned on, each once.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.config = run, run.config
        self.llm_targets = tuple(name for category in run.config.categories for name in run.datasets_of(category))
        lm = run.config.lm.datasets if run.config.lm else None
        self.lm_sources = lm.sources if lm else ()
        self.lm_targets = lm.targets if lm else ()
        tuned = [names for how in run.tuned.values() for names in how.datasets.values()]
        self.datasets = tuple(dict.fromkeys((*self.llm_targets, *self.lm_targets, *chain.from_iterable(tuned))))

    @property
    def root(self) -> Path:
        """Folder of the datasets of source `files`."""
        return Path(self.config.data.root or ".").expanduser()

    @property
    def unsup_root(self) -> Path:
        """Folder of the files that each U is drawn from; for a run on `builtin` that of the project's own texts."""
        return BUILTIN if self.config.data.source == "builtin" else self.root

    # --- data that are not there ------------------------------------------------------------------------

    @cached_property
    def missing(self) -> dict[str, str]:
        """Dataset, or `U for CATEGORY` -> why its source cannot be read.

        A plan is made without them, to be looked at: their keys are not those that they will have.
        """
        sources = {name: self.source(name) for name in self.datasets}
        sources |= {f"U for {name}": self.unsup_source(name) for name in self.config.corpora}
        return {name: source["missing"] for name, source in sources.items() if "missing" in source}

    def missing_text(self) -> str:
        """What to do about the data that are not there, one line each; empty if all are."""
        if not self.missing:
            return ""
        total = len(self.datasets) + len(self.config.corpora)
        head = f"data: {len(self.missing)} of the {total} sources of this run cannot be read, and it needs all of them:"
        return "\n  ".join([head, *self.missing.values()])

    # --- datasets ---------------------------------------------------------------------------------------

    def source_of(self, dataset: str) -> Source:
        """Where a dataset is read from; one of the run's own is by default in local files, or in its repository."""
        if dataset in self.run.folders and dataset not in self.config.data.sources:
            return "hub" if self.run.datasets[dataset].hub else "files"
        return self.config.data.source_of(dataset)

    def root_of(self, dataset: str) -> Path:
        """Folder that a dataset's files are read from."""
        return self.run.folders.get(dataset, self.root)

    @cache
    def source(self, dataset: str) -> dict[str, Any]:
        """What identifies the files that a dataset is read from; a stand-in where they are not there (`missing`)."""
        source = self.source_of(dataset)
        root = self.root_of(dataset) if self.config.data.root is not None or dataset in self.run.folders else None
        try:
            return source_identity(dataset, self.run.datasets[dataset], source, root)
        except SourceError as error:
            return {"source": source, "missing": str(error)}

    @cache
    def dataset_settings(self, dataset: str) -> dict[str, Any]:
        """Settings of a dataset's splits, without the rows of other datasets that are left out; see `train_recipe`."""
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

    @cache
    def test_recipe(self, dataset: str) -> dict[str, Any]:
        """What identifies a dataset's evaluation rows, without what shapes its training rows only."""
        settings = self.dataset_settings(dataset)
        entry = {name: value for name, value in settings["entry"].items() if name not in NO_ROWS | TRAINING_ONLY}
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

    @cache
    def train_recipe(self, dataset: str) -> dict[str, Any]:
        """What identifies a dataset's training rows."""
        # how many rows are evaluated on shapes none: no row of the test split is trained on, drawn or not
        settings = {name: value for name, value in self.dataset_settings(dataset).items() if name != "test_rows"}
        settings["entry"] = {name: v for name, v in settings["entry"].items() if name not in NO_ROWS | {"sample"}}
        return {
            "own": [settings, self.source(dataset), code("normalise_train")],
            "without": [self.test_recipe(name) for name in self.overlaps(dataset)],
        }

    def transfer_datasets(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Dataset -> what the evaluation of transfer knows of it (a `TransferDataset` as a mapping)."""
        entries = {name: self.run.datasets[name] for name in names}
        return {name: {"title": e.title, "group": e.group, "domain": e.domain} for name, e in entries.items()}

    # --- U ----------------------------------------------------------------------------------------------

    @cache
    def unsup_source(self, category: str) -> dict[str, Any]:
        """What identifies the files that a U is drawn from; a stand-in where they are not there (`missing`)."""
        settings = self.config.unsup[category]
        try:
            return unsup_identity(settings, self.unsup_root)
        except SourceError as error:
            nowhere = self.config.data.root is None and self.unsup_root == self.root
            where = " (data.root is not given, so that is in the current folder)" if nowhere else ""
            return {"kind": settings.kind, "missing": f"U for {category}: {error}{where}"}

    def script_folders(self) -> dict[Path, tuple[str, ...]]:
        """Folder -> the CrossFit scripts that every U of kind `crossfit_full` together reads from it."""
        folders: dict[Path, tuple[str, ...]] = {}
        for category in self.config.corpora:
            if (settings := self.config.unsup[category]).kind == "crossfit_full":
                folder = self.unsup_root / settings.path
                folders[folder] = (*folders.get(folder, ()), *self.scripts(category))
        return {folder: tuple(dict.fromkeys(sorted(scripts))) for folder, scripts in folders.items()}

    def scripts(self, category: str) -> tuple[str, ...]:
        """CrossFit's scripts that a U of kind `crossfit_full` is drawn from, if all are there."""
        settings = self.config.unsup[category]
        entry = self.unsup_settings(category)["entry"]
        return scripts_of(settings, UnsupEntry.model_validate(entry) if entry else LANGUAGE_MODELS)

    def missing_scripts(self) -> dict[Path, list[str]]:
        """Folder of scripts -> those that are not there; without folders where all are."""
        return {
            folder: missing
            for folder, scripts in self.script_folders().items()
            if (missing := [script for script in scripts if script_file(folder, script) is None])
        }

    def unsup_settings(self, category: str) -> dict[str, Any]:
        """How a U is drawn."""
        entry = self.run.categories.get(category)
        return {
            "category": category,
            "settings": self.config.unsup[category].model_dump(),
            "entry": entry.model_dump(include={"segments", "unsup"}) if entry else None,
        }

    # --- either of them ---------------------------------------------------------------------------------

    @cache
    def corpus_recipe(self, corpus: str) -> dict[str, Any]:
        """What identifies the texts of a corpus: a U, a dataset's evaluation rows, or some of its training rows."""
        if corpus in self.config.corpora:
            return {
                "unsup": self.unsup_settings(corpus),
                "data": self.unsup_source(corpus),
                "code": code("sample_unsup"),
            }
        if corpus.endswith(TRAIN):
            return {"train": self.train_recipe(corpus.removesuffix(TRAIN)), "rows": self.config.llm.labelled_rows}
        return self.test_recipe(corpus)

    def corpus_file(self, corpus: str) -> str:
        """The file of a U, of a dataset's evaluation rows, or of its training rows."""
        if corpus.endswith(TRAIN):
            return paths.rows(corpus.removesuffix(TRAIN), "train")
        return paths.unsup(corpus) if corpus in self.config.corpora else paths.rows(corpus, "test")
