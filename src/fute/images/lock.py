"""Which container images a machine has: `containers/lock.json`, and the image that a step runs in.

The lock belongs to the machine (or site) that built or pulled the images; `fute images` writes and checks it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

FOLDER = Path("containers")
LOCK = "lock.json"
GPU = Path("/dev/nvidiactl")
NAMES = ("labels", "train", "paper")


class ImageError(RuntimeError):
    """An image cannot be used; says which file, what is wrong with it, and what to do."""


class LockedImage(BaseModel):
    """One image: its file beside the lock, the hash and size of that file, and what it was built from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    sha256: str
    bytes: int
    inputs: dict[str, Any]


class Lock(BaseModel):
    """The images of this machine, by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    images: dict[str, LockedImage] = {}

    def hashes(self) -> dict[str, str]:
        return {name: entry.sha256 for name, entry in self.images.items()}


def read_lock(folder: Path = FOLDER) -> Lock:
    """The lock in a folder; one without images where there is none. Raises ImageError where it cannot be read."""
    path = folder / LOCK
    if not path.is_file():
        return Lock()
    try:
        return Lock.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ImageError(f"{path}: not a lock of images ({error.errors()[0]['msg']}); run `fute images lock`") from None


def image_file(name: str, lock: Lock, folder: Path = FOLDER) -> str:
    """Path of an image as rules name it. One without an entry gets a name that no file has."""
    entry = lock.images.get(name)
    return (folder / (entry.file if entry else f"{name}-not-built.sif")).as_posix()


def missing_image(name: str, lock: Lock, folder: Path = FOLDER) -> str | None:
    """Why an image cannot be used, and what to do; None where its file is there."""
    if name not in lock.images:
        return f"image {name}: {folder / LOCK} has no entry; build it with `fute images build {name}`"
    path = folder / lock.images[name].file
    if not path.is_file():
        return (
            f"image {name}: {path} is missing; {folder / LOCK} expects sha256 {lock.images[name].sha256}: copy that "
            f"file here, or build with `fute images build {name}`"
        )
    return None


def _verify(path: Path, entry: LockedImage, name: str, lock: Path) -> None:
    """Raises ImageError where a file is not the image that the lock names."""
    found = f"{path.stat().st_size} bytes" if path.stat().st_size != entry.bytes else f"sha256 {_sha256(path)}"
    if found != f"sha256 {entry.sha256}":
        raise ImageError(
            f"image {name}: {path} is not the image in {lock}: expected sha256 {entry.sha256} ({entry.bytes} bytes), "
            f"found {found}; copy the right file here or remove it and run `fute images build {name}`; to use this "
            f"one, run `fute images lock {name}={path}`"
        )


def check_images(names: Iterable[str] = NAMES, folder: Path = FOLDER) -> None:
    """Hash the images that the lock names. Raises ImageError for the first that is missing or another file."""
    lock = read_lock(folder)
    for name in names:
        if why := missing_image(name, lock, folder):
            raise ImageError(why)
        _verify(folder / lock.images[name].file, lock.images[name], name, folder / LOCK)


def job_environment(
    folders: Iterable[Path], environment: Mapping[str, str], workdir: Path, *, writable: Iterable[Path] = ()
) -> dict[str, str]:
    """What Apptainer shall find in the environment of jobs on this node.

    Folders outside the working directory are bound to be read only, those of `writable` to be written, beside what
    the user binds; a symbolic link is bound under its own name, too. `--nv` is asked for where the node has a GPU.
    An image is offline by itself; in the workflow each step says whether it is.
    """
    parts = [part for part in environment.get("APPTAINER_BIND", "").split(",") if part]
    for paths, mode in ((folders, ":ro"), (writable, "")):
        for path in sorted({workdir / path.expanduser() for path in paths}):
            bound = {part.split(":")[:2][-1] for part in parts}
            names = [name for name in _names_outside(path, workdir) if str(name) not in bound]
            parts += [f"{path.resolve()}:{name}{mode}" for name in names]
    found = {"APPTAINER_BIND": ",".join(parts)}
    if GPU.exists():
        found["APPTAINER_NV"] = environment.get("APPTAINER_NV", "1")
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        found[f"APPTAINERENV_{name}"] = environment.get(f"APPTAINERENV_{name}") or environment.get(name, "0")
    return found


def _names_outside(path: Path, workdir: Path) -> list[Path]:
    """What a folder that lies outside the working directory is called: its real path, a link's name and its target."""
    real = path.resolve()
    if not real.exists() or real.is_relative_to(workdir.resolve()):
        return []
    names = [real, path, path.parent / path.readlink() if path.is_symlink() else path]
    # a link in the working directory is there already
    return [name for name in dict.fromkeys(names) if not name.is_relative_to(workdir)]


def running_image(environment: Mapping[str, str], folder: Path = FOLDER) -> str | None:
    """sha256 of the image that this process runs in; None outside of one, or where its file cannot be seen."""
    container = environment.get("APPTAINER_CONTAINER") or environment.get("SINGULARITY_CONTAINER")
    if not container:
        return None
    path = Path(container)
    for entry in read_lock(folder).images.values():
        if entry.file == path.name:
            return entry.sha256
    return _sha256_once(path) if path.is_file() else None


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_sha256_once = cache(_sha256)
"""Of the image that runs a process: gigabytes, and the same for all that the process writes."""
