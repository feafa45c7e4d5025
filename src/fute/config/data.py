"""The section `data`: where labelled data come from, and how much of them is used."""

from __future__ import annotations

from pydantic import Field, model_validator

from fute.config.datasets import Source
from fute.config.sections import Section


class DataConfig(Section):
    """Where labelled data come from, and how much of them is used."""

    source: Source = Field(
        "hub",
        description="`builtin`: the texts that ship with the project. `files`: a local folder. `hub`: huggingface.co.",
    )
    root: str | None = Field(
        None,
        description="Folder of the local data: `{dataset}/{split}` with the ending `.jsonl`, `.jsonl.gz`, `.json`, "
        "`.csv`, `.tsv` or `.parquet` (source `files`, which needs it), and of the files that `unsup` names. Best "
        "given on the command line: `--config data='{root: DIR}'`.",
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

    @model_validator(mode="after")
    def _root(self) -> DataConfig:
        if self.source == "files" and self.root is None:
            raise ValueError("source 'files' needs root: the folder with the data, e.g. --config data='{root: DIR}'")
        return self
