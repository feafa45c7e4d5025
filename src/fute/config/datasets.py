"""The registry of labelled datasets: what one entry of `config/datasets.yaml` may say."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from fute.config.categories import CategoryEntry, categories_of, check_known
from fute.config.sections import Id, Section

Source = Literal["builtin", "files", "hub"]
OWN_CLASSES = ("cr", "qa")
"""Categories whose datasets have classes, or answers, of their own; those of the registry share them."""
Task = Literal["classification", "regression", "span"]
Metric = Literal["accuracy", "f1", "matthews", "spearman", "span_f1"]
# the forms of raw rows that `fute.data.readers` knows: of labels, and of answers in a context
LabelReader = Literal["fields", "med_qa", "medalpaca"]
SpanReader = Literal["squad", "multiqa", "hotpot_qa", "duorc", "drop", "drop_flat", "wiki_hop", "boolq_span"]
Reader = LabelReader | SpanReader


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


WHOLE = re.compile(r"-?\d+(\.0+)?")


def _spellings(label: object) -> tuple[str, ...]:
    """How a registry entry may write a raw label: as Python does, or a whole number with or without decimals."""
    text = str(label)
    if isinstance(label, bool):
        return text, text.lower()
    if WHOLE.fullmatch(text):
        return text, text.split(".")[0], f"{text.split('.')[0]}.0"
    return (text,)


OneOrMore = str | tuple[str, ...]
Names = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_as_list, json_schema_input_type=OneOrMore)]

METRICS: dict[Task, tuple[Metric, ...]] = {
    "classification": ("accuracy", "f1", "matthews"),
    "regression": ("spearman",),
    "span": ("span_f1",),
}

UNLABELLED = ("-1",)


class SplitNames(Section):
    """Names of the raw splits that are read. Held-out rows (dev) are always cut from train."""

    train: Names = Field(description="Raw split, or list of splits, to learn from.")
    test: Names | None = Field(
        None,
        description="Raw split, or list of splits, to evaluate on. `null`: rows are cut from train; give "
        "`heldout_share`.",
    )

    @property
    def parts(self) -> tuple[tuple[str, Names], ...]:
        """(train or test, split names); of splits that both are cut from, train."""
        return (("train", self.train), *((("test", self.test),) if self.test else ()))


class FilesSettings(Section):
    """How the dataset lies in a local folder, where that differs from the entry."""

    folder: str | None = Field(
        None,
        description="Folder under `data.root`. `null`: the dataset's id. Of a run's own dataset: see `registry`.",
    )
    splits: SplitNames | None = Field(None, description="Raw splits there. `null`: those of the entry.")
    reader: Reader | None = Field(None, description="Form of the rows there. `null`: that of the entry.")
    drop_shared: tuple[str, ...] = Field(
        (), description="Text fields; a training row that shares one of them with an evaluation row is dropped."
    )


class HubSettings(Section):
    """The dataset's repository on huggingface.co."""

    repo: str = Field(
        description="Repository, or a snapshot of one in a local folder: then write a leading `/`, `./` or `../`."
    )
    config: str | None = Field(None, description="Configuration of the repository. `null`: its only one.")
    folder: str | None = Field(
        None,
        description="Read this folder of the repository only, for branches with folders in place of configurations.",
    )
    branch: str | None = Field(
        None,
        description="Branch with the data, such as `refs/convert/parquet`, the hub's own conversion. `null`: the "
        "default branch.",
    )
    revision: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{40}$",
        description="Commit to read, 40 hex digits. `null`: the newest of the branch; the lock file beside the data "
        "records which one that was.",
    )
    splits: SplitNames | None = Field(None, description="Raw splits there. `null`: those of the entry.")
    reader: Reader | None = Field(None, description="Form of the rows there. `null`: that of the entry.")
    rename: dict[str, str] = Field({}, description="Column -> the name by which the entry or its reader knows it.")

    @property
    def is_folder(self) -> bool:
        return self.repo.startswith(("/", "./", "../"))


class Scale(Section):
    """The numbers of a regression dataset, as text targets show them."""

    low: float = Field(description="Lowest number; lower ones become it.")
    high: float = Field(description="Highest number; higher ones become it.")
    step: float = Field(gt=0, description="Numbers are rounded to the nearest multiple of this.")


