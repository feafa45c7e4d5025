"""What a run depends on besides artifacts: its configuration, images, folders of weights, files of the project."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fute.artifacts import content_key, sha256_file
from fute.audit.manifest import ConfigIdentity
from fute.audit.paths import ResultsFolder, UnsafePath, checked_name, inside
from fute.audit.sidecars import RecordError
from fute.batching import LOCK
from fute.config.run import Run, parse_run, read_yaml
from fute.config.sections import ConfigError
from fute.images.lock import FOLDER, ImageError, read_lock
from fute.images.lock import LOCK as IMAGE_LOCK
from fute.scrub import scrubbed

IMAGES = FOLDER / IMAGE_LOCK
SHA256 = re.compile(r"[0-9a-f]{64}")
# how a run is spread over a machine, and what makes it run again: changes no result
OF_THE_MACHINE = {
    "threads": True, "processes": True, "gpus": True, "cluster": True, "workflow": True, "embeddings_per_process": True,
    "data": {"root", "samples"},
    "lm": {"threads": True, "datasets_per_process": True, "transfer": {"runs_per_process"}},
}  # fmt: skip


def config_sha256(run: Run) -> str:
    """One hash over all settings of a run that may change a result: file, preset, registry entries, prompts.

    What is in folders outside the project is not part of it: locks and records hold the hashes of those files.
    """
    # the run's own entries are hashed below with the others, without the paths that they are read from
    config = run.config.model_dump(mode="json", exclude=OF_THE_MACHINE | {"registry": True})
    config["llm"]["engine"] = run.config.llm.engine.shaping()
    lm = run.config.lm
    models = {*run.config.llm.models, *run.config.vector_models, *(lm.models if lm else ())}
    models |= {how.model for how in run.tuned.values()}
    datasets = {name for names in run.config.llm.datasets.values() for name in names}
    datasets |= {name for how in run.tuned.values() for names in how.datasets.values() for name in names}
    datasets |= set(lm.datasets.targets) if lm else set()
    entries = [
        {name: run.models[name].settings() for name in models},
        {name: run.datasets[name].model_dump(mode="json") for name in datasets},
        {name: prompt.model_dump(mode="json", exclude={"note"}) for name, prompt in run.prompts.items()},
        {name: run.categories[name].model_dump(mode="json") for name in run.config.categories},
        {
            name: {c: [p.model_dump(mode="json", exclude={"note"}) for p in prompts] for c, prompts in used.items()}
            for name, used in run.tuned_with.items()
        },
    ]
    return content_key(scrubbed([config, entries], {}))


def config_identity(run: Run, file: Path) -> ConfigIdentity:
    """Name, file and hash of a run's configuration; the file only if it lies in the project and holds all settings."""
    digest = config_sha256(run)
    here, path = Path.cwd(), file.resolve()
    name = path.relative_to(here).as_posix() if path.is_relative_to(here) else None
    complete = name is not None and config_problem(name, digest) is None
    return ConfigIdentity(name=run.config.name, file=name if complete else None, sha256=digest)


def config_problem(file: str, sha256: str) -> str | None:
    """Why a configuration file is not the one with this hash; None if it is."""
    try:
        path = inside(Path(), file)
        run = parse_run(read_yaml(path), Path("config"), str(path), [path])
    except (ConfigError, UnsafePath, OSError) as error:
        return f"cannot be read ({error}); bring back the configuration of the run"
    if config_sha256(run) != sha256:
        return "its settings or those of the registries are not the run's; run the workflow with them: snakemake audit"
    return None


def read_images() -> dict[str, dict[str, Any]]:
    """sha256 -> name and entry of every image in this machine's lock; empty without a lock.

    Raises RecordError if the lock is damaged.
    """
    try:
        images = read_lock().images
    except ImageError as error:
        raise RecordError(str(error)) from None
    return {entry.sha256: {"name": name, **entry.model_dump()} for name, entry in images.items()}


def image_problem(sha256: str, images: dict[str, dict[str, Any]]) -> str | None:
    """Why the image that an artifact was made in is not the one of this machine; None if nothing shows that.

    Without a lock of images there is nothing to compare; an image's file is hashed if it exists.
    """
    if not images:
        return None
    if sha256 not in images:
        return f"was made in an image ({sha256[:12]}) that {IMAGES} does not have; bring back the lock of the run"
    name = images[sha256]["file"]
    if Path(name).name != name:
        return (
            f"was made in an image whose file {IMAGES} puts elsewhere ({name}); write the lock again: fute images lock"
        )
    file = FOLDER / name
    if file.is_file() and sha256_file(file) != sha256:
        return f"was made in {file}, which is not the file that {IMAGES} lists; bring back the image of the run"
    return None


def lock_files(name: str, results: ResultsFolder) -> dict[str, str]:
    """Files that a lock of weights lists -> sha256; none for a lock of data, whose files lie elsewhere.

    The files of `{model}.lock.json` lie in `{model}/` beside it. Raises RecordError if the lock is damaged, UnsafePath
    if it names a file outside that folder.
    """
    try:
        value = json.loads(results.path(name).read_bytes())
        files = value["files"] if "model" in value else {}
        listed = {f"{name.removesuffix(LOCK)}/{file}": str(facts["sha256"]) for file, facts in files.items()}
        if not all(map(SHA256.fullmatch, listed.values())):
            raise ValueError("a hash is none")
    except (ValueError, TypeError, KeyError, AttributeError):
        raise RecordError(
            f"{name}: is no lock of a model's files; delete it and make it again: snakemake --cores all {name}"
        ) from None
    for file in listed:
        checked_name(file)
    return listed


def lock_problem(name: str, files: Mapping[str, str], results: ResultsFolder) -> str | None:
    """Why a lock of weights does not list these files; None if it does, or if the artifact is no lock."""
    try:
        if not name.endswith(LOCK) or lock_files(name, results) == files:
            return None
    except RecordError as error:
        return str(error)
    except UnsafePath as error:
        return f"{name}: {error}"
    return f"{name}: lists other files than its entry in the manifest; make the manifest again: fute audit manifest"


def unlisted_files(lock: str, files: Mapping[str, str], results: ResultsFolder) -> Iterator[str]:
    """Files and linked folders in a model's folder that its lock does not list: a library might load them."""
    name = lock.removesuffix(LOCK)
    try:
        folder = results.path(name)
    except UnsafePath:
        return  # each of its files is refused
    linked = (path for path in sorted(folder.rglob("*")) if path.is_symlink() and path.is_dir())
    names = [*results.names(name), *(f"{name}/{path.relative_to(folder)}" for path in linked)]
    yield from (file for file in names if file not in files)


def project_sha256(name: str) -> str | None:
    """sha256 of a file of the project; None if it does not exist or lies outside."""
    try:
        path = inside(Path(), name)
    except UnsafePath:
        return None
    return sha256_file(path) if path.is_file() else None
