"""`config/unsup.yaml`: where `fute fetch-unsup` finds the training lines of each CrossFit script."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from fute.config.run import read_yaml
from fute.config.sections import Section, refused


class ScriptSource(Section):
    """Source of one script: a task of MetaICL (`task`), a table of a repository (`repo`), or none (`missing`)."""

    task: str | None = Field(None, description="Task of the MetaICL repository that has the script's lines.")
    choices: Literal["spaced", "tight"] | None = Field(
        None,
        description="How CrossFit writes the choices of a question, which MetaICL keeps in a list: `spaced`: "
        "` (A) one (B) two`. `tight`: `(A)one(B)two`. `null`: there are none.",
    )
    question: str | None = Field(
        None,
        description="What questions begin with, where MetaICL writes passage and question as one text. CrossFit writes "
        "the question first, its choices, and the passage. Empty: questions begin with any word; they are "
        "taken to follow the last sentence end without a blank behind it. `null`: the text is as CrossFit writes it.",
    )
    before_passage: str = Field(
        "[SEP]", description="What CrossFit writes between choices and passage; with `question`."
    )
    repo: str | None = Field(
        None, description="Repository whose branch `refs/convert/parquet` is read: `{config}/{split}/*.parquet`."
    )
    licence: str | None = Field(None, description="Licence on the card of `repo`; it must have one.")
    config: str = Field("default", description="Configuration of `repo`.")
    split: str = Field("train", description="Split of `repo`.")
    columns: tuple[str, ...] = Field(
        (), description="Columns that the script's form (`fute.data.crossfit_forms`) is made from."
    )
    heldout: bool = Field(
        False,
        description="Whether CrossFit keeps a fifth of the lines for a test split, which the set itself does not have.",
    )
    missing: str | None = Field(None, description="Why nothing is fetched for this script.")

    @model_validator(mode="after")
    def _one_source(self) -> ScriptSource:
        if sum(value is not None for value in (self.task, self.repo, self.missing)) != 1:
            raise ValueError("give one of task, repo and missing")
        if self.task is None and (self.choices or self.question is not None):
            raise ValueError("choices and question belong to task")
        if bool(self.repo) != bool(self.columns and self.licence):
            raise ValueError("repo needs columns and licence, which belong to it alone")
        return self


class UnsupSources(Section):
    """All scripts, and the repository with MetaICL's data."""

    repo: str = Field(description="Repository with MetaICL's data, `data/{task}/{task}_16384_100_train.jsonl`.")
    revision: str = Field(description="Its commit that is read.", pattern="^[0-9a-f]{40}$")
    scripts: dict[str, ScriptSource] = Field(description="CrossFit script -> where its lines come from.")


def load_unsup_sources(path: Path) -> UnsupSources:
    """Read the file. Raises ConfigError for one that cannot be used."""
    try:
        return UnsupSources.model_validate(read_yaml(path))
    except ValidationError as error:
        raise refused(error, UnsupSources, str(path)) from None
