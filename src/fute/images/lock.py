"""Lock of the container images that a machine has, `containers/lock.json`, and the image that a step runs in.

The lock belongs to the machine (or site) that built or pulled the images; `fute images` writes and checks it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping, MutableMapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

FOLDER = Path("containers")
LOCK = "lock.json"
GPU = Path("/dev/nvidiactl")
NAMES = ("labels", "train", "paper")
OF_HOST = (
    "CC", "CXX", "CUDA_HOME", "CUDA_PATH",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
"""Variables by which modules of the host name compilers, CUDA and certificates, which are not in an image."""
NO_APPTAINER = "apptainer is not on PATH; load its module, or ask your administrators to install it"


class ImageError(RuntimeError):
    """An image cannot be used; the message says which file, what is wrong with it, and what to do."""


class LockedImage(BaseModel):
    """One image: its file next to the lock, the hash and size of that file, and what it was built from."""

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
        """Image -> sha256 of its file."""
        return {name: entry.sha256 for name, entry in self.images.items()}


def read_lock(folder: Path = FOLDER) -> Lock:
    """Read the lock in a folder; an empty one if the file is missing. Raises ImageError if it cannot be read."""
    path = folder / LOCK
    if not path.is_file():
        return Lock()
    try:
        return Lock.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ImageError(f"{path}: not a lock of images ({error.errors()[0]['msg']}); run `fute images lock`") from None


def image_file(name: str, lock: Lock) -> str:
    """Path of an image for rules. An image that is not in the lock gets a name that no file has."""
    entry = lock.images.get(name)
    return (FOLDER / (entry.file if entry else f"{name}-not-built.sif")).as_posix()


def missing_image(name: str, lock: Lock) -> str | None:
    """Message why an image cannot be used, and what to do; None if its file exists."""
    if name not in lock.images:
        return f"image {name}: {FOLDER / LOCK} has no entry; build it with `fute images build {name}`"
    path = FOLDER / lock.images[name].file
    if not path.is_file():
        return (
            f"image {name}: {path} is missing; {FOLDER / LOCK} expects sha256 {lock.images[name].sha256}: copy that "
            f"file here, or build with `fute images build {name}`"
        )
    return None


def _verify(path: Path, entry: LockedImage, name: str) -> None:
    """Raise ImageError if a file is not the image that the lock names."""
    actual = f"{path.stat().st_size} bytes" if path.stat().st_size != entry.bytes else f"sha256 {_sha256(path)}"
    if actual != f"sha256 {entry.sha256}":
        raise ImageError(
            f"image {name}: {path} is not the image in {FOLDER / LOCK}: expected sha256 {entry.sha256} ({entry.bytes} "
            f"bytes), found {actual}; copy the right file here or remove it and run `fute images build {name}`; to use "
            f"this one, run `fute images lock {name}={path}`"
        )


def check_images(names: Iterable[str]) -> None:
    """Check the hashes of images in the lock. Raises ImageError for the first that is missing or another file."""
    lock = read_lock()
    for name in names:
        if why := missing_image(name, lock):
            raise ImageError(why)
        _verify(FOLDER / lock.images[name].file, lock.images[name], name)


def check_apptainer() -> None:
    """Raise ImageError without Apptainer. Snakemake would take SingularityCE in its place, which does not know the
    variables of `job_environment`: images would have no GPU, no data, and a network.
    """
    if not shutil.which("apptainer"):
        raise ImageError(NO_APPTAINER)


def set_job_environment(
    folders: Iterable[Path], environment: MutableMapping[str, str], workdir: Path, *, writable: Iterable[Path] = ()
) -> None:
    """Set the variables of `job_environment` for the jobs of this process, and drop those of `OF_HOST`.

    An image cannot drop them itself: what its own environment unsets has the host's value again, and what it leaves
    empty is sometimes passed on empty (Apptainer 1.4.5), which compilers take for a name.
    """
    environment.update(job_environment(folders, environment, workdir, writable=writable))
    for name in OF_HOST:
        environment.pop(name, None)


def job_environment(
    folders: Iterable[Path], environment: Mapping[str, str], workdir: Path, *, writable: Iterable[Path] = ()
) -> dict[str, str]:
    """Environment variables for Apptainer in jobs on this node.

    Folders outside the working directory are bound read-only, those of `writable` also for writing, in addition to
    the user's own binds. A symbolic link is bound under its own name, too. `--nv` is set if the node has a GPU.
    An image is offline by default; in the workflow each step sets whether it is. Raises ImageError for a folder whose
    name Apptainer cannot be told.
    """
    parts = [part for part in environment.get("APPTAINER_BIND", "").split(",") if part]
    for paths, mode in ((folders, ":ro"), (writable, "")):
        for path in sorted({workdir / path.expanduser() for path in paths}):
            bound = {part.split(":")[:2][-1] for part in parts}
            names = [name for name in _names_outside(path, workdir) if str(name) not in bound]
            if names and set(",:") & set(f"{path.resolve()}{path}"):
                raise ImageError(
                    f"{path}: has a comma or a colon in its path, at which Apptainer would cut it: give the folder "
                    "another name"
                )
            parts += [f"{path.resolve()}:{name}{mode}" for name in names]
    variables = {"APPTAINER_BIND": ",".join(parts)}
    if GPU.exists():
        variables["APPTAINER_NV"] = environment.get("APPTAINER_NV", "1")
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        variables[f"APPTAINERENV_{name}"] = environment.get(f"APPTAINERENV_{name}") or environment.get(name, "0")
    return variables


def _names_outside(path: Path, workdir: Path) -> list[Path]:
    """Names of a folder outside the working directory: its real path, the name of a link to it, the link's target."""
    real = path.resolve()
    if not real.exists() or real.is_relative_to(workdir.resolve()):
        return []
    names = [real, path, path.parent / path.readlink() if path.is_symlink() else path]
    # the container sees the working directory, so a link in it needs no bind
    return [name for name in dict.fromkeys(names) if not name.is_relative_to(workdir)]


def running_image(environment: Mapping[str, str]) -> str | None:
    """sha256 of the image that this process runs in; None outside an image, or if its file is not visible."""
    container = environment.get("APPTAINER_CONTAINER") or environment.get("SINGULARITY_CONTAINER")
    if not container:
        return None
    path = Path(container)
    for entry in read_lock().images.values():
        if entry.file == path.name:
            return entry.sha256
    return _sha256_once(path) if path.is_file() else None


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_sha256_once = cache(_sha256)
"""Cached: an image has gigabytes, and is the same for everything that a process writes."""
