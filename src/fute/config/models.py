"""The registry of models: what one entry of `config/models.yaml` may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from fute.config.sections import Section


class ModelEntry(Section):
    """Where the weights of a model come from: exactly one of hub repository, Python package, folder, server.

    file: in the package, its GGUF file or the folder of a saved model (config, safetensors, tokenizer files).
    gated: the hub asks for a token, taken from the environment variable HF_TOKEN. parameters_m: millions of parameters,
    from which memory, time and GPUs of its jobs follow (`fute.cluster.resources`).
    """

    title: str | None = None
    repo: str | None = None
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    gated: bool = False
    package: str | None = None
    version: str | None = None
    file: str | None = None
    folder: str | None = None
    server: bool = False
    parameters_m: float = Field(1000, gt=0)

    @model_validator(mode="after")
    def _one_source(self) -> ModelEntry:
        given = [name for name in ("repo", "package", "folder") if getattr(self, name)] + ["server"] * self.server
        if len(given) != 1:
            raise ValueError(f"needs exactly one of repo, package, folder, server: true; has {given or 'none'}")
        if self.package and not (self.version and self.file):
            raise ValueError("a package source needs the package's version and the model file (or folder) in it")
        return self

    def identity(self) -> dict[str, Any]:
        """What names these weights, without a path; the lock file then holds a hash a file."""
        named = self.model_dump(exclude={"title", "gated", "parameters_m", "folder"}, exclude_none=True)
        if self.folder:
            source = Path(self.folder).expanduser()
            files = {path.name: path.stat().st_size for path in sorted(source.glob("*")) if path.is_file()}
            named["folder"] = {"name": source.name, "bytes": files}
        return named
