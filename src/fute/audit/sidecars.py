"""Reading sidecars `X.prov.json`: strictly, so that a damaged or edited one is never taken for a record."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fute.artifacts import SCHEMA, content_key
from fute.audit.paths import RESULTS, checked_name

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Module = Annotated[str, Field(pattern=r"^fute(\.[a-z0-9_]+)+$")]
# what of a run's facts says on which machine and with which software it ran; times and costs are left out
ENVIRONMENT = ("cpu", "gpu", "packages", "platform", "python", "threads")


def _plain(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{path!r} leads outside the project")
    return checked_name(path) if path.startswith(f"{RESULTS}/") else path


class RecordError(ValueError):
    """A sidecar that is missing, damaged, edited, or not of this version; names the file."""


class NoRecord(RecordError):
    """A sidecar that is not there, or that cannot be read."""


class Input(BaseModel):
    """A file that an artifact was made from.

    path: its name, or `data:{name}` and `plugin:{name}` of files outside the project. record_sha256: of the record
    it had then; None for files that no step made.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: Annotated[str, AfterValidator(_plain)]
    sha256: Sha256
    record_sha256: Sha256 | None = None


class Record(BaseModel):
    """What is the same whenever the same thing is made from the same inputs; written by `fute.artifacts.Step`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: Literal[SCHEMA] = Field(alias="schema")  # type: ignore[valid-type]
    artifact: str
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
    rule: str
    module: Module
    params: Any
    code_sha256: Sha256
    seeds: dict[str, int]
    inputs: list[Input]
    counts: dict[str, int] = {}
    facts: dict[str, Any] = {}
    image: Sha256 | None = None
    semantic_sha256: Sha256 | None = None


class RunFacts(BaseModel):
    """What was so in one run only, as far as it is known: when, at which cost (seconds and MB), on what.

    It only says which types readers may rely on; a run keeps what else it says.
    """

    model_config = ConfigDict(strict=True)

    finished: str = ""
    wall_s: float = 0
    cpu_s: float = 0
    peak_memory_mb: int = 0
    cpu: str = ""
    gpu: list[str] = []
    packages: dict[str, str] = {}
    platform: str = ""
    python: str = ""
    threads: str = ""


def _run_facts(run: dict[str, Any]) -> dict[str, Any]:
    RunFacts.model_validate(run)
    return run


class Sidecar(BaseModel):
    """A record, its hash, and the facts of its run."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    record: Record
    record_sha256: Sha256
    run: Annotated[dict[str, Any], AfterValidator(_run_facts)]

    def environment(self) -> dict[str, Any]:
        """Machine and software of the run, without times and costs."""
        return {name: self.run[name] for name in ENVIRONMENT if name in self.run}


def strict_json(data: bytes) -> Any:
    """The JSON value of some bytes. Raises ValueError, also for a name that stands twice: which counts is not said."""
    return json.loads(data, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def parse_sidecar(data: bytes, where: str) -> Sidecar:
    """The sidecar with these bytes. Raises RecordError, which calls the file `where`."""
    try:
        raw = strict_json(data)
        sidecar = Sidecar.model_validate(raw)
        # over what was read, not over what the model made of it
        digest = content_key(raw["record"])
        content_key(raw["run"])  # refuses numbers and texts that no JSON can hold
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise RecordError(f"{where}: is no record of this version: {field}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: is damaged, not JSON ({error}); make the artifact again") from None
    if digest != sidecar.record_sha256:
        raise RecordError(f"{where}: was edited: its record_sha256 is not the hash of its record")
    return sidecar


def read_sidecar(path: Path, where: str | None = None) -> tuple[Sidecar, str]:
    """The sidecar in a file, and the sha256 of its bytes. where: what messages call it (default: the path).

    Raises RecordError; a file that is not there is one, too.
    """
    where = where or path.as_posix()
    try:
        if path.exists() and not path.is_file():
            raise RecordError(f"{where}: is no file; remove it, and make the artifact again")
        data = path.read_bytes()
    except FileNotFoundError:
        raise NoRecord(f"{where}: is missing; the artifact beside it has no record") from None
    except OSError as error:
        raise NoRecord(f"{where}: cannot be read: {error.strerror}") from None
    return parse_sidecar(data, where), hashlib.sha256(data).hexdigest()
