"""The registry of models: what one entry of `config/models.yaml` may say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from fute.config.categories import Category
from fute.config.finetuning import TrainingSettings
from fute.config.sections import Id, Section

GGUF_FORMAT = re.compile(r"\bI?Q(\d)_\w+(?=\.gguf$)", re.IGNORECASE)
"""The quantisation in the name of a GGUF file: `Q4_1`, `q4_k_m`."""

SIZES = ("parameters_m", "active_parameters_m")
"""Keys that say how large a model is; they change no result."""


class TunedSettings(TrainingSettings):
    """An LLM of this registry, fine-tuned to answer some prompts as labelled rows do (causal models only)."""

    model: Id = Field(description="The model that is fine-tuned: another id of this registry, with files of its own.")
    prompts: dict[Category, tuple[int, ...]] = Field(
        min_length=1, description="Per category the numbers of the prompts that it is fine-tuned with, in turns."
    )
    datasets: dict[Category, tuple[Id, ...]] = Field(
        description="Per category the datasets whose training rows it is fine-tuned on; the same categories."
    )
    layers: int | None = Field(
        None,
        ge=1,
        description="Fine-tune the last so many layers and the norm above them. `null`: all of them, and not the "
        "embeddings and the head.",
    )

    @model_validator(mode="after")
    def _rows_for_prompts(self) -> TunedSettings:
        if set(self.prompts) != set(self.datasets):
            raise ValueError("prompts and datasets name different categories; give both for each")
        if empty := [name for name in self.prompts if not (self.prompts[name] and self.datasets[name])]:
            raise ValueError(f"{empty[0]}: name at least one prompt and one dataset")
        return self


class ModelEntry(Section):
    """Where a model's weights come from: exactly one of `repo`, `package`, `folder`, `tuned` and `server: true`."""

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
    tuned: TunedSettings | None = Field(
        None, description="The run makes the weights itself: it fine-tunes another model. Only for `llm.models`."
    )
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
        sources = ("repo", "package", "folder", "tuned", "server")
        given = [name for name in sources if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of repo, package, folder, tuned, server: true; has {given or 'none'}")
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
        if self.tuned:
            return f"{self.tuned.model}, fine-tuned by this run and rounded to bf16"
        if quantised := GGUF_FORMAT.search(self.file or ""):
            return f"weights from a file of {quantised[1]} bits ({quantised[0].strip('.')}), expanded to bf16"
        return "weights as published"

    def settings(self) -> dict[str, Any]:
        """The keys that name these weights; of a folder its last name alone, since its content is not read."""
        named = self.model_dump(exclude={"title", "gated", *SIZES, "folder"}, exclude_none=True)
        return named | ({"folder": {"name": Path(self.folder).name}} if self.folder else {})
