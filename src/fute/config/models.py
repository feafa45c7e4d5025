"""The registry of models: what one entry of `config/models.yaml` may say."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from fute.config.sections import ConfigError, Section
from fute.file_hashes import sha256_files

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Weights in one file, in the order in which transformers looks for them; shards have an index `{name}.index.json`."""
BESIDE_WEIGHTS = ("*.json", "*.model", "*.jinja", "vocab*.txt", "merges*.txt", "dict*.txt")
"""Configuration and tokenizer."""
OF_TRAINING = ("train*", "eval*", "test_*", "predict*", "*_results.json", "*_state.json", "*_log.json", "optimizer*",
               "scheduler*", "log_history*")  # fmt: skip
"""What a training leaves beside a model: no part of it."""


def model_files(folder: Path) -> dict[str, Path]:
    """Name -> file of a saved model: configuration, tokenizer, and weights, `.bin` ones if there are no safetensors.

    Raises ConfigError if the folder has no configuration or no complete weights.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} holds no config.json; give the folder of a saved model")
    names = {path.name for pattern in BESIDE_WEIGHTS for path in folder.glob(pattern) if path.is_file()}
    names = {name for name in names if not any(fnmatch(name, pattern) for pattern in OF_TRAINING)}
    return {name: folder / name for name in sorted({*names, *_weights(folder)})}


def _weights(folder: Path) -> list[str]:
    for name in WEIGHTS:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [name]
        if index.is_file():
            try:
                shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise ConfigError(f"{index} is no index of weights; save the model again") from None
            if missing := [shard for shard in shards if not (folder / str(shard)).is_file()]:
                raise ConfigError(f"{folder} lacks {missing[0]}, which {index.name} names; copy it there")
            return shards
    adapter = (folder / "adapter_model.safetensors").is_file() or (folder / "adapter_model.bin").is_file()
    remedy = "merge its adapter into the model (peft: merge_and_unload) and save that" if adapter else "copy them there"
    raise ConfigError(f"{folder} holds no weights, {' or '.join(WEIGHTS)}; {remedy}")


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

    @model_validator(mode="after")
    def _one_source(self) -> ModelEntry:
        given = [name for name in ("repo", "package", "folder") if getattr(self, name)] + ["server"] * self.server
        if len(given) != 1:
            raise ValueError(f"needs exactly one of repo, package, folder, server: true; has {given or 'none'}")
        if self.package and not (self.version and self.file):
            raise ValueError("a package source needs the package's version and the model file (or folder) in it")
        return self

    def settings(self) -> dict[str, Any]:
        """What names these weights; of a folder its last name alone, since its content is not read."""
        named = self.model_dump(exclude={"title", "gated", "parameters_m", "folder"}, exclude_none=True)
        return named | ({"folder": {"name": Path(self.folder).name}} if self.folder else {})

    def identity(self) -> dict[str, Any]:
        """What identifies these weights, without a path: settings, and of a folder the sha256 of each of its files.

        The lock file then holds a hash per file for every source. Raises ConfigError for a folder without a model.
        """
        identity = self.settings()
        if self.folder:
            files = model_files(Path(self.folder).expanduser())
            try:
                hashes = sha256_files(files.values())
            except OSError as error:
                raise ConfigError(f"{error.filename}: cannot be read ({error.strerror}); give read access") from None
            identity["folder"]["files"] = {name: hashes[path] for name, path in files.items()}
        return identity
