"""The section `lm.plugins`: black boxes that are Python functions."""

from __future__ import annotations

from pydantic import Field

from fute.config.sections import Section


class PluginSettings(Section):
    """A black box that is a Python function: `callable` is `module:function`, imported from `folder`.

    dataset: where given, the function also gets this dataset's training rows. options: passed on by name.
    """

    callable: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    folder: str
    dataset: str | None = None
    options: dict[str, bool | int | float | str] = Field({})
