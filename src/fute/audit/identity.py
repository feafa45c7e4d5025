"""What a run stands on besides its artifacts: the configuration, images, folders of weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from fute.artifacts import content_key, sha256_file
from fute.audit.manifest import ConfigIdentity
from fute.audit.paths import ResultsFolder, checked_name
from fute.audit.records import RecordError
from fute.config import Run
from fute.scrub import scrubbed

IMAGE = re.compile(r".+-(?P<sha>[0-9a-f]{12,64})\.sif")
IMAGES = Path("containers/lock.json")
LOCK = ".lock.json"
# how a run is spread over a machine: changes no result, and differs from machine to machine
OF_THE_MACHINE = {"threads": True, "processes": True, "gpus": True, "data": {"root"}}


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


def config_identity(run: Run, files: Sequence[Path]) -> ConfigIdentity:
    """Name, files and hash of a run's configuration; files outside the project are left out."""
    here = Path.cwd()
    inside = [path.resolve().relative_to(here) for path in files if path.resolve().is_relative_to(here)]
    return ConfigIdentity(name=run.config.name, files=[path.as_posix() for path in inside], sha256=config_sha256(run))


def read_images(folder: Path = Path()) -> dict[str, Any]:
    """Image name -> its entry in the lock of images; empty where the project has none."""
    path = folder / IMAGES
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}


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


def image_problem(image: str, images: dict[str, Any], project: Path) -> str | None:
    """Why the image that an artifact was made in cannot be the locked one; None where it is.

    image: as recorded, `{name}-{first digits of its sha256}.sif`. The file is hashed where it is there.
    """
    found = IMAGE.fullmatch(PurePath(image).name)
    if not found:
        return f"image {image} is not called by its hash"
    digits = found["sha"]
    if not any(str(value).removeprefix("sha256:").startswith(digits) for value in _strings(images)):
        return f"image {image} is not in {IMAGES}"
    file = project / IMAGES.parent / found[0]
    if file.is_file() and not sha256_file(file).startswith(digits):
        return f"{IMAGES.parent / found[0]} is not the image that its name says: it was replaced"
    return None


def _strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _strings(each)
    elif isinstance(value, str):
        yield value
