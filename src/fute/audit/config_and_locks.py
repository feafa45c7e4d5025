"""What a run stands on besides its artifacts: the configuration, images, folders of weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fute.artifacts import content_key, sha256_file
from fute.audit.manifest import ConfigIdentity
from fute.audit.paths import ResultsFolder, UnsafePath, checked_name, inside
from fute.audit.sidecars import RecordError
from fute.config.prompts import PromptError
from fute.config.run import Run, parse_run, read_yaml
from fute.config.sections import ConfigError
from fute.images.lock import FOLDER, ImageError, read_lock
from fute.images.lock import LOCK as IMAGE_LOCK
from fute.scrub import scrubbed

IMAGES = FOLDER / IMAGE_LOCK
LOCK = ".lock.json"
# how a run is spread over a machine: changes no result, and differs from machine to machine
OF_THE_MACHINE = {"threads": True, "processes": True, "gpus": True, "data": {"root"}, "lm": {"threads"}}


def config_sha256(run: Run) -> str:
    """One hash over every setting of a run that may shape a result: its file, preset, registry entries, prompts."""
    config = run.config.model_dump(mode="json", exclude=OF_THE_MACHINE)
    config["llm"]["engine"] = run.config.llm.engine.shaping()
    lm = run.config.lm
    models = {*run.config.llm.models, run.config.surrogate.name, *(lm.models if lm else ())}
    datasets = {name for names in run.config.llm.datasets.values() for name in names}
    datasets |= {*lm.datasets.cr, *lm.datasets.qa, *lm.datasets.domain} if lm else set()
    entries = [
        {name: run.models[name].identity() for name in models},
        {name: run.datasets[name].model_dump(mode="json") for name in datasets},
        {name: prompt.model_dump(mode="json", exclude={"note"}) for name, prompt in run.prompts.items()},
    ]
    return content_key(scrubbed([config, entries], {}))


def _run_of(file: Path, registries: Path) -> Run:
    """The run that a file of settings says; where the data lie, often left to the command line, shapes nothing."""
    values = read_yaml(file)
    if isinstance(values, dict) and isinstance(values.get("data"), dict):
        values = values | {"data": {"root": "anywhere"} | values["data"]}
    return parse_run(values, registries, str(file))


def config_identity(run: Run, file: Path) -> ConfigIdentity:
    """Name, file and hash of a run's configuration; the file only where it lies in the project and says all of it."""
    digest = config_sha256(run)
    here, path = Path.cwd(), file.resolve()
    name = path.relative_to(here).as_posix() if path.is_relative_to(here) else None
    told = name is not None and config_problem(name, digest, here) is None
    return ConfigIdentity(name=run.config.name, file=name if told else None, sha256=digest)


def config_problem(file: str, sha256: str, project: Path) -> str | None:
    """Why a configuration file is not the one with this hash; None where it is."""
    try:
        run = _run_of(inside(project, file), project / "config")
    except (ConfigError, PromptError, UnsafePath, OSError) as error:
        return f"cannot be read ({error}); bring back the configuration of the run"
    if config_sha256(run) != sha256:
        return (
            "its settings or the registries' are others than the run's; run the workflow, then make the manifest again"
        )
    return None


def read_images(project: Path = Path()) -> dict[str, dict[str, Any]]:
    """sha256 -> entry of every image in this machine's lock, with its name; empty where there is no lock.

    Raises RecordError for a lock that is damaged.
    """
    try:
        images = read_lock(project / FOLDER).images
    except ImageError as error:
        raise RecordError(str(error)) from None
    return {entry.sha256: {"name": name, **entry.model_dump()} for name, entry in images.items()}


def image_problem(sha256: str, images: dict[str, dict[str, Any]], project: Path) -> str | None:
    """Why the image that an artifact was made in is not the one that this machine has; None where nothing says so.

    Without a lock of images there is nothing to compare; an image's file is hashed where it is there.
    """
    if not images:
        return None
    if sha256 not in images:
        return f"was made in an image ({sha256[:12]}) that {IMAGES} does not have"
    name = images[sha256]["file"]
    if Path(name).name != name:
        return (
            f"was made in an image whose file, by {IMAGES}, is not beside it ({name}); write it again: fute images lock"
        )
    file = project / FOLDER / name
    if file.is_file() and sha256_file(file) != sha256:
        return f"was made in {FOLDER / name}, which was replaced since: it is not what {IMAGES} says"
    return None


def lock_files(name: str, results: ResultsFolder) -> dict[str, str]:
    """Files that a lock of weights speaks for -> sha256; none for a lock of data, whose files lie elsewhere.

    A model's files lie beside `{model}.lock.json` in `{model}/`. Raises RecordError for a lock that is damaged,
    UnsafePath where it names a file outside that folder.
    """
    try:
        value = json.loads(results.path(name).read_bytes())
        files = value["files"] if "model" in value else {}
        found = {f"{name.removesuffix(LOCK)}/{file}": str(facts["sha256"]) for file, facts in files.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise RecordError(f"{name}: is no lock of a model's files; make it again") from None
    for file in found:
        checked_name(file)
    return found


def lock_problem(name: str, files: Mapping[str, str], results: ResultsFolder) -> str | None:
    """Why a lock of weights does not speak for these files; None where it does, or where an artifact is no lock."""
    try:
        if not name.endswith(LOCK) or lock_files(name, results) == files:
            return None
    except RecordError as error:
        return str(error)
    except UnsafePath as error:
        return f"{name}: {error}"
    return f"{name}: lists other files than the manifest says of it; make the manifest again"


def unlisted_files(lock: str, files: Mapping[str, str], results: ResultsFolder) -> Iterator[str]:
    """Names in a model's folder that its lock does not know: a library might load them. A linked folder is one, too."""
    name = lock.removesuffix(LOCK)
    try:
        folder = results.path(name)
    except UnsafePath:
        return  # its files are refused one by one
    linked = (path for path in sorted(folder.rglob("*")) if path.is_symlink() and path.is_dir())
    there = [*results.names(name), *(f"{name}/{path.relative_to(folder)}" for path in linked)]
    yield from (file for file in there if file not in files)


def project_sha256(project: Path, name: str) -> str | None:
    """sha256 of a file of the project; None where it is not there, or not in the project."""
    try:
        path = inside(project, name)
    except UnsafePath:
        return None
    return sha256_file(path) if path.is_file() else None
