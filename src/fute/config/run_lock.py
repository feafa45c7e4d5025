"""The lock of a run, `config/locks/{name}.json`: which revisions and files its data and models are."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field, ValidationError

from fute.config.sections import ConfigError, Id, Section

LOCKS = Path("config/locks")
MAKE_IT = "fute lock --configfile FILE"


class Locked(Section):
    """Where one dataset, U or model was read from. Keys that do not apply to its kind of source are `null`."""

    source: str | None = Field(None, description="Source of a dataset.")
    repo: str | None = Field(None, description="Repository on the hub.")
    config: str | None = Field(None, description="Configuration of the repository.")
    branch: str | None = Field(None, description="Branch of the repository.")
    folder: str | None = Field(None, description="Folder of the repository, or name of a model's own folder.")
    package: str | None = Field(None, description="Python package with a model.")
    version: str | None = Field(None, description="Version of the package.")
    file: str | None = Field(None, description="File of the package.")
    server: bool = Field(False, description="A model behind a server, of which nothing is known.")
    revision: str | None = Field(None, description="Commit of the repository.")
    files: dict[str, str] | None = Field(None, description="File -> sha256. `null`: not there when the lock was made.")
    splits: dict[str, str] | None = Field(None, description="Split -> hash of the rows that were read from the hub.")


class RunLock(Section):
    """All that a run reads from outside of the project."""

    run: str = Field(description="Name of the run.")
    datasets: dict[Id, Locked] = Field(description="Dataset -> its source.")
    unsup: dict[Id, Locked] = Field(description="Category -> source of its U.")
    models: dict[Id, Locked] = Field(description="Model -> its source.")


def lock_file(name: str) -> Path:
    """Path of a run's lock, from the project's folder."""
    return LOCKS / f"{name}.json"


def read_run_lock(path: Path | None) -> RunLock | None:
    """The lock in a file; None if there is no such file. Raises ConfigError for a file that is no lock."""
    if path is None or not path.is_file():
        return None
    try:
        return RunLock.model_validate(json.loads(path.read_text(encoding="utf8")))
    except (OSError, ValueError, RecursionError) as error:
        why = f"{error.error_count()} errors" if isinstance(error, ValidationError) else str(error)
        raise ConfigError(f"{path}: is no lock of a run ({why}); bring back the committed one, or {MAKE_IT}") from None


def pinned_dataset(path: Path | None, dataset: str) -> str | None:
    """Commit that the lock in a file names for a dataset; None where it names none."""
    lock = read_run_lock(path)
    return lock.datasets[dataset].revision if lock and dataset in lock.datasets else None


def pinned_model(path: Path | None, model: str) -> str | None:
    """Commit that the lock in a file names for a model; None where it names none."""
    lock = read_run_lock(path)
    return lock.models[model].revision if lock and model in lock.models else None
