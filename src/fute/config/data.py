"""The section `data`: where labelled data come from, and how much of them is used."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, ValidationError

from fute.config.datasets import DatasetSettings, FilesSettings, Source
from fute.config.sections import ConfigError, Id, Section, explain


class SampleEntry(Section):
    """How a local folder that holds a part of a dataset differs from the dataset's entry in the registry."""

    files: FilesSettings = Field(description="In place of `files` of the registry's entry, as a whole.")


class DataConfig(Section):
    """Where labelled data come from, and how much of them is used."""

    source: Source = Field(
        "hub",
        description="Where datasets are read from. `builtin`: the texts that ship with the project, the unlabelled "
        "texts U among them. `files`: a local folder. `hub`: huggingface.co.",
    )
    sources: dict[Id, Source] = Field(
        {}, description="Dataset -> where this one is read from, in place of `source`: one run may read several places."
    )
    root: str | None = Field(
        None,
        description="Folder of the local data: `{dataset}/{split}` with the ending `.jsonl`, `.jsonl.gz`, `.json`, "
        "`.csv`, `.tsv` or `.parquet` (datasets of source `files`), and of the files that `unsup` names. Best given on "
        "the command line: `--config data='{root: DIR}'`. A relative one is relative to the current folder; in a run "
        "with a section `registry`, to the file that states it.",
    )
    samples: str | None = Field(
        None,
        description="File that says how a folder of small samples is laid out, where that differs from the full "
        "datasets: `id: {files: ...}`, in place of [files](#files) of the registry, such as `config/samples.yaml`. Its "
        "path is relative to the project. `null`: the folder holds full datasets.",
    )
    test_rows: int | None = Field(
        None, ge=2, description="Most rows to evaluate on per dataset. `null`: the registry's `sample` (1000)."
    )
    train_rows: int | None = Field(
        None, ge=2, description="Most labelled rows to learn from per dataset, held-out rows included. `null`: all."
    )
    dev_share: float = Field(
        0.1, ge=0, lt=1, description="Share of the training rows that is held out for early stopping."
    )

    def source_of(self, dataset: str) -> Source:
        """Where a dataset is read from."""
        return self.sources.get(dataset, self.source)


def with_samples(
    datasets: Mapping[str, DatasetSettings], samples: Mapping[str, SampleEntry], where: str
) -> dict[str, DatasetSettings]:
    """The registry with the `files` of the samples. Raises ConfigError for a sample that does not fit its entry.

    where: the samples' file, for errors.
    """
    changed = dict(datasets)
    for name, sample in samples.items():
        if name not in datasets:
            raise ConfigError(f"{where}: {name!r} is not in config/datasets.yaml; correct the id, or remove the entry")
        stated = datasets[name].model_dump(exclude_unset=True)  # defaults are dumped as they are, in every entry
        try:
            changed[name] = DatasetSettings.model_validate(
                stated | {"files": sample.files.model_dump(exclude_unset=True)}
            )
        except ValidationError as error:
            problems = "; ".join(what for _, what in explain(error, DatasetSettings))
            raise ConfigError(f"{where}: {name}: files: {problems}") from None
    return changed
