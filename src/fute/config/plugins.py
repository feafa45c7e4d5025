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
        description="Folder that the module is imported from. All files in it except hidden ones identify the black "
        "box: a changed one, such as weights that the function reads, labels and embeds it again. Give it a folder of "
        "its own."
    )
    dataset: str | None = Field(
        None,
        description="Dataset whose training rows the function also gets, and whose classes it names. `null`: none.",
    )
    box: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9.-]*$",
        description="A fine-tuned model, written `model/dataset`, whose outputs for the same texts the function also "
        "gets, as `outputs`. `null`: none.",
    )
    options: dict[str, bool | int | float | str] = Field({}, description="Further arguments of the function, by name.")
