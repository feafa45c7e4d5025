"""The registry of categories: what one entry of `config/categories.yaml` may say.

A category is one classification task of the LLM experiment: its datasets have the same classes, and its prompts ask
for them. Sections that name categories are checked against those of the run, which pydantic's validation context
holds; the settings of a step are checked without one, since the plan that wrote them has checked them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from fute.config.sections import Id, Section

ClassificationMetric = Literal["accuracy", "macro_f1"]
NAME = re.compile(r"[a-z_][a-z0-9_]*")
FEWEST, MOST = 2, 60
"""Classes of a category: beyond about fifty, a prompt that lists them all is long, and U too small to show each."""


class UnsupDefaults(Section):
    """How the U of a category is drawn where the run's `unsup` does not say."""

    max_per_script: int = Field(100, ge=1, description="Most texts from one script (or task).")
    limit: int | None = Field(10_000, ge=1, description="Most texts in all. `null`: no limit.")
    exclude: tuple[str, ...] = Field(
        (), description="CrossFit's scripts and tasks that hold evaluated datasets; they are left out."
    )
    exclude_strict: tuple[str, ...] = Field(
        (), description="What shares texts with an evaluated dataset; left out by `unsup.NAME.exclude_strict`."
    )


class CategoryEntry(Section):
    """One classification task: its classes, the texts that a row has, and how its prompts are asked and scored."""

    title: str | None = Field(None, description="Name in tables and figures. `null`: the id in capitals.")
    segments: tuple[str, ...] = Field(
        ("text",),
        min_length=1,
        max_length=2,
        description="The one or two texts of a row, by the names that templates have in braces: `{text}`.",
    )
    classes: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=FEWEST,
        max_length=MOST,
        description="Class names in the order of class indices. Of equally likely classes the first is taken.",
    )
    question: str | None = Field(
        None,
        description="The task in words, for the baseline Self-Select: `decide whether ...`. `null`: to decide which of "
        "the classes a text is.",
    )
    answer: Literal["first_token", "sequence"] | None = Field(
        None,
        description="Where the scores of its classes are read: at the first token of each verbalizer, or over all its "
        "tokens, for classes whose words share a first token. `null`: as `llm.engine.score` says.",
    )
    metric: ClassificationMetric = Field(
        "accuracy", description="How its datasets are scored, unless the run says otherwise (`llm.metrics`)."
    )
    datasets: tuple[Id, ...] = Field((), description="Targets of a run that does not give `llm.datasets`.")
    colour: Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")] | None = Field(
        None, description="Colour in figures, `#` and six hex digits. `null`: the next of a colour-blind-safe series."
    )
    unsup: UnsupDefaults = Field(UnsupDefaults(), description="How its U is drawn where the run does not say.")
    zps_flip: bool = Field(
        False, description="The authors' code flips ZPS's pseudo-labels here; `baselines.zps_sa_flip` repeats it."
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _texts(cls, classes: Any) -> Any:
        if isinstance(classes, list | tuple) and any(name != name.strip() for name in classes if isinstance(name, str)):
            raise ValueError("a class name has blanks around it; write it without")
        return classes

    @model_validator(mode="after")
    def _names(self) -> CategoryEntry:
        if wrong := [name for name in self.segments if not NAME.fullmatch(name)]:
            raise ValueError(f"segments: {wrong[0]!r} cannot stand in braces; use lower-case letters, digits and _")
        for key in ("segments", "classes"):
            names = getattr(self, key)
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{key}: {twice[0]!r} is named twice")
        if self.zps_flip and len(self.classes) != 2:
            raise ValueError("zps_flip swaps two classes; leave it out")
        return self

    def title_of(self, name: str) -> str:
        """Name in tables and figures. name: the category's id."""
        return self.title or name.upper()

    @property
    def task(self) -> str:
        """The task in words."""
        kind = "a text" if len(self.segments) == 1 else f"a pair of texts ({' and '.join(self.segments)})"
        return self.question or f"decide which of these {kind} is: {', '.join(self.classes)}"


Categories = Mapping[str, CategoryEntry]
"""Category -> its entry, in the order of tables and figures."""


def context(categories: Categories) -> dict[str, Any]:
    """The validation context of a run with these categories."""
    return {"categories": categories}


def categories_of(info: ValidationInfo) -> Categories | None:
    """The categories that a section is checked against; None without a context."""
    return info.context["categories"] if info.context else None


def check_known(name: str, info: ValidationInfo, *others: str) -> str:
    """The name itself. Raises ValueError for one that is no category, and none of the others that may stand there."""
    categories = categories_of(info)
    if categories is not None and name not in categories and name not in others:
        raise ValueError(
            f"there is no category {name!r}; use one of {', '.join([*others, *categories])}, or add it to "
            "registry.categories of the run"
        )
    return name


Category = Annotated[Id, AfterValidator(check_known)]
