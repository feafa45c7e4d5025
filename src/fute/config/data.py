"""The section `data`: where labelled data come from, and how much of it is used."""

from __future__ import annotations

from pydantic import Field, model_validator

from fute.config.datasets import Source
from fute.config.sections import Section


class DataConfig(Section):
    """Where labelled data come from, and how much of it is used.

    root: folder of `{dataset}/{split}.jsonl.gz` (source files) and of the U files, best given on the command
    line. test_rows: evaluation rows a dataset (None: the registry's, 1,000 in the paper). train_rows: labelled rows
    a dataset gives to learn from, `dev_share` of them held out (None: all).
    """

    source: Source = "hub"
    root: str | None = None
    test_rows: int | None = Field(None, ge=2)
    train_rows: int | None = Field(None, ge=2)
    dev_share: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _root(self) -> DataConfig:
        if self.source == "files" and self.root is None:
            raise ValueError("source 'files' needs root: the folder with the data, e.g. --config data='{root: DIR}'")
        return self
