"""Inputs of an image, which also name its file: definition, scripts, package lists, base, Debian packages, wheels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fute.artifacts import sha256_file
from fute.images.lock import FOLDER, ImageError

ENVS = Path("envs")
SCRIPTS = (FOLDER / "post.sh", FOLDER / "environment.sh", ENVS / "install.sh")
BY_DIGEST = re.compile(r"docker://[^@\s]+@(sha256:[0-9a-f]{64})")


class Options(NamedTuple):
    """Changes to an image from the command line. None: the definition's default."""

    base: str | None = None
    lists: str | None = None
    packages: str | None = None
    wheels: Path | None = None
    cpu: bool = False


def defaults(definition: str) -> dict[str, str]:
    """Build arguments in the section %arguments of a definition, with their default values."""
    section = definition.partition("%arguments")[2].partition("\n%")[0]
    return dict(line.strip().split("=", 1) for line in section.splitlines() if "=" in line)


def arguments(name: str, options: Options) -> dict[str, str]:
    """Build arguments of an image. Raises ImageError for a base that is neither a file nor named by its digest."""
    values = defaults((FOLDER / f"{name}.def").read_text(encoding="utf8"))
    if options.base is not None:
        local = Path(options.base).is_file()
        if not local and not BY_DIGEST.fullmatch(options.base):
            raise ImageError(
                f"image {name}: base {options.base} is neither a file nor docker://NAME@sha256:DIGEST; make a file "
                "from a folder with `apptainer build base.sif FOLDER`, or look up the digest of a tag at its registry"
            )
        values["bootstrap"] = "localimage" if local else "docker"
        values["base"] = str(Path(options.base).resolve()) if local else options.base.removeprefix("docker://")
    if options.lists is not None:
        values["lists"] = options.lists
    if options.cpu:
        values["lists"] = values["lists"].replace("-gpu.txt", "-cpu.txt")
    if options.packages is not None:
        values["packages"] = options.packages
    return values


def list_files(lists: str) -> list[Path]:
    """Files that install.sh reads for package lists. Raises ImageError for a list that does not exist."""
    files = list(dict.fromkeys(_with_included(lists.split())))
    return files + [ENVS / "torch-cpu-index.txt" for path in files if path.name == "torch-cpu.txt"]


def _with_included(names: list[str]) -> Iterator[Path]:
    for name in names:
        path = ENVS / name
        if not path.is_file():
            raise ImageError(f"{path}: no such package list; there are {sorted(p.name for p in ENVS.glob('*.txt'))}")
        yield path
        yield from _with_included(re.findall(r"^-r (\S+)", path.read_text(encoding="utf8"), re.MULTILINE))


def inputs(name: str, values: dict[str, str], wheels: Path | None) -> dict[str, Any]:
    """Everything that an image is built from, as JSON values without paths of this machine."""
    local = values["bootstrap"] == "localimage"
    base = Path(values["base"])
    return {
        "base": base.name if local else f"docker://{values['base']}",
        "base_sha256": sha256_file(base) if local else values["base"].partition("@sha256:")[2],
        "definition": sha256_file(FOLDER / f"{name}.def"),
        "files": {path.name: sha256_file(path) for path in (*SCRIPTS, *list_files(values["lists"]))},
        "lists": values["lists"],
        "packages": values["packages"],
        "wheels": {path.name: sha256_file(path) for path in sorted(wheels.glob("*.whl"))} if wheels else {},
    }
