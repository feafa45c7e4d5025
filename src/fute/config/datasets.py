"""The registry of labelled datasets: what one entry of `config/datasets.yaml` may say."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from fute.config.categories import CLASSES
from fute.config.sections import Section

Source = Literal["builtin", "files", "hub"]
DatasetCategory = Literal["sa", "nli", "cr", "qa"]
Task = Literal["classification", "regression", "span"]
Metric = Literal["accuracy", "f1", "matthews", "spearman", "span_f1"]
# the forms of raw rows that `fute.data.readers` knows: of labels, and of answers in a context
LabelReader = Literal["fields", "med_qa", "medalpaca"]
SpanReader = Literal["squad", "multiqa", "hotpot_qa", "duorc", "drop", "drop_flat", "wiki_hop", "boolq_span"]
Reader = LabelReader | SpanReader
Names = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]

METRICS: dict[Task, tuple[Metric, ...]] = {
    "classification": ("accuracy", "f1", "matthews"),
    "regression": ("spearman",),
    "span": ("span_f1",),
}


class SplitNames(Section):
    """Raw split names; several are read one after the other. The dev split is cut from train.

    test: None where the evaluation rows are cut from train, too (`heldout_share`).
    """

    train: Names
    test: Names | None = None

    @property
    def parts(self) -> tuple[tuple[str, Names], ...]:
        """(what they make, split names): `both` for splits that training and evaluation rows are cut from."""
        if self.test is None:
            return (("both", self.train),)
        return (("train", self.train), ("test", self.test))


class FilesSettings(Section):
    """How a dataset lies in a local folder where that differs from the entry.

    reader       the form of its rows
    drop_shared  text fields; a train row that shares one with a test row is dropped
    """

    folder: str | None = None
    splits: SplitNames | None = None
    reader: Reader | None = None
    drop_shared: tuple[str, ...] = ()


class HubSettings(Section):
    """A dataset repository. `repo` may be a snapshot folder, written with a leading `/`, `./` or `../`.

    folder    read this folder of the repository alone: for branches that have folders instead of configurations
    branch    where the data are, if not on the default branch (`refs/convert/parquet`: the hub's own conversion)
    revision  a commit; None: what the branch stands at when the data are read, kept in the lock
    rename    column -> the name the entry or its reader knows it by
    """

    repo: str
    config: str | None = None
    folder: str | None = None
    branch: str | None = None
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    splits: SplitNames | None = None
    reader: Reader | None = None
    rename: dict[str, str] = Field({})

    @property
    def is_folder(self) -> bool:
        return self.repo.startswith(("/", "./", "../"))


class Scale(Section):
    """The numbers of a regression dataset, and what their target strings are rounded to."""

    low: float
    high: float
    step: float = Field(gt=0)


class Sizes(Section):
    """Rows with a label in the official splits; None where unknown. A difference is a warning, never an error."""

    train: int | None = None
    dev: int | None = None


class DatasetSettings(Section):
    """One entry of the dataset registry.

    category       sa and nli share their classes within the category; cr and qa sets have their own
    task, metric   what a model learns on it, and how it is scored
    domain         one of the paper's domain-specific targets (Table 2)
    reader         the form of the raw rows; `fields` takes what fields and label_field name
    fields         the text fields, in the order of a row's segments
    labels         raw label as a string -> canonical class name; a list maps 0, 1, ... by position
    unlabelled     raw labels of rows to drop
    classes        canonical class names in the order of class indices
    scale          regression: range and step of the numbers
    heldout_share  share of the rows that are evaluated on, where the dataset has no split for it
    max_skipped    largest share of questions to skip that have no answer span; 0: the first one is an error
    distractors    HotpotQA: paragraphs kept beside the supporting ones (None: all, as MultiQA has them)
    sample         test rows, unless the caller says otherwise; None: all
    overlaps       datasets whose test texts must not stand in this one's train and dev rows
    overlap_by     what counts as the same text there: the whole row, or the first segment (the question) alone
    expected       official sizes
    vu_size        rows in thousands, all splits, as the transfer literature counts them (baseline DataSize)
    obtain         how to come by the data where no source has them; part of the errors
    """

    title: str
    category: DatasetCategory
    task: Task = "classification"
    metric: Metric = "accuracy"
    domain: Literal["finance", "medical"] | None = None
    reader: Reader = "fields"
    fields: tuple[str, ...] = ()
    label_field: str | None = None
    labels: dict[str, str] | tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ("-1",)
    classes: tuple[str, ...] = ()
    scale: Scale | None = None
    splits: SplitNames
    heldout_share: float | None = Field(default=None, gt=0, lt=1)
    max_skipped: float = Field(default=0, ge=0, lt=1)
    distractors: int | None = Field(default=None, ge=0)
    sample: int | None = Field(default=1000, ge=1)
    overlaps: tuple[str, ...] = ()
    overlap_by: Literal["row", "first"] = "row"
    expected: Sizes = Sizes()
    vu_size: float | None = Field(default=None, gt=0)
    files: FilesSettings = FilesSettings()
    hub: HubSettings | None = None
    obtain: str | None = None

    @property
    def label_map(self) -> dict[str, str]:
        if isinstance(self.labels, dict):
            return self.labels
        return {str(index): name for index, name in enumerate(self.labels)}

    @property
    def group(self) -> Literal["cr", "qa"]:
        """Classification and regression, or question answering: the paper's two classes of language-model tasks."""
        return "qa" if self.category == "qa" else "cr"

    def reader_of(self, source: Source) -> Reader:
        """The form of the rows that a source has."""
        own = {"files": self.files.reader, "hub": self.hub.reader if self.hub else None}.get(source)
        return own or self.reader

    @model_validator(mode="after")
    def _consistent(self) -> DatasetSettings:
        if self.metric not in METRICS[self.task]:
            raise ValueError(f"metric must be one of {list(METRICS[self.task])} for task {self.task}")
        if (self.scale is not None) != (self.task == "regression"):
            raise ValueError("scale (low, high, step) belongs to task regression, which must have it")
        known = get_args(SpanReader if self.task == "span" else LabelReader)
        for source in get_args(Source):
            if (reader := self.reader_of(source)) not in known:
                raise ValueError(f"reader {reader} does not give what task {self.task} needs; use one of {list(known)}")
        if self.category in ("sa", "nli"):
            self._check_shared_classes()
        if self.reader == "fields":
            if not 1 <= len(self.fields) <= 2 or self.label_field is None:
                raise ValueError("reader fields needs fields (one or two text fields) and label_field")
        elif self.fields or self.label_field:
            raise ValueError(f"fields and label_field are for reader fields, not for {self.reader}")
        if self.task == "classification":
            if len(self.classes) < 2 or set(self.label_map.values()) != set(self.classes):
                raise ValueError("labels must map to every class and to nothing else")
        elif self.classes or self.labels:
            raise ValueError(f"labels and classes are for task classification, not for {self.task}")
        if both := sorted(set(self.unlabelled) & set(self.label_map)):
            raise ValueError(f"label {both[0]!r} is in labels and in unlabelled")
        if extra := sorted(set(self.files.drop_shared) - set(self.fields)):
            raise ValueError(f"files.drop_shared names {extra[0]!r}, which is not in fields")
        for splits in (self.splits, self.files.splits, self.hub.splits if self.hub else None):
            if splits is not None and (splits.test is None) != (self.heldout_share is not None):
                raise ValueError("give either splits.test or heldout_share: evaluation rows come from one of them")
        return self

    def _check_shared_classes(self) -> None:
        if self.task != "classification" or self.classes != CLASSES[self.category]:  # type: ignore[index]
            raise ValueError(f"classes must be {list(CLASSES[self.category])} for category {self.category}")  # type: ignore[index]
        segments = {"sa": 1, "nli": 2}[self.category]
        if len(self.fields) != segments:
            raise ValueError(f"fields must name {segments} text field(s) for category {self.category}")