class Sizes(Section):
    """Rows with a label in the official splits. A difference is a warning, never an error."""

    train: int | None = Field(None, description="Rows of the official training split. `null`: unknown.")
    dev: int | None = Field(None, description="Rows of the official split that is evaluated on. `null`: unknown.")


class Unusable(Section):
    """How many rows of a split may be of no use; both limits hold."""

    share: float = Field(0.001, ge=0, lt=1, description="Largest share of the rows.")
    rows: int = Field(5, ge=0, description="Most rows.")

    def allows(self, unusable: int, read: int) -> bool:
        """True if so many unusable rows among all that were read may be left out."""
        return unusable <= self.rows and unusable <= self.share * read


class DatasetSettings(Section):
    """One labelled dataset: what is learned on it, and how its raw rows are read."""

    title: str = Field(description="Name in tables and figures.")
    category: Id = Field(
        description="A category, whose datasets have the same classes; or `cr` (classification "
        "and regression) or `qa` (question answering), whose datasets have their own."
    )
    task: Task = Field("classification", description="What a model learns: classes, a number, or a span of a context.")
    metric: Metric = Field(
        "accuracy",
        description="How it is scored. `classification`: `accuracy`, `f1` (of the second of two classes) or "
        "`matthews`; `regression`: `spearman`; `span`: `span_f1`.",
    )
    domain: Literal["finance", "medical"] | None = Field(
        None, description="Domain of a target of Table 2. `null`: the dataset is in Table 1."
    )
    reader: Reader = Field(
        "fields",
        description="Form of the raw rows. `fields`: what `fields` and `label_field` name; the others are the raw "
        "forms of single datasets.",
    )
    fields: tuple[str, ...] = Field(
        (), description="The one or two text fields of a row, in the order of its segments (reader `fields`)."
    )
    label_field: str | None = Field(None, description="The field with the label (reader `fields`).")
    labels: dict[str, str] | tuple[str, ...] = Field(
        (), description="Raw label, as text -> class name. A list names the classes of the raw labels 0, 1, ..."
    )
    unlabelled: tuple[str, ...] = Field(
        UNLABELLED, description="Raw labels that mean: no label (task `classification`). Such rows are dropped."
    )
    max_unlabelled: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Largest share of rows without a label. More of them are an error, as in the authors' code, "
        "because some test splits hide their labels.",
    )
    classes: tuple[str, ...] = Field(
        (),
        description="Class names in the order of class indices (task `classification`). In a category they are the "
        "category's, and may be left out; so may `labels`, where the raw labels are the class names.",
    )
    scale: Scale | None = Field(None, description="Range and step of the numbers (task `regression`).")
    splits: SplitNames = Field(description="The raw splits to learn from and to evaluate on.")
    heldout_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of the rows that is cut from train to evaluate on, for a dataset without `splits.test`.",
    )
    max_unusable: Unusable = Field(
        Unusable(),
        description="Most rows of a split that are left out because nothing can be made of them: an empty or missing "
        "text, a label that is not known. Beyond that the first of them are listed in an error.",
    )
    max_skipped: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="Largest share of questions without an answer span that may be skipped. 0: they are unusable rows.",
    )
    distractors: int | None = Field(
        default=None,
        ge=0,
        description="Paragraphs of HotpotQA that are kept beside the supporting ones. `null`: all of them.",
    )
    sample: int | None = Field(
        default=1000, ge=1, description="Most rows to evaluate on, unless `data.test_rows` says otherwise. `null`: all."
    )
    overlaps: tuple[str, ...] = Field(
        (), description="Datasets whose evaluation texts must not stand in this one's training rows, which drop them."
    )
    overlap_by: Literal["row", "first"] = Field(
        "row", description="What counts as the same text there: the whole row, or its first segment (the question)."
    )
    expected: Sizes = Field(Sizes(), description="Sizes of the official splits.")
    vu_size: float | None = Field(
        default=None,
        gt=0,
        description="Rows of all splits, in thousands, as the transfer literature counts them (baseline DataSize).",
    )
    files: FilesSettings = Field(
        FilesSettings(), description="How a local folder differs from the entry (`data.source: files`)."
    )
    hub: HubSettings | None = Field(None, description="The repository on huggingface.co (`data.source: hub`).")
    obtain: str | None = Field(None, description="How to get the data, where no source has them; shown in errors.")

    @property
    def label_map(self) -> dict[str, str]:
        if isinstance(self.labels, dict):
            return self.labels
        return {str(index): name for index, name in enumerate(self.labels)}

    def is_unlabelled(self, label: object) -> bool:
        """True if a raw label means that the row has no label. Of other tasks each is one: -1 is a number."""
        return self.task == "classification" and any(text in self.unlabelled for text in _spellings(label))

    def class_of(self, label: object) -> str | None:
        """Class of a raw label; None for one that is not in `labels`. 1, 1.0 and "1.0" are one label."""
        known = self.label_map
        return next((known[text] for text in _spellings(label) if text in known), None)

    @property
    def group(self) -> Literal["cr", "qa"]:
        """Classification and regression, or question answering: the paper's two classes of language-model tasks."""
        return "qa" if self.category == "qa" else "cr"

    def reader_of(self, source: Source) -> Reader:
        """The form of the rows that a source has."""
        own = {"files": self.files.reader, "hub": self.hub.reader if self.hub else None}.get(source)
        return own or self.reader

    @model_validator(mode="before")
    @classmethod
    def _classes_of_category(cls, values: Any, info: ValidationInfo) -> Any:
        """In a category, classes that are not given are the category's, and labels the names of the classes."""
        known = categories_of(info)
        if not isinstance(values, dict) or known is None or str(values.get("category")) not in known:
            return values
        classes = known[str(values["category"])].classes
        return {"classes": classes, "labels": {name: name for name in classes}} | values

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> DatasetSettings:
        if self.metric not in METRICS[self.task]:
            raise ValueError(f"metric must be one of {list(METRICS[self.task])} for task {self.task}")
        if (self.scale is not None) != (self.task == "regression"):
            raise ValueError("scale (low, high, step) belongs to task regression, which must have it")
        known = get_args(SpanReader if self.task == "span" else LabelReader)
        for source in get_args(Source):
            if (reader := self.reader_of(source)) not in known:
                raise ValueError(f"reader {reader} does not give what task {self.task} needs; use one of {list(known)}")
        check_known(self.category, info, *OWN_CLASSES)
        if (entry := (categories_of(info) or {}).get(self.category)) is not None:
            self._fits_category(entry)
        if self.reader == "fields":
            if not 1 <= len(self.fields) <= 2 or self.label_field is None:
                raise ValueError("reader fields needs fields (one or two text fields) and label_field")
        elif self.fields or self.label_field:
            raise ValueError(f"fields and label_field are for reader fields, not for {self.reader}")
        if self.task == "classification":
            if len(self.classes) < 2 or set(self.label_map.values()) != set(self.classes):
                raise ValueError("labels must map to every class and to nothing else")
            if self.metric == "f1" and len(self.classes) > 2:
                raise ValueError("metric f1 is that of the second of two classes; use accuracy or matthews for more")
        elif self.classes or self.labels:
            raise ValueError(f"labels and classes are for task classification, not for {self.task}")
        if self.task != "classification" and self.unlabelled not in ((), UNLABELLED):
            raise ValueError(f"unlabelled is for task classification, not for {self.task}; remove such rows")
        if both := sorted(set(self.unlabelled) & set(self.label_map)):
            raise ValueError(f"label {both[0]!r} is in labels and in unlabelled")
        if extra := sorted(set(self.files.drop_shared) - set(self.fields)):
            raise ValueError(f"files.drop_shared names {extra[0]!r}, which is not in fields")
        for splits in (self.splits, self.files.splits, self.hub.splits if self.hub else None):
            if splits is not None and (splits.test is None) != (self.heldout_share is not None):
                raise ValueError("give either splits.test or heldout_share: evaluation rows come from one of them")
        return self

    def _fits_category(self, entry: CategoryEntry) -> None:
        if self.task != "classification" or self.classes != entry.classes:
            raise ValueError(f"classes must be {list(entry.classes)} for category {self.category}")
        segments = len(entry.segments)
        if len(self.fields) != segments:
            raise ValueError(f"fields must name {segments} text field(s) for category {self.category}")
