"""The part of the plan that is data: which datasets a run has, their U, and what identifies their rows."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from fute.config.run import Run
from fute.data.crossfit_files import unsup_identity
from fute.data.sources import source_identity
from fute.steps import code

BUILTIN = Path("resources/builtin")
# keys of a registry entry that do not shape evaluation rows
TRAINING_ONLY = ("title", "overlaps", "overlap_by", "files", "expected", "vu_size", "obtain", "metric", "domain")


class DataPlan:
    """Files, settings and recipes of the datasets and of each U.

    run: the checked configuration. datasets: ids of both experiments' datasets, each once.
    """

    def __init__(self, run: Run, datasets: tuple[str, ...]) -> None:
        self.run, self.config, self.datasets = run, run.config, datasets

    @property
    def root(self) -> Path:
        """Folder the data source reads; the texts that ship with the project for `builtin`."""
        data = self.config.data
        return BUILTIN if data.source == "builtin" else Path(data.root or ".").expanduser()

    # --- datasets ---------------------------------------------------------------------------------------

    @cache  # noqa: B019  (one plan lives as long as the process)
    def source(self, dataset: str) -> dict[str, Any]:
        return source_identity(dataset, self.run.datasets[dataset], self.config.data.source, self.root)

    @cache  # noqa: B019
    def dataset_settings(self, dataset: str) -> dict[str, Any]:
        """Everything that shapes a dataset's splits, the exclusion of other datasets' rows apart."""
        data = self.config.data
        return {
            "dataset": dataset,
            "entry": self.run.datasets[dataset].model_dump(),
            "source": data.source,
            "test_rows": data.test_rows,
            "train_rows": data.train_rows,
            "dev_share": data.dev_share,
            "seed": self.config.seed,
        }

    @cache  # noqa: B019
    def test_recipe(self, dataset: str) -> dict[str, Any]:
        """What identifies a dataset's evaluation rows: nothing that shapes its training rows only."""
        settings = self.dataset_settings(dataset)
        entry = {name: value for name, value in settings["entry"].items() if name not in TRAINING_ONLY}
        entry["reader"] = self.run.datasets[dataset].reader_of(self.config.data.source)
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
        """Datasets of the run whose evaluation rows may stand in this dataset's training rows."""
        return tuple(name for name in self.run.datasets[dataset].overlaps if name in self.datasets)

    @cache  # noqa: B019
    def train_recipe(self, dataset: str) -> dict[str, Any]:
        return {
            "own": [self.dataset_settings(dataset), self.source(dataset), code("normalise_train")],
            "without": [self.test_recipe(name) for name in self.overlaps(dataset)],
        }

    # --- U ----------------------------------------------------------------------------------------------

    @cache  # noqa: B019
    def unsup_source(self, category: str) -> dict[str, Any]:
        return unsup_identity(self.config.unsup[category], self.root)  # type: ignore[index]

    def unsup_settings(self, category: str) -> dict[str, Any]:
        return {"category": category, "settings": self.config.unsup[category].model_dump()}  # type: ignore[index]

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
        if corpus in self.config.corpora:
            return f"results/unsup/{corpus}.jsonl.gz"
        return f"results/data/{corpus}/test.jsonl.gz"
