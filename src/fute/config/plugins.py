"""The section `lm.plugins`: black boxes that are Python functions."""

from __future__ import annotations

from pydantic import Field

from fute.config.sections import Section


class PluginSettings(Section):
    """A black box that is a Python function: it takes texts and returns one output per text."""

    callable: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="The function, written `module:function`."
    )
    folder: str = Field(
        description="Folder that the module is imported from. All Python files in it identify the black box: an edit "
        "labels and embeds it again."
    )
    dataset: str | None = Field(
        None,
        description="Dataset whose training rows the function also gets, and whose classes it names. `null`: none.",
    )
    options: dict[str, bool | int | float | str] = Field({}, description="Further arguments of the function, by name.")
