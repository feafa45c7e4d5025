"""The registry of labelled datasets: what one entry of `config/datasets.yaml` may say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fute.data.text2text import CLASSES, Category

Source = Literal["builtin", "files", "hub"]
Names = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitNames(_Strict):
    """Raw split names; several are read one after the other. The dev split is cut from train."""

    train: Names
    test: Names


class FilesSettings(_Strict):
    """How a dataset lies in a local folder where that differs from the entry.

    drop_shared  text fields; a train row that shares one with a test row is dropped
    """

    folder: str | None = None
    splits: SplitNames | None = None
    drop_shared: tuple[str, ...] = ()


class HubSettings(_Strict):
    """A dataset repository. `repo` may be a snapshot folder, written with a leading `/`, `./` or `../`.

    revision  a commit; None: what the default branch stands at when the data are read, kept in the lock
    """

    repo: str
    config: str | None = None
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    splits: SplitNames | None = None

    @property
    def is_folder(self) -> bool:
        return self.repo.startswith(("/", "./", "../"))


class DatasetSettings(_Strict):
    """One entry of the dataset registry.

    fields      the text fields, in the order of a row's segments
    labels      raw label as a string -> canonical class name; a list maps 0, 1, ... by position
    unlabelled  raw labels of rows to drop
    classes     canonical class names in the order of class indices
    sample      test rows, unless the caller says otherwise
    overlaps    datasets whose test texts must not stand in this one's train and dev rows
    """

    title: str
    category: Category
    fields: tuple[str, ...]
    label_field: str
    labels: dict[str, str] | tuple[str, ...]
    unlabelled: tuple[str, ...] = ("-1",)
    classes: tuple[str, ...]
    splits: SplitNames
    sample: int = Field(default=1000, ge=1)
    overlaps: tuple[str, ...] = ()
    files: FilesSettings = FilesSettings()
    hub: HubSettings | None = None

    @property
    def label_map(self) -> dict[str, str]:
        if isinstance(self.labels, dict):
            return self.labels
        return {str(index): name for index, name in enumerate(self.labels)}

    @model_validator(mode="after")
    def _consistent(self) -> DatasetSettings:
        if self.classes != CLASSES[self.category]:
            raise ValueError(f"classes must be {list(CLASSES[self.category])} for category {self.category}")
        segments = {"sa": 1, "nli": 2}[self.category]
        if len(self.fields) != segments:
            raise ValueError(f"fields must name {segments} text field(s) for category {self.category}")
        if set(self.label_map.values()) != set(self.classes):
            raise ValueError("labels must map to every class and to nothing else")
        if both := sorted(set(self.unlabelled) & set(self.label_map)):
            raise ValueError(f"label {both[0]!r} is in labels and in unlabelled")
        if extra := sorted(set(self.files.drop_shared) - set(self.fields)):
            raise ValueError(f"files.drop_shared names {extra[0]!r}, which is not in fields")
        return self
