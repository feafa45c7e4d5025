"""The registry of models: what one entry of `config/models.yaml` may say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from fute.config.sections import Section

GGUF_FORMAT = re.compile(r"\bI?Q(\d)_\w+(?=\.gguf$)", re.IGNORECASE)
"""The quantisation in the name of a GGUF file: `Q4_1`, `q4_k_m`."""

SIZES = ("parameters_m", "active_parameters_m")
"""Keys that say how large a model is; they change no result."""


class ModelEntry(Section):
    """Where the weights of one model come from: exactly one of `repo`, `package`, `folder` and `server: true`."""

    title: str | None = Field(None, description="Name in tables and figures. `null`: the id.")
    repo: str | None = Field(None, description="Repository on huggingface.co.")
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        None,
        description="Commit of the repository, 40 hex digits. `null`: the newest when the model is fetched; the lock "
        "file beside the weights records which one that was.",
    )
    gated: bool = Field(False, description="The hub asks for a token: put it into the environment variable `HF_TOKEN`.")
    package: str | None = Field(None, description="Python package that holds the weights; give `version` and `file`.")
    version: str | None = Field(None, description="Version of that package.")
    file: str | None = Field(
        None,
        description="In that package: a GGUF file, or the folder of a saved model (config, safetensors, tokenizer).",
    )
    folder: str | None = Field(None, description="Local folder of a saved model.")
    server: bool = Field(False, description="The model runs behind the server of `llm.engine`; it has no files.")
    parameters_m: float = Field(
        1000, gt=0, description="Size in millions of parameters. Memory, time and GPUs of the model's jobs follow it."
    )
    active_parameters_m: float | None = Field(
        None,
        gt=0,
        description="For a mixture of experts: millions of parameters that one token uses. Time follows these, memory "
        "follows `parameters_m`. `null`: all of them.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> ModelEntry:
        given = [name for name in ("repo", "package", "folder") if getattr(self, name)] + ["server"] * self.server
        if len(given) != 1:
            raise ValueError(f"needs exactly one of repo, package, folder, server: true; has {given or 'none'}")
        if self.active_parameters_m is not None and self.active_parameters_m > self.parameters_m:
            raise ValueError("active_parameters_m is larger than parameters_m, the number of all parameters")
        if self.package and not (self.version and self.file):
            raise ValueError("a package source needs the package's version and the model file (or folder) in it")
        return self

    @property
    def stored_as(self) -> str:
        """The rounding of the weights before this project read them, as far as the entry says."""
        if self.server:
            return "weights of the server"
        if quantised := GGUF_FORMAT.search(self.file or ""):
            return f"weights from a file of {quantised[1]} bits ({quantised[0].strip('.')}), expanded to bf16"
        return "weights as published"

    def settings(self) -> dict[str, Any]:
        """The keys that name these weights; of a folder its last name alone, since its content is not read."""
        named = self.model_dump(exclude={"title", "gated", *SIZES, "folder"}, exclude_none=True)
        return named | ({"folder": {"name": Path(self.folder).name}} if self.folder else {})
