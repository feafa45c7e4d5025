"""Reading sidecars `X.prov.json`, so strictly that a damaged or edited one is never taken for a record."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fute.artifacts import SCHEMA, SIDECAR, content_key
from fute.audit.paths import RESULTS, ResultsFolder, checked_name

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Module = Annotated[str, Field(pattern=r"^fute(\.[a-z0-9_]+)+$")]
# facts of a run that are not about times and costs
HARDWARE = ("cpu", "gpu", "threads")
SOFTWARE = ("packages", "platform", "python")
# what the names of inputs outside the project start with
DATA, PLUGIN = "data:", "plugin:"


def _plain(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{path!r} leads outside the project")
    return checked_name(path) if path.startswith(f"{RESULTS}/") else path


class RecordError(ValueError):
    """A sidecar that is missing, damaged, edited or of another version; names the file."""


class NoRecord(RecordError):
    """A sidecar that is missing or cannot be read."""


class Strict(BaseModel):
    """A part of a file: unknown fields and values of other types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Input(Strict):
    """A file that an artifact was made from.

    path: its name; `data:{name}` or `plugin:{name}` for files outside the project. record_sha256: of its record at
    that time; None for files that no step made.
    """

    path: Annotated[str, AfterValidator(_plain)]
    sha256: Sha256
    record_sha256: Sha256 | None = None


class Record(Strict):
    """Block `record`: equal whenever the same thing is made from the same inputs. Written by `fute.artifacts.Step`."""

    schema_version: Literal[SCHEMA] = Field(alias="schema")
    artifact: str
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
    step: str
    module: Module
    more_code: list[Module] = []
    params: Any
    code_sha256: Sha256
    seeds: dict[str, int]
    inputs: list[Input]
    counts: dict[str, int] = {}
    facts: dict[str, Any] = {}
    image: Sha256 | None = None
    semantic_sha256: Sha256 | None = None

    @property
    def artifacts(self) -> list[str]:
        """Inputs that are artifacts, too."""
        return [source.path for source in self.inputs if source.path.startswith(f"{RESULTS}/")]


class RunFacts(BaseModel):
    """Block `run`: facts of one run, as far as known: time, cost (seconds and MB), hardware, software.

    Only fixes the types that readers rely on; a sidecar may hold more.
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


class Sidecar(Strict):
    """A record, its hash, and the facts of one run, which are no evidence: nothing hashes them."""

    record: Record
    record_sha256: Sha256
    run: Annotated[dict[str, Any], AfterValidator(_run_facts)]

    def environment(self) -> dict[str, Any]:
        """Hardware and software of the run, without times and costs."""
        return {name: self.run[name] for name in (*HARDWARE, *SOFTWARE) if name in self.run}


def strict_json(data: bytes) -> Any:
    """The JSON value of some bytes. Raises ValueError, also if an object has a name twice: readers take either."""
    return json.loads(data, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("an object has a name twice")
    return value


def first_problem(error: ValidationError) -> str:
    """Field and message of the first thing that is wrong with a file's content."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"


def parse_sidecar(data: bytes, where: str) -> Sidecar:
    """The sidecar with these bytes. where: name of the file in errors. Raises RecordError."""
    try:
        raw = strict_json(data)
        sidecar = Sidecar.model_validate(raw)
        # of what was read, not of what the model made of it
        digest = content_key(raw["record"])
        content_key(raw["run"])  # refuses numbers and texts that JSON cannot hold
    except ValidationError as error:
        problem = f"{where}: is no record of this version: {first_problem(error)}; make the artifact again"
        raise RecordError(problem) from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: is damaged, not JSON ({error}); make the artifact again") from None
    if digest != sidecar.record_sha256:
        raise RecordError(
            f"{where}: was edited: its record_sha256 is not the hash of its record; make the artifact again"
        )
    return sidecar


def read_sidecar(results: ResultsFolder, name: str) -> tuple[Sidecar, str]:
    """The sidecar of the artifact `name`, and the sha256 of its file.

    Raises RecordError; NoRecord if it is missing or cannot be read; UnsafePath.
    """
    return read_sidecar_file(results.path(name + SIDECAR), name + SIDECAR)


def read_sidecar_file(path: Path, where: str | None = None) -> tuple[Sidecar, str]:
    """As `read_sidecar`, of a file anywhere. where: its name in errors; default: the path."""
    where = where or path.as_posix()
    try:
        if path.exists() and not path.is_file():
            raise RecordError(f"{where}: is no file; remove it and make the artifact again")
        data = path.read_bytes()
    except FileNotFoundError:
        raise NoRecord(
            f"{where}: is missing, so the artifact beside it has no record; copy it again or make the artifact again"
        ) from None
    except OSError as error:
        raise NoRecord(f"{where}: cannot be read: {error.strerror}") from None
    return parse_sidecar(data, where), hashlib.sha256(data).hexdigest()
